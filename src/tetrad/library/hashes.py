"""What web UIs and model sites call a file by."""

import hashlib
from functools import lru_cache
from pathlib import Path

from tetrad.formats import files


def file_hash(path: Path) -> str:
    """sha256 of a whole file, in hex: the first 10 digits name a model or a VAE, the first 12 an embedding."""
    return remembered(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=256)
def remembered(path: Path, changed: int, size: int) -> str:
    return files.file_hash(path)


def lora_hash(path: Path) -> str:
    """12 hex digits that name a LoRA, whatever its metadata: of the bytes after a safetensors header.

    The file's own `sshs_model_hash` says the same and is believed first, as A1111 does.
    """
    said = files.metadata(path).get("sshs_model_hash", "")
    return said[:12] if said else after_header(path)[:12]


def after_header(path: Path) -> str:
    with path.open("rb") as opened:
        if path.suffix.lower() == ".safetensors":
            opened.seek(8 + int.from_bytes(opened.read(8), "little"))
        return hashlib.file_digest(opened, "sha256").hexdigest()
