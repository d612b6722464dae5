"""Embeddings inside a LoRA file, as OneTrainer and LyCORIS write and A1111 reads them: `bundle_emb.<word>.<tensor>`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tetrad.formats.weight_files import WeightFile

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "bundle_emb."
_KEY = re.compile(r"bundle_emb\.([^.]+)\.(.+)")  # the word, the tensor's name in an embedding's own file


def list_words(names: Iterable[str]) -> list[str]:
    """The trigger words of the embeddings in a file with tensors of these names."""
    return list(dict.fromkeys(match[1] for name in names if (match := _KEY.fullmatch(name))))


def remove_embeddings(file: WeightFile) -> WeightFile:
    """The LoRA without its embeddings."""
    tensors = {name: tensor for name, tensor in file.tensors.items() if not _KEY.fullmatch(name)}
    return replace(file, tensors=tensors)


def extract_embedding(file: WeightFile, word: str) -> WeightFile:
    """One embedding of a LoRA as in a file of its own."""
    prefix = f"{PREFIX}{word}."
    tensors = {name.removeprefix(prefix): tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}
    return WeightFile(tensors, {}, word)


def list_embeddings(file: WeightFile) -> dict[str, Tensor]:
    """The tensors of all embeddings of a LoRA, by their names in it."""
    return {name: tensor for name, tensor in file.tensors.items() if _KEY.fullmatch(name)}


def name_embedding(word: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an embedding's own file by the names that they have inside a LoRA."""
    return {f"{PREFIX}{word}.{name}": tensor for name, tensor in tensors.items()}
