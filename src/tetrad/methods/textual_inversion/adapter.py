"""Textual Inversion: train the embedding vectors of a trigger word, and nothing else.  [Gal et al. 2022, eq. 2]"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.base import ParamGroup, Patches
from tetrad.methods.textual_inversion.embedding import check_family, embed_text, spread_vectors
from tetrad.methods.textual_inversion.formats import FORMATS
from tetrad.methods.textual_inversion.settings import VECTORS_BY_IMAGE_COUNT, TextualInversion
from tetrad.methods.trigger_word import check_trigger_word
from tetrad.models.base import Model
from tetrad.models.clip import TextEncoder
from tetrad.settings.toml import replace_in
from tetrad.weights import Weights

__all__ = ["FORMATS", "attach", "check_settings", "full_precision_parts", "load", "resume_from"]


def attach(
    settings: TextualInversion, model: Model, rng: Generator, start: Weights | None = None
) -> "_EmbeddingAdapter":
    """A new embedding, or one that continues from a file.

    Raises E3111 where there is no trigger word, E5109 where the settings ask for another number of vectors than the
    file has.
    """
    word = settings.trigger_word or (start.metadata.get("word", "") if start else "")
    if not word:
        raise TetradError("E3111", _("Textual Inversion needs a trigger word; give one, like --trigger-word zkr"))
    check_trigger_word(word)
    if start is not None:
        check_family(start, model)
        resume_from(settings, start, model)
        return _EmbeddingAdapter(model, word, start.tensors)
    number = settings.vectors or min(VECTORS_BY_IMAGE_COUNT.values())
    initial = settings.initial_text or word
    return _EmbeddingAdapter(
        model, word, {text.name: spread_vectors(embed_text(text, initial), number) for text in model.text_encoders}
    )


def load(model: Model, weights: Weights, strength: float = 1.0) -> "_EmbeddingAdapter":
    """Attach a trained embedding; strength s mixes (1 - s) · the word's own token embeddings + s · the vectors."""
    check_family(weights, model)
    word, rows = weights.metadata["word"], weights.tensors
    if strength not in (0, 1):
        before = {
            text.name: spread_vectors(embed_text(text, word), len(rows[text.name])) for text in model.text_encoders
        }
        rows = {name: before[name].float().lerp(row.float(), strength) for name, row in rows.items()}
    return _EmbeddingAdapter(model, word, rows, enabled=strength != 0)


def resume_from(settings: TextualInversion, start: Weights, model: Model) -> TextualInversion:
    """The settings with the file's number of vectors.  E5109 where they ask for another."""
    number = len(next(iter(start.tensors.values())))
    if settings.vectors not in (0, number):
        raise TetradError(
            "E5109",
            _(
                "the embedding to continue from has vectors = {found}, not {requested}; leave out method.vectors to"
                " continue with it, or start a new one"
            ),
            found=number,
            requested=settings.vectors,
        )
    return replace_in("method", settings, vectors=number)


def check_settings(settings: TextualInversion, model: Model) -> None:
    """E3112 for a trigger word that no prompt can contain."""
    if settings.trigger_word:
        check_trigger_word(settings.trigger_word)


def full_precision_parts(settings: TextualInversion, model: Model) -> tuple[str, ...]:
    return ()


class _EmbeddingAdapter(Patches):
    """Extra rows of each text encoder's token embedding; the table itself is not changed."""

    def __init__(self, model: Model, trigger_word: str, vectors: Mapping[str, Tensor], enabled: bool = True) -> None:
        super().__init__()
        self.trigger_word = trigger_word
        self.text_encoders: list[TextEncoder] = []
        self.vectors: dict[str, nn.Parameter] = {}
        for text in model.text_encoders:
            encoder_vectors = self.vectors[text.name] = nn.Parameter(
                vectors[text.name].detach().float().to(text.network.device).clone()
            )
            if enabled:
                ids = text.add_tokens(trigger_word, len(encoder_vectors))
                self.text_encoders.append(text)
                self.around(text.token_embedding, _with_embedding(ids, encoder_vectors))

    def detach(self) -> None:
        super().detach()
        while self.text_encoders:
            self.text_encoders.pop().remove_tokens(self.trigger_word)

    @contextmanager
    def without_training(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(super().without_training())
            for text in self.text_encoders:
                stack.enter_context(text.without_tokens(self.trigger_word))
            yield

    def groups(self) -> list[ParamGroup]:
        return [ParamGroup("embedding", list(self.vectors.values()))]

    def weights(self) -> Weights:
        tensors = {name: row.detach().clone() for name, row in self.vectors.items()}
        return Weights("embedding", tensors, {"word": self.trigger_word})


def _with_embedding(ids: range, vectors: nn.Parameter) -> Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]:
    """Look up ids (B, L) in the token embedding table, and those of the trigger word in its vectors (n, D): (B, L, D).

    Only the vectors get a gradient; no tensor of the table's size is created.
    """

    def change(call: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        is_new = (tokens >= ids.start) & (tokens < ids.stop)
        table_embeddings = call(tokens.masked_fill(is_new, 0))
        new_embeddings = F.embedding((tokens - ids.start).clamp(0, len(ids) - 1), vectors)
        return torch.where(is_new[..., None], new_embeddings.to(table_embeddings.dtype), table_embeddings)

    return change
