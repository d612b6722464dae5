"""What web UIs and model sites call a file by."""

import hashlib
from functools import lru_cache
from pathlib import Path

from tetrad.data.cache import default_folder
from tetrad.errors import TetradError
from tetrad.formats import files

LARGE = 64 * 2**20  # bytes from which a file's hash is worth a note of it on disk


def file_hash(path: Path) -> str:
    """sha256 of a whole file, in hex: the first 10 digits name a model or a VAE, the first 12 an embedding."""
    return remembered(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=256)
def remembered(path: Path, changed: int, size: int) -> str:
    """The hash of a file as it was changed last; a large one's is noted in the cache, for it takes seconds."""
    if size < LARGE:
        return files.file_hash(path)
    state = hashlib.sha256(f"{path.resolve()}\0{changed}\0{size}".encode(errors="surrogateescape")).hexdigest()
    note = default_folder() / "hashes" / state
    try:
        return note.read_text("ascii")
    except (OSError, ValueError):
        found = files.file_hash(path)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(note, found.encode())
    except (OSError, TetradError):
        pass  # it is made again next time
    return found


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
