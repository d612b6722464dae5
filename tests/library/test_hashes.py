"""Hashes of files, and the note on disk that saves computing a large file's hash again."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tetrad.formats import file_hashes
from tetrad.formats.file_hashes import compute_file_hash
from tetrad.formats.weight_files import serialize_safetensors
from tetrad.library import find_checkpoint_by_legacy_hash, hashes, resolve_model_folders


def test_a_large_file_is_hashed_again_when_its_time_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "HASH_CACHE_MIN_BYTES", 1)
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    assert not hashes.is_hash_cached(file) and not hashes.is_hash_cached(tmp_path / "none.safetensors")
    first = hashes.get_file_hash(file)
    assert hashes.is_hash_cached(file)
    hashes.get_cached_file_hash.cache_clear()
    monkeypatch.setattr(hashes.file_hashes, "compute_file_hash", lambda path: "computed again")
    assert hashes.get_file_hash(file) == first, "the note on disk was not used"
    file.write_bytes(b"two")
    os.utime(file, ns=(2, 2))
    assert not hashes.is_hash_cached(file)
    assert hashes.get_file_hash(file) == "computed again"
    assert first == compute_file_hash_of(b"one", tmp_path)


def compute_file_hash_of(content: bytes, folder: Path) -> str:
    (folder / "copy").write_bytes(content)
    return compute_file_hash(folder / "copy")


def test_a_file_is_known_by_every_hash_that_web_uis_have_used(tmp_path: Path) -> None:
    file = tmp_path / "zkr.safetensors"
    metadata = {"sshs_legacy_hash": "abcdef01"}
    file.write_bytes(serialize_safetensors({"a": torch.arange(400_000.0)}, metadata))
    content = file.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    whole, data = (hashlib.sha256(part).hexdigest() for part in (content, content[header:]))
    auto_v1 = hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    expected = {auto_v1, "abcdef01", whole[:10], whole[:12], data[:8], data[:10], data[:12]}
    assert hashes.list_file_hashes(file) == expected


def test_small_files_are_not_all_alike_by_their_oldest_hash(tmp_path: Path) -> None:
    (tmp_path / "small.pt").write_bytes(b"small")
    assert hashlib.sha256(b"").hexdigest()[:8] not in hashes.list_file_hashes(tmp_path / "small.pt")


def test_a_renamed_model_is_found_by_its_hash_of_8_digits(tmp_path: Path) -> None:
    """As images before 2023 name it; a small file has the hash of nothing, and is not meant."""
    (folder := tmp_path / "models" / "Stable-diffusion").mkdir(parents=True)
    for number, name in enumerate(("one", "other")):
        save_file({"a": torch.full((300_000,), float(number))}, folder / f"{name}.safetensors")
    save_file({"a": torch.ones(1)}, folder / "small.safetensors")
    folders = resolve_model_folders(tmp_path)
    found = file_hashes.compute_file_legacy_hash(folder / "other.safetensors")
    assert find_checkpoint_by_legacy_hash(found.upper(), folders) == folder / "other.safetensors"
    for missing in ("e3b0c442", "00000000", "", found[:7]):
        assert find_checkpoint_by_legacy_hash(missing, folders) is None
