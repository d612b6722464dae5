"""Textual Inversion: learn the embedding vectors of a new word, and nothing else.  [Gal et al. 2022, eq. 2]"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from tetrad.errors import TetradError
from tetrad.methods.base import Patches
from tetrad.methods.trigger_word import check_spelling
from tetrad.models.base import Model
from tetrad.models.text import CHUNK, TextEncoder, token_ids
from tetrad.weights import Weights

# Up to so many pictures → vectors. People use 2 for under 10 pictures, 2 or 3 for 10 to 30, 5 or 6 for 40 to 60, 8 to
# 12 for 60 to 100 and 12 to 16 for more. The gap from 31 to 39 gets the 4 between, and from 61 on each step is as long
# as it must be for the number never to fall while the pictures grow.
VECTORS = {19: 2, 30: 3, 39: 4, 49: 5, 60: 6, 68: 8, 76: 9, 84: 10, 92: 11, 120: 12, 160: 13, 220: 14, 300: 15}
MOST_VECTORS = 16


@dataclass(frozen=True)
class TextualInversion:
    """Settings of an embedding; the names in brackets are kohya's."""

    kind: ClassVar[str] = "textual-inversion"
    writes: ClassVar[str] = "embedding"
    word: str = ""  # the new word; `decided` takes it from the recipe's data
    vectors: int = field(
        default=0,
        metadata={
            "help": "how many the word has, each taking the place of a token; 0: by the number of pictures, from 2 for "
            "up to 19 to 16 for more than 300, or as many as the file has that it goes on from (num_vectors_per_token)"
        },
    )
    initial_text: str = field(
        default="",
        metadata={
            "help": "what the word means to begin with, its tokens spread over the vectors; a class word like dog is "
            "good; not given: what the model makes of the word now (init_word)"
        },
    )

    def __post_init__(self) -> None:
        if not 0 <= self.vectors <= CHUNK:
            raise TetradError(
                "E3103", f"method.vectors must be from 1 to {CHUNK}, or 0 to have it chosen, not {self.vectors}"
            )
        if self.word:
            check_spelling(self.word)

    def decided(self, word: str, images: int) -> Self:
        """With the word, and as many vectors as so many pictures can fill; 0 pictures leave it open."""
        number = next((count for most, count in VECTORS.items() if images <= most), MOST_VECTORS) if images else 0
        return replace(self, word=word or self.word, vectors=self.vectors or number)

    def going_on(self, start: Weights) -> Self:
        """With the file's vectors.  E5109 where another number was asked for."""
        number = len(next(iter(start.tensors.values())))
        if self.vectors not in (0, number):
            raise TetradError(
                "E5109",
                f"the embedding to go on from has {number} vectors, not {self.vectors}; leave method.vectors "
                "out to go on with it, or begin a new one",
            )
        return replace(self, vectors=number)

    def told(self) -> str:
        return f"{self.word} of {self.vectors} vector{'s' * (self.vectors != 1)}"

    def rates(self) -> dict[str, str]:
        return {"": "0.05:10, 0.02:20, 0.01:60, 0.005:200, 0.002:500, 0.001:3000, 0.0005"}

    def steps(self, images: int) -> int:
        return 3000

    def whole(self) -> tuple[str, ...]:
        return ()

    def attach(self, model: Model, rng: Generator, start: Weights | None = None) -> "WordAdapter":
        """A new word, or one that goes on from a file.

        Raises E3111 where there is no word, E5109 where the file has another number of vectors than asked for.
        """
        word = self.word or (start.metadata.get("word", "") if start else "")
        if not word:
            raise TetradError("E3111", "Textual Inversion teaches a new word; give it with --word, like --word zkr")
        if start is not None:
            check_family(start, model)
            self.going_on(start)
            return WordAdapter(model, word, start.tensors)
        number = self.vectors or min(VECTORS.values())
        initial = self.initial_text or word
        return WordAdapter(model, word, {text.name: stretched(meaning(text, initial), number) for text in model.texts})

    @classmethod
    def load(cls, model: Model, weights: Weights, strength: float = 1.0) -> "WordAdapter":
        """A learned word; at a strength between, it means something between what it was and what was learned."""
        check_family(weights, model)
        word, rows = weights.metadata["word"], weights.tensors
        if strength not in (0, 1):
            before = {text.name: stretched(meaning(text, word), len(rows[text.name])) for text in model.texts}
            rows = {name: before[name].float().lerp(row.float(), strength) for name, row in rows.items()}
        return WordAdapter(model, word, rows, known=strength != 0)


class WordAdapter(Patches):
    """Rows past the end of each text encoder's table, which itself is read and never written."""

    def __init__(self, model: Model, word: str, rows: Mapping[str, Tensor], known: bool = True) -> None:
        super().__init__()
        self.word = word
        self.known: list[TextEncoder] = []
        self.rows: dict[str, nn.Parameter] = {}
        for text in model.texts:
            row = self.rows[text.name] = nn.Parameter(rows[text.name].detach().float().to(text.network.device).clone())
            if known:
                ids = text.add_word(word, len(row))
                self.known.append(text)
                self.around(text.table, with_rows(ids, row))

    def detach(self) -> None:
        super().detach()
        while self.known:
            self.known.pop().forget(self.word)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"embedding": list(self.rows.values())}

    def weights(self) -> Weights:
        tensors = {name: row.detach().clone() for name, row in self.rows.items()}
        return Weights("embedding", tensors, {"word": self.word})


def with_rows(ids: range, rows: nn.Parameter) -> Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]:
    """Look ids (B, L) up in the table, and those of the new word in its rows (n, D): (B, L, D).

    Each gradient is of rows only; nothing of the table's size is ever made.
    """

    def change(call: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        new = (tokens >= ids.start) & (tokens < ids.stop)
        old = call(tokens.masked_fill(new, 0))
        mine = F.embedding((tokens - ids.start).clamp(0, len(ids) - 1), rows)
        return torch.where(new[..., None], mine.to(old.dtype), old)

    return change


def meaning(text: TextEncoder, words: str) -> Tensor:
    """The vectors (n, D) that a text encoder looks up for some words; zeros (1, D) for no word at all."""
    weight = text.table.weight
    assert isinstance(weight, Tensor)
    ids = [number for number in token_ids(words) if number < len(weight)]
    return weight[ids] if ids else torch.zeros_like(weight[:1])


def stretched(vectors: Tensor, number: int) -> Tensor:
    """As many vectors (n, D), each kept for an equal stretch, in order; of more only the first n.  [A1111]"""
    used = vectors[:number]
    return used[[place * len(used) // number for place in range(number)]]


def check_family(weights: Weights, model: Model) -> None:
    """E5105 where an embedding was made for another family than the model's."""
    theirs = {name: rows.shape[-1] for name, rows in weights.tensors.items()}
    ours = {text.name: meaning(text, "").shape[-1] for text in model.texts}
    if theirs != ours:
        has, reads = (" and ".join(str(width) for _, width in sorted(widths.items())) for widths in (theirs, ours))
        raise TetradError(
            "E5105",
            f"this embedding's vectors have {has} numbers, but those of {model.name} ({model.title}) have {reads}; it "
            "was made for another family",
        )
