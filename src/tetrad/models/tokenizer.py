"""CLIP's tokenizer: clean a text as A1111 and kohya do, and encode it."""

import gzip
import json
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import ftfy
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

_VOCABULARY_PATH = Path(__file__).parent / "clip_vocab" / "bpe_simple_vocab_16e6.txt.gz"
CONTEXT_LENGTH = 77  # tokens that CLIP takes at once
_START_TOKEN, _END_TOKEN = "<|startoftext|>", "<|endoftext|>"
# ftfy resolves one level at a time, so that thousands of levels would take minutes.
_MAX_NESTING = 16
_NESTED_ENTITY = re.compile(rf"&(?:amp;){{{_MAX_NESTING},}}")
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"  # what is split further into byte pairs


@cache
def _load_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's 49,408 tokens with their ids, and the byte-pair merges.  [Radford et al. 2021]"""
    lines = gzip.decompress(_VOCABULARY_PATH.read_bytes()).decode("utf-8").split("\n")
    merges = [(first, second) for first, second in map(str.split, lines[1 : 49152 - 256 - 2 + 1])]
    letters = _list_byte_letters()
    tokens = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    tokens += [_START_TOKEN, _END_TOKEN]
    return {token: token_id for token_id, token in enumerate(tokens)}, merges


@cache
def load_tokenizer() -> "CLIPTokenizer":
    """CLIP's byte-pair tokenizer for transformers and diffusers, with the padding of Stable Diffusion 1."""
    from transformers import CLIPTokenizer

    token_ids, merges = _load_vocabulary()
    return CLIPTokenizer(vocab=token_ids, merges=merges, pad_token=_END_TOKEN, model_max_length=CONTEXT_LENGTH)


@cache
def _load_encoder() -> Tokenizer:
    """The same tokenizer without transformers, which takes a second to import."""
    token_ids, merges = _load_vocabulary()
    tokenizer = Tokenizer(models.BPE(token_ids, merges, end_of_word_suffix="</w>", unk_token=_END_TOKEN))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in (_START_TOKEN, _END_TOKEN)])
    return tokenizer


def build_tokenizer_files(pad_token_id: int) -> dict[str, str]:
    """The files of a tokenizer folder that every release of transformers can read; `pad_token_id` is its padding."""
    token_ids, merges = _load_vocabulary()
    special_tokens = {"bos_token": _START_TOKEN, "eos_token": _END_TOKEN, "unk_token": _END_TOKEN}
    special_tokens |= {"pad_token": next(token for token, token_id in token_ids.items() if token_id == pad_token_id)}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": CONTEXT_LENGTH}
    config |= {"do_lower_case": True, "errors": "replace"}
    return {
        "vocab.json": json.dumps(token_ids, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n",
        "special_tokens_map.json": json.dumps(special_tokens, indent=2),
        "tokenizer_config.json": json.dumps(special_tokens | config, indent=2),
    }


def _list_byte_letters() -> list[str]:
    """One printable letter for each of the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden_count = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(hidden_count)]


@lru_cache(maxsize=8192)
def clean_text(text: str) -> str:
    """A text with plain quotes, half-width letters and signs, and no ligatures, HTML entities or wrong encodings.

    A1111 and kohya tokenize with the slow tokenizer of transformers 4, which passes every text through ftfy.
    """
    return ftfy.fix_text(_NESTED_ENTITY.sub("&" + "amp;" * _MAX_NESTING, text))


@lru_cache(maxsize=8192)
def encode_token_ids(text: str) -> tuple[int, ...]:
    """The token ids of a text, which is cleaned first; without start and end token."""
    return tuple(_load_encoder().encode(clean_text(text), add_special_tokens=False).ids)
