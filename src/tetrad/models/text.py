"""CLIP's words: the tokenizer that ships with the program, and the encoder that reads its ids."""

import gzip
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

VOCABULARY = Path(__file__).parent / "clip_vocab" / "bpe_simple_vocab_16e6.txt.gz"
WINDOW = 77  # CLIP reads 75 tokens between its two ends


@cache
def tokenizer() -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer, 49,408 words.  [Radford et al. 2021]"""
    lines = gzip.decompress(VOCABULARY.read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    letters = byte_letters()
    words = letters + [letter + "</w>" for letter in letters] + ["".join(pair) for pair in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token="<|endoftext|>", model_max_length=WINDOW)


def byte_letters() -> list[str]:
    """One printable letter for each of the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(hidden)]


class TextEncoder:
    """A tokenizer and the network that reads its ids."""

    def __init__(self, name: str, network: CLIPTextModel) -> None:
        self.name = name
        self.network = network

    def ids(self, captions: Sequence[str]) -> Tensor:
        """Token ids (B, 77); what does not fit in 75 tokens is cut off (see `tokens_lost`)."""
        encoded = tokenizer()(list(captions), padding="max_length", truncation=True, return_tensors="pt")
        ids: Tensor = encoded.input_ids
        return ids

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Hidden states after the last norm, (B, 77, D)."""
        hidden: Tensor = self.network(self.ids(captions).to(self.network.device)).last_hidden_state
        return hidden


def tokens_lost(caption: str) -> int:
    """How many tokens of a caption lie past CLIP's window of 75."""
    return max(0, len(tokenizer()(caption, truncation=False, verbose=False).input_ids) - WINDOW)
