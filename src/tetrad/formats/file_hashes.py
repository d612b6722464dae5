"""The hashes by which other tools identify weight files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tetrad.documents import open_regular
from tetrad.formats.weight_files import serialize_safetensors

if TYPE_CHECKING:
    from torch import Tensor

LEGACY_HASH_OFFSET = 0x100000  # first byte of the part of a file that the oldest hash is computed from


def compute_data_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of the bytes after the header of a safetensors file of these tensors, in hex.

    Editing the metadata does not change it. Other tools identify a LoRA by it: kohya writes it as `sshs_model_hash`.
    """
    content = serialize_safetensors(tensors, {})
    return hashlib.sha256(memoryview(content)[8 + int.from_bytes(content[:8], "little") :]).hexdigest()


def compute_legacy_hash(content: bytes) -> str:
    """The oldest model hash: the first 8 hex digits of sha256 over 64 KiB at 1 MiB (over nothing if it is smaller)."""
    return hashlib.sha256(content[LEGACY_HASH_OFFSET : LEGACY_HASH_OFFSET + 0x10000]).hexdigest()[:8]


def compute_file_hash(path: Path) -> str:
    """sha256 of a whole file, in hex."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compute_file_legacy_hash(path: Path) -> str:
    """`compute_legacy_hash` of a file, without reading the rest of it."""
    with path.open("rb") as file:
        return compute_legacy_hash(file.read(0x110000))
