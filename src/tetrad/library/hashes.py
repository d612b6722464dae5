"""Hashes by which web UIs and model sites identify files."""

import hashlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from tetrad.cache_location import get_cache_folder
from tetrad.errors import TetradError
from tetrad.formats import file_hashes, weight_files
from tetrad.formats.atomic_write import write_atomically
from tetrad.formats.safetensors_header import looks_like_safetensors

HASH_CACHE_MIN_BYTES = 64 * 2**20  # hashes of files from this size on are cached on disk


def get_file_hash(path: Path) -> str:
    """sha256 of a whole file in hex; its first 10 digits identify a model or a VAE, its first 12 an embedding."""
    return get_cached_file_hash(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=256)
def get_cached_file_hash(path: Path, modified_ns: int, size: int) -> str:
    """The hash of a file in its present state; a large file's is cached on disk, because it takes seconds."""
    if size < HASH_CACHE_MIN_BYTES:
        return file_hashes.compute_file_hash(path)
    cache_file = _find_cache_file(path, modified_ns, size)
    try:
        return cache_file.read_text("ascii")
    except (OSError, ValueError):
        file_hash = file_hashes.compute_file_hash(path)
    try:
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache_file, file_hash.encode())
    except (OSError, TetradError):
        pass  # computed again next time
    return file_hash


def is_hash_cached(path: Path) -> bool:
    """Whether the hash of a file in its present state is on disk, so that the file need not be read for it."""
    with suppress(OSError):
        return _find_cache_file(path, path.stat().st_mtime_ns, path.stat().st_size).is_file()
    return False


def _find_cache_file(path: Path, modified_ns: int, size: int) -> Path:
    """Where the hash of a file in this state is cached."""
    state = f"{path.resolve()}\0{modified_ns}\0{size}".encode(errors="surrogateescape")
    return get_cache_folder() / "hashes" / hashlib.sha256(state).hexdigest()


def get_lora_hash(path: Path) -> str:
    """12 hex digits that identify a LoRA whatever its metadata: the sha256 of the bytes after the safetensors header.

    The file's own `sshs_model_hash` has the same value and is used first, as in A1111.
    """
    stored_hash = weight_files.read_safetensors_metadata(path).get("sshs_model_hash", "")
    return stored_hash[:12] if stored_hash else compute_hash_after_header(path)[:12]


def list_file_hashes(path: Path) -> set[str]:
    """Every hash by which web UIs and model sites have named a file, whatever they call it.

    The first 8 digits over a part of the file (AutoV1, in images before 2023), the first 10 and 12 of the whole file
    (AutoV2, embeddings), and 8, 10 and 12 of the bytes after a safetensors header (AutoV3, the addnet hash).
    """
    metadata = weight_files.read_safetensors_metadata(path)
    content_hashes = {compute_hash_after_header(path), metadata.get("sshs_model_hash", "").removeprefix("0x")}
    whole = get_file_hash(path)
    hashes = {metadata.get("sshs_legacy_hash", ""), whole[:10], whole[:12]}
    if path.stat().st_size > file_hashes.LEGACY_HASH_OFFSET:  # all smaller files have the same, of nothing
        hashes.add(file_hashes.compute_file_legacy_hash(path))
    hashes |= {content_hash[:digits] for content_hash in content_hashes for digits in (8, 10, 12)}
    return hashes - {""}


def compute_hash_after_header(path: Path) -> str:
    with path.open("rb") as file:
        if looks_like_safetensors(first_bytes := file.read(10)):
            file.seek(8 + int.from_bytes(first_bytes[:8], "little"))
        else:
            file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()
