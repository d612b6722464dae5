"""CLIP text encoding: chunks of 75 tokens, added tokens, and the text encoder."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.models.text_encoder_spec import END_TOKEN_ID, START_TOKEN_ID
from tetrad.models.tokenizer import CONTEXT_LENGTH, clean_text, encode_token_ids

if TYPE_CHECKING:
    from tetrad.models.networks import CLIPTextModel, CLIPTextModelWithProjection

CHUNK_LENGTH = 75  # CONTEXT_LENGTH without start and end token; the same in every family, so it is not a setting
COMMA_TOKEN_ID = 267
COMMA_BACKTRACK = 20  # a full chunk is split after a comma among its last 20 tokens, as in A1111

_WeightedToken = tuple[int, float]  # id, weight
_AddedTokens = Mapping[str, range]  # cleaned trigger words in lower case, and their token ids


@dataclass(frozen=True)
class PromptSpan:
    """A part of a prompt.  `generation.prompt_parser` makes these from brackets; models never see brackets."""

    text: str
    weight: float = 1.0  # A1111's emphasis
    starts_new_chunk: bool = False  # BREAK before it: the text starts in a new chunk


# A str is one span of weight 1 and is never parsed, so brackets in captions are ordinary text.
Text = str | tuple[PromptSpan, ...]


@dataclass(frozen=True)
class TextEncoding:
    """How prompts are encoded."""

    clip_skip: int = 0  # 1: the last layer, 2: the one before it, …; 0: the family's default (SD1: 1, SD2 and XL: 2)
    chunk_count: int | None = 1  # exact number of chunks (training); None: as many as the longest needs (generation)


@dataclass(frozen=True)
class _TextEncoderOutput:
    """Text encoder output for B prompts of n chunks each."""

    hidden_states: Tensor  # (B, n · 77, D)
    pooled: Tensor | None  # (B, P), from the first chunk


def split_into_spans(text: Text) -> tuple[PromptSpan, ...]:
    return (PromptSpan(text),) if isinstance(text, str) else text


def split_into_chunks(text: Text, added_tokens: _AddedTokens, backtrack: int = 0) -> list[list[_WeightedToken]]:
    """A prompt's tokens in chunks of at most 75, at least one chunk; the ids of an added token are never split.

    If a chunk is full and has a comma among its last `backtrack` tokens, the tokens after the comma move to the next.
    """
    chunks: list[list[_WeightedToken]] = [[]]
    for span in split_into_spans(text):
        if span.starts_new_chunk:
            chunks.append([])
        for ids in _iterate_token_groups(span.text, added_tokens):
            if len(chunks[-1]) == CHUNK_LENGTH and ids[0] != COMMA_TOKEN_ID:
                chunks.append(_pop_after_last_comma(chunks[-1], backtrack))
            if len(chunks[-1]) + len(ids) > CHUNK_LENGTH:
                chunks.append([])
            chunks[-1] += [(token_id, span.weight) for token_id in ids]
    return chunks if chunks[-1] or len(chunks) == 1 else chunks[:-1]


def _pop_after_last_comma(chunk: list[_WeightedToken], backtrack: int) -> list[_WeightedToken]:
    """Remove and return the tokens after the last comma of a full chunk, if it is among the last `backtrack` tokens."""
    for position in range(CHUNK_LENGTH - 1, CHUNK_LENGTH - 1 - backtrack, -1):
        if chunk[position][0] == COMMA_TOKEN_ID:
            tail = chunk[position + 1 :]
            del chunk[position + 1 :]
            return tail
    return []


def _iterate_token_groups(text: str, added_tokens: _AddedTokens) -> Iterator[Sequence[int]]:
    """A text's token ids in groups that must not be split: one token, or all ids of a trigger word."""
    text = clean_text(text)
    for index, part in enumerate(
        re.split(compile_whole_word_pattern(tuple(added_tokens)), text) if added_tokens else [text]
    ):
        if index % 2:  # re.split puts the matches at odd positions
            yield added_tokens[part.lower()][:CHUNK_LENGTH]
        else:
            yield from ((token,) for token in encode_token_ids(part))


@lru_cache(maxsize=64)
def compile_whole_word_pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Matches whole words in upper or lower case (no letter or digit before or after), the longest word first."""
    letter = r"[^\W_]"

    def add_word_boundaries(word: str) -> str:
        before = f"(?<!{letter})" if re.match(letter, word) else ""
        after = f"(?!{letter})" if re.search(f"{letter}$", word) else ""
        return before + re.escape(word) + after

    return re.compile(f"({'|'.join(map(add_word_boundaries, sorted(words, key=len, reverse=True)))})", re.IGNORECASE)


def count_truncated_tokens(
    text: Text, encoding: TextEncoding | None = None, added_tokens: _AddedTokens | None = None
) -> int:
    """How many tokens of a prompt are beyond the chunks that are encoded."""
    if (chunk_count := (encoding or TextEncoding()).chunk_count) is None:
        return 0
    return sum(map(len, split_into_chunks(text, added_tokens or {})[chunk_count:]))


def find_truncated_words(text: Text, encoding: TextEncoding, added_tokens: _AddedTokens) -> list[str]:
    """The trigger words that a prompt has only beyond the chunks that are encoded."""
    chunks = split_into_chunks(text, added_tokens)
    kept_ids, all_ids = (
        {token_id for chunk in part for token_id, _weight in chunk} for part in (chunks[: encoding.chunk_count], chunks)
    )
    return [word for word, ids in added_tokens.items() if ids.start in all_ids - kept_ids]


class TextEncoder:
    """A tokenizer with its text encoder network.  Added tokens have ids beyond the end of the vocabulary.

    `pad_token_id` fills a chunk after its end token. Layers are counted from the end of the published network, as clip
    skip does: `default_clip_skip` is the layer that the family uses, `last_layer` the last one that the network has
    (Stable Diffusion 2 leaves out the 24th of 24). `applies_final_norm`: an inner layer goes through the final norm.
    """

    def __init__(
        self,
        name: str,
        network: "CLIPTextModel | CLIPTextModelWithProjection",
        *,
        pad_token_id: int = END_TOKEN_ID,
        default_clip_skip: int = 1,
        last_layer: int = 1,
        applies_final_norm: bool = True,
    ) -> None:
        self.name = name
        self.network = network
        self.pad_token_id, self.applies_final_norm = pad_token_id, applies_final_norm
        self.default_clip_skip, self.last_layer = default_clip_skip, last_layer
        self.added_tokens: dict[str, range] = {}

    @property
    def text_model(self) -> nn.Module:
        """The network without the projection that some have."""
        text_model: nn.Module = getattr(self.network, "text_model", self.network)
        return text_model

    @property
    def token_embedding(self) -> nn.Module:
        """The token embeddings: ids → (…, D)."""
        token_embedding: nn.Module = self.text_model.get_submodule("embeddings.token_embedding")
        return token_embedding

    def add_tokens(self, word: str, vector_count: int) -> range:
        """The new token ids of a trigger word, in upper or lower case.

        E5011 if it was added already, E5015 if it has more vectors than fit into a chunk.
        """
        if vector_count > CHUNK_LENGTH:
            raise TetradError(
                "E5015",
                _(
                    "the embedding {trigger_word} has {count} vectors; use one with at most {limit}, the size of a"
                    " chunk"
                ),
                trigger_word=word,
                count=vector_count,
                limit=CHUNK_LENGTH,
            )
        key = clean_text(word).lower()
        if key in self.added_tokens:
            template = _("the trigger word {trigger_word} is already in use; rename one of the two embeddings")
            raise TetradError("E5011", template, trigger_word=word)
        first_id = max([self.network.config.vocab_size, *(ids.stop for ids in self.added_tokens.values())])
        self.added_tokens[key] = range(first_id, first_id + vector_count)
        return self.added_tokens[key]

    def remove_tokens(self, word: str) -> None:
        del self.added_tokens[clean_text(word).lower()]

    @contextmanager
    def without_tokens(self, word: str) -> Iterator[None]:
        """A context in which a trigger word that was added is read as the tokens of its own letters."""
        known = self.added_tokens
        self.added_tokens = {key: ids for key, ids in known.items() if key != clean_text(word).lower()}
        try:
            yield
        finally:
            self.added_tokens = known

    def tokenize(self, texts: Sequence[Text], encoding: TextEncoding) -> list[list[list[_WeightedToken]]]:
        """The chunks of each prompt: all of them, or as many as are encoded."""
        backtrack = COMMA_BACKTRACK if encoding.chunk_count is None else 0
        return [split_into_chunks(text, self.added_tokens, backtrack)[: encoding.chunk_count] for text in texts]

    def first_chunk_ids(self, texts: Sequence[Text]) -> Tensor:
        """Token ids (B, 77) of the first chunk of each prompt."""
        return torch.tensor([self.pad_chunk(chunks[0]) for chunks in self.tokenize(texts, TextEncoding())])

    def pad_chunk(self, chunk: Sequence[_WeightedToken]) -> list[int]:
        return [
            START_TOKEN_ID,
            *(token_id for token_id, _weight in chunk),
            END_TOKEN_ID,
            *[self.pad_token_id] * (CHUNK_LENGTH - len(chunk)),
        ]

    def __call__(
        self, token_chunks: Sequence[Sequence[Sequence[_WeightedToken]]], encoding: TextEncoding
    ) -> _TextEncoderOutput:
        """Encode prompts of n chunks each."""
        flat_chunks = [chunk for chunks in token_chunks for chunk in chunks]
        ids = torch.tensor([self.pad_chunk(chunk) for chunk in flat_chunks], device=self.network.device)
        hidden_states, pooled = self.compute_hidden_states(ids, encoding.clip_skip or self.default_clip_skip)
        if any(weight != 1 for chunk in flat_chunks for _id, weight in chunk):
            hidden_states = _apply_emphasis(hidden_states, flat_chunks)
        return _TextEncoderOutput(
            hidden_states.reshape(len(token_chunks), -1, hidden_states.shape[-1]),
            None if pooled is None else pooled.reshape(len(token_chunks), -1, pooled.shape[-1])[:, 0],
        )

    def compute_hidden_states(self, ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
        """Hidden states (B, 77, D) after the layer that `clip_skip` selects, and the pooled output if there is one."""
        skipped_layers = max(clip_skip, self.last_layer) - self.last_layer  # of those that the network has
        usable_layers = self.network.config.num_hidden_layers
        if skipped_layers >= usable_layers:
            raise TetradError(
                "E5012",
                _("clip skip {clip_skip} is too large for {encoder}; the largest is {limit}"),
                clip_skip=clip_skip,
                encoder=self.name,
                limit=usable_layers + self.last_layer - 1,
            )
        uses_inner_layer = skipped_layers > 0 or not self.applies_final_norm
        output = self.network(ids, output_hidden_states=uses_inner_layer)
        hidden: Tensor = output.hidden_states[-1 - skipped_layers] if uses_inner_layer else output.last_hidden_state
        if uses_inner_layer and self.applies_final_norm:
            hidden = self.text_model.get_submodule("final_layer_norm")(hidden)
        return hidden, getattr(output, "text_embeds", None)


def _apply_emphasis(hidden_states: Tensor, chunks: Sequence[Sequence[_WeightedToken]]) -> Tensor:
    """Hidden states (B, 77, D) times each token's weight; each chunk keeps its mean, as in A1111.

    A mean that is only rounding error, as after an untrained norm, is not restored.
    """
    weights = [
        [1.0, *(weight for _id, weight in chunk), *[1.0] * (CONTEXT_LENGTH - 1 - len(chunk))] for chunk in chunks
    ]
    weighted = hidden_states * torch.tensor(weights, device=hidden_states.device, dtype=hidden_states.dtype)[..., None]
    before, after = hidden_states.mean((1, 2), keepdim=True), weighted.mean((1, 2), keepdim=True)
    rounding = 1e-4 * hidden_states.abs().mean((1, 2), keepdim=True)
    return torch.where(torch.minimum(before.abs(), after.abs()) > rounding, weighted * (before / after), weighted)
