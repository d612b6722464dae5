"""Weight files: what is told of a damaged one, what a pickle may not do, what a failed write leaves behind."""

import hashlib
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import files

TENSORS = {"a.weight": torch.arange(12.0).view(3, 4), "b": torch.tensor(2, dtype=torch.int64)}
WHOLE = save(TENSORS, {"title": "zkr"})
HEADER = int.from_bytes(WHOLE[:8], "little")


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def entry(start: int, end: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}


def test_what_is_written_is_read() -> None:
    content = files.serialized(TENSORS, {"title": "zkr"})
    assert content == WHOLE


@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt", "a.pt", "without an ending"])
def test_safetensors_are_read_whatever_the_file_is_called(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(WHOLE)
    file = files.read(tmp_path / name)
    assert file.metadata == {"title": "zkr"}
    assert same(file.tensors, TENSORS)


def test_tensors_that_share_memory_are_written_apart(tmp_path: Path) -> None:
    shared = torch.arange(6.0).view(2, 3)
    files.write(tmp_path / "a.safetensors", {"whole": shared, "turned": shared.T, "row": shared[0]}, {})
    read = files.read(tmp_path / "a.safetensors").tensors
    assert same(read, {"whole": shared, "turned": shared.T, "row": shared[0]})


def same(ours: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return ours.keys() == wanted.keys() and all(
        ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor) for name, tensor in wanted.items()
    )


DAMAGED: dict[str, tuple[bytes, str, str]] = {
    "zero bytes": (b"", "E5002", ""),
    "seven bytes": (WHOLE[:7], "E5002", ""),
    "nine bytes": (WHOLE[:9], "E5002", "cut off|not a safetensors"),
    "cut off in the header": (WHOLE[: HEADER // 2], "E5002", "is cut off"),
    "longer than it says": (WHOLE + b"xx", "E5002", "has more in it than its header says"),
    "cut off in the data": (WHOLE[:-1], "E5002", f"{len(WHOLE) - 1:,} bytes of {len(WHOLE):,}"),
    "bytes after the end": (WHOLE + b"\0", "E5002", "damaged"),
    "a header longer than the limit": ((10**12).to_bytes(8, "little") + b"{" + b" " * 99, "E5002", ""),
    "a header as long as a number can say": (b"\xff" * 8 + b"{" + b" " * 99, "E5002", ""),
    "a header that is no JSON": (with_header(b"{'a': 1}    "), "E5002", "damaged"),
    "a header that is no text": (with_header(b"{\xff\xfe\xfa\xf0 }"), "E5002", ""),
    "a header nested too deep": (with_header(b'{"a":' + b"[" * 50_000), "E5002", ""),
    "an entry that is a number": (with_header(b'{"a": 5}    '), "E5002", "damaged"),
    "an entry without a place": (with_header(b'{"a": {"dtype": "F32", "shape": [1]}}'), "E5002", "damaged"),
    "a place that is no pair": (with_header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": 4}}'), "E5002", ""),
    "a place that is text": (
        with_header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}}', b"1234"),
        "E5002",
        "damaged",
    ),
    "a place before the start": (with_header(json.dumps({"a": entry(-4, 0)}).encode()), "E5002", "damaged"),
    "two tensors in one place": (
        with_header(json.dumps({"a": entry(0, 4), "b": entry(0, 4)}).encode(), b"1234"),
        "E5002",
        "damaged",
    ),
    "a shape that does not fill its place": (
        with_header(b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}', b"1234"),
        "E5002",
        "damaged",
    ),
    "one name twice": (
        with_header(f'{{"a": {json.dumps(entry(0, 4))}, "a": {json.dumps(entry(0, 4))}}}'.encode(), b"1234"),
        "E5002",
        "twice",
    ),
    "metadata that is no text": (with_header(b'{"__metadata__": {"a": 5}}'), "E5002", "damaged"),
    "a web page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "E5003", "web page"),
    "a web page after blank lines": (b"\n\n  <html><head></head></html>", "E5003", "web page"),
    "a web page in small letters": (b"<!doctype html><html></html>", "E5003", "web page"),
    "a git-lfs placeholder": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "E5003", "git lfs"),
    "a text": (b"this is a text, and not at all a model", "E5002", "it begins with 'this is "),
    "a zip": (b"PK\x03\x04" + b"\0" * 60, "E5002", ""),
}


@pytest.mark.parametrize("what", list(DAMAGED))
def test_a_damaged_safetensors_file_is_told(what: str, tmp_path: Path) -> None:
    content, code, words = DAMAGED[what]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert_told(path, code, words)


# In a pickle there is no header to check, so a cut is not told from other damage; what counts is the code.
@pytest.mark.parametrize(
    "what", ["zero bytes", "seven bytes", "a text", "a zip", "a web page", "a git-lfs placeholder"]
)
def test_a_damaged_pickle_is_told(what: str, tmp_path: Path) -> None:
    content, code, _ = DAMAGED[what]
    path = tmp_path / "model.ckpt"
    path.write_bytes(content)
    assert_told(path, code)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.99])
def test_a_pickle_that_was_cut_off_is_told(kept: float, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    large = {"a.weight": torch.rand(10_000)}  # as in a real one, a cut falls among the numbers
    torch.save({"state_dict": large}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert_told(path, "E5002")


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"x", b"(", b"\x80\x02"])
def test_a_pickle_of_one_byte_over_and_over_is_damaged_not_dangerous(fill: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(fill * 512)
    assert_told(path, "E5002")


def test_a_zip_that_is_no_model_is_told(tmp_path: Path) -> None:
    path = tmp_path / "photos.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.txt", "a photo of a cat")
    assert_told(path, "E5002")


def test_a_missing_file_is_told_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "real.safetensors").write_bytes(WHOLE)
    assert_told(tmp_path / "reel.safetensors", "E5001", "real.safetensors")
    assert_told(tmp_path / "no folder" / "reel.safetensors", "E5001", "there is no file")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert_told(tmp_path, "E5001", "cannot be read")


def assert_told(path: Path, code: str, words: str = "") -> None:
    """One sentence with its code and the file's name; whatever is wrong with a file is never a traceback."""
    with pytest.raises(TetradError) as caught:
        files.read(path)
    assert caught.value.code == code and re.search(words, caught.value.message), caught.value
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message and len(caught.value.message) < 400 + len(str(path))


class Canary:
    """A pickle that makes a folder when it is read."""

    def __init__(self, path: Path, call: Callable[..., Any]) -> None:
        self.path, self.call = path, call

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return self.call, (f"mkdir {self.path}" if self.call is os.system else str(self.path),)


@pytest.mark.parametrize("call", [os.system, os.mkdir, eval, print], ids=["system", "mkdir", "eval", "print"])
@pytest.mark.parametrize("form", ["zip", "old", "bare", "named as safetensors"])
def test_a_pickle_that_asks_for_more_than_tensors_does_nothing(
    form: str, call: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = tmp_path / "canary"
    content = {"state_dict": TENSORS, "extra": Canary(canary, call)}
    path = tmp_path / ("model.safetensors" if form == "named as safetensors" else "model.ckpt")
    if form == "bare":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "old")
    with pytest.raises(TetradError) as caught:
        files.read(path)
    assert not canary.exists()
    assert capsys.readouterr().out == ""
    # torch has no name for what is wrong with a pickle that it did not write; it is read no further either way.
    assert caught.value.code == ("E5010" if form in ("zip", "old") else "E5002")


@pytest.mark.parametrize(
    "content",
    [[1, 2], 5, {"state_dict": [1]}, {"state_dict": 5}, torch.ones(2), {"state_dict": {7: 8}}],
    ids=str,
)
def test_a_pickle_of_something_else_holds_no_tensors(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "odd.pt")
    assert files.read(tmp_path / "odd.pt").tensors == {}


def test_a_pickles_tensors_are_all_that_is_kept(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": TENSORS | {"step": 5}, "epoch": 3, "optimizer": {"a": torch.ones(1)}}, tmp_path / "a.ckpt"
    )
    assert same(files.read(tmp_path / "a.ckpt").tensors, TENSORS)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "zkr.safetensors"
    path.write_bytes(b"the old one")
    for step in ("fsync", "replace", "chmod"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full_disk)
            with pytest.raises(TetradError, match="No space left") as caught:
                files.write(path, TENSORS, {})
        assert caught.value.code == "E4202"
        assert path.read_bytes() == b"the old one"
        assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "zkr.safetensors", TENSORS, {})
    assert list(tmp_path.iterdir()) == []


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("folder", ["missing", "a file"])
def test_a_folder_that_cannot_be_written_is_told(folder: str, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("not a folder")
    with pytest.raises(TetradError) as caught:
        files.write(tmp_path / folder / "zkr.safetensors", TENSORS, {})
    assert caught.value.code == "E4202"
    assert (tmp_path / "a file").read_text() == "not a folder"


def test_the_data_hash_is_of_the_bytes_after_the_header(tmp_path: Path) -> None:
    """The rule that web UIs check a LoRA by, computed here as they do."""
    path = tmp_path / "zkr.safetensors"
    save_file(TENSORS, path, {"title": "zkr"})
    content = path.read_bytes()
    assert files.data_hash(TENSORS) == hashlib.sha256(content[8 + HEADER :]).hexdigest()


def test_the_data_hash_does_not_change_with_the_metadata() -> None:
    hashes = set()
    for metadata in ({}, {"title": "zkr"}, {"title": "zkr", "comment": "x" * 1000}):
        content = files.serialized(TENSORS, metadata)
        header = int.from_bytes(content[:8], "little")
        hashes.add(hashlib.sha256(content[8 + header :]).hexdigest())
    assert hashes == {files.data_hash(TENSORS)}
    assert files.data_hash(TENSORS | {"b": torch.tensor(3)}) not in hashes


def test_the_hashes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content = bytes(range(256)) * 5000  # 1.28 MB, so that there is something at 1 MiB
    path.write_bytes(content)
    assert files.file_hash(path) == hashlib.sha256(content).hexdigest()
    assert files.file_legacy_hash(path) == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    assert files.file_legacy_hash(path) == files.legacy_hash(content)
    path.write_bytes(b"small")
    assert files.file_legacy_hash(path) == "e3b0c442"  # sha256 of nothing
