"""Weight files: errors for damaged ones, pickles that must not run code, and writes that fail halfway."""

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
from safetensors.torch import _TYPES, save, save_file
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import file_hashes, weight_files

TENSORS = {"a.weight": torch.arange(12.0).view(3, 4), "b": torch.tensor(2, dtype=torch.int64)}
WHOLE = save(TENSORS, {"title": "zkr"})
HEADER = int.from_bytes(WHOLE[:8], "little")


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def entry(start: int, end: int) -> dict[str, object]:
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}


def test_serialized_bytes_are_those_of_safetensors() -> None:
    content = weight_files.serialize_safetensors(TENSORS, {"title": "zkr"})
    assert content == WHOLE


@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt", "a.pt", "without a suffix"])
def test_a_safetensors_file_is_read_whatever_its_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(WHOLE)
    file = weight_files.read_weight_file(tmp_path / name)
    assert file.metadata == {"title": "zkr"}
    assert equal(file.tensors, TENSORS)


def test_tensors_that_share_memory_are_written_separately(tmp_path: Path) -> None:
    shared = torch.arange(6.0).view(2, 3)
    weight_files.write_safetensors(
        tmp_path / "a.safetensors", {"whole": shared, "turned": shared.T, "row": shared[0]}, {}
    )
    read = weight_files.read_weight_file(tmp_path / "a.safetensors").tensors
    assert equal(read, {"whole": shared, "turned": shared.T, "row": shared[0]})


def equal(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return ours.keys() == expected.keys() and all(
        ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor) for name, tensor in expected.items()
    )


DAMAGED: dict[str, tuple[bytes, str, str]] = {
    "zero bytes": (b"", "E5002", ""),
    "seven bytes": (WHOLE[:7], "E5002", ""),
    "nine bytes": (WHOLE[:9], "E5002", "cut off|not a safetensors"),
    "cut off in the header": (WHOLE[: HEADER // 2], "E5002", "is cut off"),
    "longer than its header says": (WHOLE + b"xx", "E5002", f"{len(WHOLE):,} bytes, but it has {len(WHOLE) + 2:,}"),
    "cut off in the data": (WHOLE[:-1], "E5002", f"{len(WHOLE):,} bytes or more, but has {len(WHOLE) - 1:,}"),
    "bytes after the end": (WHOLE + b"\0", "E5002", "damaged"),
    "a header longer than the limit": ((10**12).to_bytes(8, "little") + b"{" + b" " * 99, "E5002", ""),
    "a header as long as a number can say": (b"\xff" * 8 + b"{" + b" " * 99, "E5002", ""),
    "a header that is not JSON": (with_header(b"{'a': 1}    "), "E5002", "damaged"),
    "a header that is not text": (with_header(b"{\xff\xfe\xfa\xf0 }"), "E5002", ""),
    "a header nested too deep": (with_header(b'{"a":' + b"[" * 50_000), "E5002", ""),
    "an entry that is a number": (with_header(b'{"a": 5}    '), "E5002", "damaged"),
    "an entry without offsets": (with_header(b'{"a": {"dtype": "F32", "shape": [1]}}'), "E5002", "damaged"),
    "one offset only": (with_header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": 4}}'), "E5002", ""),
    "offsets that are text": (
        with_header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}}', b"1234"),
        "E5002",
        "damaged",
    ),
    "an offset of minus zero": (
        with_header(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-0, 4]}}', b"1234"),
        "E5002",
        "damaged",
    ),
    "half a character": (
        with_header(b'{"\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', b"1234"),
        "E5002",
        "half a character",
    ),
    "a negative offset": (with_header(json.dumps({"a": entry(-4, 0)}).encode()), "E5002", "damaged"),
    "two tensors with the same offsets": (
        with_header(json.dumps({"a": entry(0, 4), "b": entry(0, 4)}).encode(), b"1234"),
        "E5002",
        "damaged",
    ),
    "a shape that does not match its offsets": (
        with_header(b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}', b"1234"),
        "E5002",
        "damaged",
    ),
    "one name twice": (
        with_header(f'{{"a": {json.dumps(entry(0, 4))}, "a": {json.dumps(entry(0, 4))}}}'.encode(), b"1234"),
        "E5002",
        "twice",
    ),
    "a gap between two tensors": (
        with_header(json.dumps({"a": entry(0, 4), "b": entry(8, 12)}).encode(), b"x" * 12),
        "E5002",
        "there is a gap before the tensor b",
    ),
    "two tensors that overlap": (
        with_header(json.dumps({"a": entry(0, 8), "b": entry(4, 12)}).encode(), b"x" * 12),
        "E5002",
        "the tensor b overlaps another",
    ),
    "a shape that overflows": (
        with_header(b'{"a": {"dtype": "F32", "shape": [4294967296, 4294967296, 4], "data_offsets": [0, 0]}}'),
        "E5002",
        "does not fit its bytes",
    ),
    "a shape of true": (
        with_header(b'{"a": {"dtype": "U8", "shape": [true], "data_offsets": [0, 1]}}', b"1"),
        "E5002",
        "cannot be read",
    ),
    "more tensors than any model has": (
        with_header(json.dumps({str(number): entry(0, 0) for number in range(50_001)}).encode()),
        "E5002",
        "more than 50,000 tensors",
    ),
    "endless metadata": (
        with_header(json.dumps({"__metadata__": {str(number): "" for number in range(10_001)}}).encode()),
        "E5002",
        "more than 10,000 entries",
    ),
    "65 sides": (
        with_header(json.dumps({"a": {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}}).encode(), b"1234"),
        "E5002",
        "cannot be read",
    ),
    "a type of four bits": (
        with_header(b'{"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}', b"1"),
        "E5002",
        "of the type F4",
    ),
    "an unknown type": (
        with_header(b'{"a": {"dtype": "F31", "shape": [1], "data_offsets": [0, 4]}}', b"1234"),
        "E5002",
        "of the unknown type F31",
    ),
    **{
        f"a tensor called {name!r}": (
            with_header(json.dumps({name: entry(0, 4)}).encode(), b"1234"),
            "E5002",
            "no name but a path",
        )
        for name in ("", "../../etc/passwd", "a/../b", "..", "/etc/passwd", "..\\x", "C:\\x", "x" * 1001)
    },
    "metadata that is a list": (with_header(b'{"__metadata__": [1]}'), "E5002", "metadata is not text"),
    "a header that is a list": (with_header(b'{"a": [1]}  '), "E5002", "cannot be read"),
    "metadata that is not text": (with_header(b'{"__metadata__": {"a": 5}}'), "E5002", "damaged"),
    "a web page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "E5003", "web page"),
    "a web page after blank lines": (b"\n\n  <html><head></head></html>", "E5003", "web page"),
    "a web page in small letters": (b"<!doctype html><html></html>", "E5003", "web page"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "E5003", "git lfs"),
    "a text": (b"this is a text, and not at all a model", "E5002", "starts with 'this is "),
    "a zip": (b"PK\x03\x04" + b"\0" * 60, "E5002", ""),
}


@pytest.mark.parametrize("case", list(DAMAGED))
def test_a_damaged_safetensors_file_is_refused(case: str, tmp_path: Path) -> None:
    content, code, expected_text = DAMAGED[case]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert_refused(path, code, expected_text)


@pytest.mark.parametrize("case", list(DAMAGED))
def test_the_library_never_sees_a_damaged_safetensors_file(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_files, "safe_open", lambda *_, **__: pytest.fail("the library opened it"))
    path = tmp_path / "model.safetensors"
    path.write_bytes(DAMAGED[case][0])
    assert_refused(path, DAMAGED[case][1])
    assert weight_files.read_safetensors_metadata(path) == {} and weight_files.read_tensor_names(path) == []


@pytest.mark.parametrize("dtype", sorted(set(_TYPES.values()), key=str), ids=str)
def test_every_type_that_the_library_writes_is_read(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {name: torch.zeros(shape, dtype=torch.uint8).view(dtype) for name, shape in (("a", 16), ("b", (0, 16)))}
    save_file(tensors, tmp_path / "a.safetensors")
    assert weight_files.read_weight_file(tmp_path / "a.safetensors", keep_float8=True).tensors["a"].dtype == dtype


# A pickle has no header to check, so a cut cannot be distinguished from other damage; only the code matters.
@pytest.mark.parametrize("case", ["zero bytes", "seven bytes", "a text", "a zip", "a web page", "a Git LFS pointer"])
def test_a_damaged_pickle_is_refused(case: str, tmp_path: Path) -> None:
    content, code, _ = DAMAGED[case]
    path = tmp_path / "model.ckpt"
    path.write_bytes(content)
    assert_refused(path, code)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.99])
def test_a_pickle_that_was_cut_off_is_refused(kept: float, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    large = {"a.weight": torch.rand(10_000)}  # as in a real file, the cut is inside a tensor's data
    torch.save({"state_dict": large}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert_refused(path, "E5002")


@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"x", b"(", b"\x80\x02"])
def test_a_pickle_of_one_repeated_byte_counts_as_damaged(fill: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(fill * 512)
    assert_refused(path, "E5002")


def test_a_zip_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photos.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.txt", "a photo of a cat")
    assert_refused(path, "E5002")


def test_the_error_for_a_missing_file_names_the_other_files_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real.safetensors").write_bytes(WHOLE)
    assert_refused(tmp_path / "reel.safetensors", "E5001", "real.safetensors")
    assert_refused(tmp_path / "no folder" / "reel.safetensors", "E5001", "there is no file")


def test_a_folder_is_not_a_weight_file(tmp_path: Path) -> None:
    assert_refused(tmp_path, "E5001", "cannot be read")


def assert_refused(path: Path, code: str, expected_text: str = "") -> None:
    """Reading raises one sentence with this code, the file's name and this text; never another exception."""
    with pytest.raises(TetradError) as caught:
        weight_files.read_weight_file(path)
    assert caught.value.code == code and re.search(expected_text, caught.value.message), caught.value
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message and len(caught.value.message) < 400 + len(str(path))


class Canary:
    """In a pickle: makes a folder when it is loaded without protection."""

    def __init__(self, path: Path, call: Callable[..., Any]) -> None:
        self.path, self.call = path, call

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return self.call, (f"mkdir {self.path}" if self.call is os.system else str(self.path),)


@pytest.mark.parametrize("call", [os.system, os.mkdir, eval, print], ids=["system", "mkdir", "eval", "print"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("form", ["zip", "old", "bare", "named as safetensors"])
def test_a_pickle_that_asks_for_more_than_tensors_runs_nothing_and_says_what_it_asks_for(
    form: str, protocol: int, call: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = tmp_path / "canary"
    content = {"state_dict": TENSORS, "extra": Canary(canary, call)}
    path = tmp_path / ("model.safetensors" if form == "named as safetensors" else "model.ckpt")
    if form == "bare":
        path.write_bytes(pickle.dumps(content, protocol))
    else:
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form != "old")
    with pytest.raises(TetradError) as caught:
        weight_files.read_weight_file(path)
    assert not canary.exists()
    assert capsys.readouterr().out == ""
    if form != "named as safetensors":
        assert caught.value.code == "E5010" and f".{call.__name__} besides tensors" in caught.value.message


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_pickle_of_tensors_in_a_newer_protocol_is_named_for_what_it_is(
    protocol: int, zipped: bool, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": TENSORS}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    if protocol > 3:
        assert_refused(path, "E5002", f"a pickle of protocol {protocol}")
    else:
        assert equal(weight_files.read_weight_file(path).tensors, TENSORS)
    assert not recwarn.list


@pytest.mark.parametrize(
    "content",
    [[1, 2], 5, {"state_dict": [1]}, {"state_dict": 5}, torch.ones(2), {"state_dict": {7: 8}}],
    ids=str,
)
def test_a_pickle_without_a_state_dict_has_no_tensors(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "odd.pt")
    assert weight_files.read_weight_file(tmp_path / "odd.pt").tensors == {}


def test_only_the_state_dict_of_a_checkpoint_is_read(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": TENSORS | {"step": 5}, "epoch": 3, "optimizer": {"a": torch.ones(1)}}, tmp_path / "a.ckpt"
    )
    assert equal(weight_files.read_weight_file(tmp_path / "a.ckpt").tensors, TENSORS)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "zkr.safetensors"
    path.write_bytes(b"the old one")
    for step in ("fsync", "replace", "chmod"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, raise_disk_full)
            with pytest.raises(TetradError, match="No space left") as caught:
                weight_files.write_safetensors(path, TENSORS, {})
        assert caught.value.code == "E4202"
        assert path.read_bytes() == b"the old one"
        assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        weight_files.write_safetensors(tmp_path / "zkr.safetensors", TENSORS, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt", "a.gguf"])
def test_a_pipe_is_never_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    assert_refused(tmp_path / name, "E5001")
    assert weight_files.read_tensor_shapes(tmp_path / name) == {}


def raise_disk_full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("folder", ["missing", "a file"])
def test_a_file_in_an_impossible_folder_cannot_be_written(folder: str, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("not a folder")
    with pytest.raises(TetradError) as caught:
        weight_files.write_safetensors(tmp_path / folder / "zkr.safetensors", TENSORS, {})
    assert caught.value.code == "E4202"
    assert (tmp_path / "a file").read_text() == "not a folder"


def test_the_data_hash_covers_the_bytes_after_the_header(tmp_path: Path) -> None:
    """Computed here by the same rule as in web UIs."""
    path = tmp_path / "zkr.safetensors"
    save_file(TENSORS, path, {"title": "zkr"})
    content = path.read_bytes()
    assert file_hashes.compute_data_hash(TENSORS) == hashlib.sha256(content[8 + HEADER :]).hexdigest()


def test_the_data_hash_does_not_change_with_the_metadata() -> None:
    hashes = set()
    for metadata in ({}, {"title": "zkr"}, {"title": "zkr", "comment": "x" * 1000}):
        content = weight_files.serialize_safetensors(TENSORS, metadata)
        header = int.from_bytes(content[:8], "little")
        hashes.add(hashlib.sha256(content[8 + header :]).hexdigest())
    assert hashes == {file_hashes.compute_data_hash(TENSORS)}
    assert file_hashes.compute_data_hash(TENSORS | {"b": torch.tensor(3)}) not in hashes


def test_file_hashes_follow_the_published_rules(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content = bytes(range(256)) * 5000  # 1.28 MB, so that there is something at 1 MiB
    path.write_bytes(content)
    assert file_hashes.compute_file_hash(path) == hashlib.sha256(content).hexdigest()
    assert file_hashes.compute_file_legacy_hash(path) == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    assert file_hashes.compute_file_legacy_hash(path) == file_hashes.compute_legacy_hash(content)
    path.write_bytes(b"small")
    assert file_hashes.compute_file_legacy_hash(path) == "e3b0c442"  # sha256 of nothing
