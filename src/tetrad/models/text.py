"""CLIP's words: the tokenizer that ships with the program, chunks of 75, and the encoder that reads them."""

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tetrad.errors import TetradError

VOCABULARY = Path(__file__).parent / "clip_vocab" / "bpe_simple_vocab_16e6.txt.gz"
WINDOW = 77  # what CLIP reads at once
CHUNK = 75  # the words of it, between its two ends; every family agrees, so it is not a setting
START, END, COMMA = 49406, 49407, 267
BACKTRACK = 20  # a new chunk begins after a comma this near to the end of a full one, as in A1111

Token = tuple[int, float]  # an id and its weight
Words = Mapping[str, range]  # new words, in lower case, and their ids


@dataclass(frozen=True)
class Piece:
    """A stretch of a prompt.  `generation.prompts` makes these of brackets; models know nothing of brackets."""

    text: str
    weight: float = 1.0  # A1111's emphasis
    breaks: bool = False  # BREAK before it: the words begin in a new chunk


Text = str | tuple[Piece, ...]  # a str is one piece of weight 1 and is never parsed: brackets in captions are words


@dataclass(frozen=True)
class Reading:
    """How a model reads its texts."""

    clip_skip: int = 0  # which layer, 1 the last, 2 the one before, …; 0: the family's own (SD1: 1, SD2 and XL: 2)
    chunks: int | None = 1  # exactly so many (training); None: as many as the longest text needs (generation)


@dataclass(frozen=True)
class Encoded:
    """What an encoder makes of B texts in n chunks each."""

    tokens: Tensor  # (B, n · 77, D)
    pooled: Tensor | None  # (B, P), of the first chunk


@cache
def vocabulary() -> tuple[dict[str, int], list[tuple[str, ...]]]:
    """CLIP's 49,408 words with their ids, and the merges that make them of letters.  [Radford et al. 2021]"""
    lines = gzip.decompress(VOCABULARY.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    letters = byte_letters()
    words = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate(words)}, merges


@cache
def tokenizer() -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer, as Stable Diffusion 1 uses it."""
    words, merges = vocabulary()
    return CLIPTokenizer(vocab=words, merges=merges, pad_token="<|endoftext|>", model_max_length=WINDOW)


def tokenizer_files(pad: int) -> dict[str, str]:
    """A tokenizer folder's files that every release of transformers reads, for a tokenizer that pads with an id."""
    words, merges = vocabulary()
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    special |= {"pad_token": next(word for word, number in words.items() if number == pad)}
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": WINDOW, "do_lower_case": True, "errors": "replace"}
    return {
        "vocab.json": json.dumps(words, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n",
        "special_tokens_map.json": json.dumps(special, indent=2),
        "tokenizer_config.json": json.dumps(special | about, indent=2),
    }


def byte_letters() -> list[str]:
    """One printable letter for each of the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(hidden)]


@lru_cache(maxsize=8192)
def token_ids(text: str) -> tuple[int, ...]:
    return tuple(tokenizer()(text, add_special_tokens=False, verbose=False).input_ids)


def pieces(text: Text) -> tuple[Piece, ...]:
    return (Piece(text),) if isinstance(text, str) else text


def chunked(text: Text, words: Words, backtrack: int = 0) -> list[list[Token]]:
    """A text's tokens in chunks of at most 75, one chunk at least; a new word's ids stay together.

    Where a chunk is full and a comma stands among its last `backtrack` tokens, what follows the comma moves on.
    """
    chunks: list[list[Token]] = [[]]
    for piece in pieces(text):
        if piece.breaks:
            chunks.append([])
        for ids in spans(piece.text, words):
            if len(chunks[-1]) == CHUNK and ids[0] != COMMA:
                chunks.append(taken_after_comma(chunks[-1], backtrack))
            if len(chunks[-1]) + len(ids) > CHUNK:
                chunks.append([])
            chunks[-1] += [(number, piece.weight) for number in ids]
    return chunks if chunks[-1] or len(chunks) == 1 else chunks[:-1]


def taken_after_comma(chunk: list[Token], backtrack: int) -> list[Token]:
    """Take out of a full chunk what follows its last comma, where that comma is near enough; else nothing."""
    for place in range(CHUNK - 1, CHUNK - 1 - backtrack, -1):
        if chunk[place][0] == COMMA:
            tail = chunk[place + 1 :]
            del chunk[place + 1 :]
            return tail
    return []


def spans(text: str, words: Words) -> Iterator[Sequence[int]]:
    """A text's ids, those that stay together in one span: a single token, or all of a new word."""
    for number, stretch in enumerate(re.split(whole_words(tuple(words)), text) if words else [text]):
        if number % 2:  # re.split puts what it found at the odd places
            yield words[stretch.lower()][:CHUNK]
        else:
            yield from ((token,) for token in token_ids(stretch))


@lru_cache(maxsize=64)
def whole_words(words: tuple[str, ...]) -> re.Pattern[str]:
    """Finds the words in any case where no letter or digit goes on before or after, the longest first."""
    letter = r"[^\W_]"

    def bounded(word: str) -> str:
        before = f"(?<!{letter})" if re.match(letter, word) else ""
        after = f"(?!{letter})" if re.search(f"{letter}$", word) else ""
        return before + re.escape(word) + after

    return re.compile(f"({'|'.join(map(bounded, sorted(words, key=len, reverse=True)))})", re.IGNORECASE)


def tokens_lost(text: Text, reading: Reading | None = None, words: Words | None = None) -> int:
    """How many tokens of a text lie past the chunks that are read."""
    if (chunks := (reading or Reading()).chunks) is None:
        return 0
    return sum(map(len, chunked(text, words or {})[chunks:]))


def unread(text: Text, reading: Reading, words: Words) -> list[str]:
    """The new words that a text says past the chunks that are read."""
    chunks = chunked(text, words)
    seen, past = ({number for chunk in part for number, _ in chunk} for part in (chunks[: reading.chunks], chunks))
    return [word for word, ids in words.items() if ids.start in past - seen]


class TextEncoder:
    """A tokenizer and the network that reads its ids.  New words are ids past the end of the vocabulary.

    `pad` fills a chunk after its end. Layers are counted from the end of the published network: `skip` is the one the
    family reads, `last` the last one that is there (Stable Diffusion 2 never uses the 24th of its 24).
    """

    def __init__(
        self,
        name: str,
        network: CLIPTextModel | CLIPTextModelWithProjection,
        *,
        pad: int = END,
        skip: int = 1,
        last: int = 1,
        normed: bool = True,
    ) -> None:
        self.name = name
        self.network = network
        self.pad, self.skip, self.last, self.normed = pad, skip, last, normed
        self.words: dict[str, range] = {}

    @property
    def inner(self) -> nn.Module:
        """The network without the projection that some have."""
        found: nn.Module = getattr(self.network, "text_model", self.network)
        return found

    @property
    def table(self) -> nn.Module:
        """The token embeddings: ids → (…, D)."""
        found: nn.Module = self.inner.get_submodule("embeddings.token_embedding")
        return found

    def add_word(self, word: str, vectors: int) -> range:
        """New ids that the word stands for from now on, in any case.

        E5011 where it is a new word already, E5015 where it takes more than a chunk: the rest would not be read.
        """
        if vectors > CHUNK:
            raise TetradError("E5015", f"{word} has {vectors} vectors, and at most {CHUNK} are read together")
        if word.lower() in self.words:
            raise TetradError("E5011", f"{word} is already a word that was added; give one of the two another name")
        first = max([self.network.config.vocab_size, *(ids.stop for ids in self.words.values())])
        self.words[word.lower()] = range(first, first + vectors)
        return self.words[word.lower()]

    def forget(self, word: str) -> None:
        del self.words[word.lower()]

    def tokens(self, texts: Sequence[Text], reading: Reading) -> list[list[list[Token]]]:
        """The chunks of each text, as many as it needs or at most as many as are read."""
        backtrack = BACKTRACK if reading.chunks is None else 0
        return [chunked(text, self.words, backtrack)[: reading.chunks] for text in texts]

    def ids(self, texts: Sequence[Text]) -> Tensor:
        """Token ids (B, 77) of the first chunk of each text."""
        return torch.tensor([self.row(chunks[0]) for chunks in self.tokens(texts, Reading())])

    def row(self, chunk: Sequence[Token]) -> list[int]:
        return [START, *(number for number, _ in chunk), END, *[self.pad] * (CHUNK - len(chunk))]

    def __call__(self, tokens: Sequence[Sequence[Sequence[Token]]], reading: Reading) -> Encoded:
        """Read texts of n chunks each."""
        rows = [chunk for chunks in tokens for chunk in chunks]
        ids = torch.tensor([self.row(chunk) for chunk in rows], device=self.network.device)
        hidden, pooled = self.hidden(ids, reading.clip_skip or self.skip)
        if any(weight != 1 for chunk in rows for _, weight in chunk):
            hidden = emphasised(hidden, rows)
        return Encoded(
            hidden.reshape(len(tokens), -1, hidden.shape[-1]),
            None if pooled is None else pooled.reshape(len(tokens), -1, pooled.shape[-1])[:, 0],
        )

    def hidden(self, ids: Tensor, skip: int) -> tuple[Tensor, Tensor | None]:
        """Hidden states (B, 77, D) after the layer that `skip` counts to, and the pooled text where there is one."""
        skip = max(skip, self.last) - self.last  # layers above the one that is read, of those that are there
        layers = self.network.config.num_hidden_layers
        if skip >= layers:
            deepest = layers + self.last - 1
            raise TetradError("E5012", f"clip skip {skip + self.last} is too deep: {self.name} has {deepest} layers")
        within = skip > 0 or not self.normed
        output = self.network(ids, output_hidden_states=within)
        hidden: Tensor = output.hidden_states[-1 - skip] if within else output.last_hidden_state
        if within and self.normed:
            hidden = self.inner.get_submodule("final_layer_norm")(hidden)
        return hidden, getattr(output, "text_embeds", None)


def emphasised(hidden: Tensor, rows: Sequence[Sequence[Token]]) -> Tensor:
    """Hidden states (B, 77, D) times each token's weight, with the mean of every chunk as it was (A1111's way).

    Where the mean is nothing but rounding, as behind a norm that was never trained, there is none to restore.
    """
    weights = [[1.0, *(weight for _, weight in chunk), *[1.0] * (WINDOW - 1 - len(chunk))] for chunk in rows]
    weighted = hidden * torch.tensor(weights, device=hidden.device, dtype=hidden.dtype)[..., None]
    before, after = hidden.mean((1, 2), keepdim=True), weighted.mean((1, 2), keepdim=True)
    rounding = 1e-4 * hidden.abs().mean((1, 2), keepdim=True)
    return torch.where(torch.minimum(before.abs(), after.abs()) > rounding, weighted * (before / after), weighted)
