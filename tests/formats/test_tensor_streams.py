"""A weight file read and written tensor by tensor is the one that is read and written as a whole."""

import collections
import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from tetrad.errors import TetradError
from tetrad.formats import direct_reading, tensor_writer
from tetrad.formats.tensor_streams import TensorLayout, open_tensors
from tetrad.formats.tensor_writer import write_tensors

TENSORS = {
    "half": torch.randn(3, 5).half(),
    "transposed": torch.randn(4, 6).bfloat16(),
    "single": torch.tensor(0.5),
    "flag": torch.zeros(0),
    "ids": torch.arange(7)[None],
    "eighth": torch.randn(9).to(torch.float8_e4m3fn),
}


def write_safetensors(path: Path) -> None:
    save_file(TENSORS, path, {"note": "kept"})


def write_zip(path: Path) -> None:
    torch.save({"state_dict": TENSORS | {"transposed": TENSORS["transposed"].t().contiguous().t()}}, path)


def write_old_pickle(path: Path) -> None:
    torch.save(
        {name: tensor for name, tensor in TENSORS.items() if name != "eighth"},
        path,
        _use_new_zipfile_serialization=False,
    )


def write_compressed_zip(path: Path) -> None:
    write_zip(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def is_same(tensor: torch.Tensor, expected: torch.Tensor) -> bool:
    return tensor.dtype == expected.dtype and torch.equal(tensor.float(), expected.float())


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        (".safetensors", write_safetensors),
        (".ckpt", write_zip),
        (".ckpt", write_old_pickle),
        (".ckpt", write_safetensors),
    ],
)
def test_tensors_are_read_one_by_one_from_every_kind_of_file(
    tmp_path: Path, suffix: str, write: Callable[[Path], None]
) -> None:
    write(path := tmp_path / f"model{suffix}")
    with open_tensors(path) as file:
        assert file.keys() >= TENSORS.keys() - {"eighth"}
        for name, layout in file.items():
            assert layout == TensorLayout(tuple(TENSORS[name].shape), TENSORS[name].dtype)
            assert is_same(file.read_tensor(name), TENSORS[name])


def test_data_that_a_zip_container_compresses_is_not_read_as_if_it_were_not(tmp_path: Path) -> None:
    write_compressed_zip(path := tmp_path / "model.ckpt")
    try:
        with open_tensors(path) as file:
            assert all(is_same(file.read_tensor(name), tensor) for name, tensor in TENSORS.items())
    except TetradError as error:
        assert error.code == "E5002"


def test_a_pickle_that_asks_for_a_program_is_refused_by_its_name(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1), "x": collections.deque}, path := tmp_path / "model.ckpt")
    with pytest.raises(TetradError, match=r"collections\.deque") as caught, open_tensors(path):
        pass
    assert caught.value.code == "E5010"


def test_what_is_written_tensor_by_tensor_is_what_safetensors_reads(tmp_path: Path) -> None:
    layouts = {name: TensorLayout(tuple(tensor.shape), tensor.dtype) for name, tensor in TENSORS.items()}
    written = []
    write_tensors(
        path := tmp_path / "out.safetensors", layouts, TENSORS.__getitem__, {"a": "ü"}, lambda: written.append(1)
    )
    read = load_file(path)
    assert read.keys() == TENSORS.keys() and all(is_same(read[name], TENSORS[name]) for name in TENSORS)
    assert len(written) == len(TENSORS)
    with open_tensors(path) as file:
        assert file.metadata == {"a": "ü"}


def test_a_tensor_may_be_computed_in_parts_and_the_metadata_at_the_end(tmp_path: Path) -> None:
    values = torch.arange(10.0).reshape(2, 5)
    layouts = {"a": TensorLayout((2, 5), torch.float32), "b": TensorLayout((3,), torch.float16)}

    def compute(name: str) -> Iterator[torch.Tensor] | torch.Tensor:
        return iter(values.flatten().split(3)) if name == "a" else torch.ones(3, dtype=torch.float16)

    write_tensors(
        path := tmp_path / "out.safetensors", layouts, compute, {"hash": "0000"}, finish_metadata=lambda: {"hash": "x"}
    )
    assert torch.equal(load_file(path)["a"], values)
    with open_tensors(path) as file:
        assert file.metadata == {"hash": "x"} and torch.equal(file.read_tensor("b"), torch.ones(3).half())


@pytest.mark.parametrize("shift", [0, 1])  # of the data, whose begin is a multiple of 8 in most files
def test_ranges_of_a_file_that_is_read_once_are_read_past_the_page_cache(
    shift: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened, open_direct = tmp_path / "a.safetensors", [], direct_reading.open_direct
    tensors = {"a": torch.arange(5000).half(), "b": torch.rand(3, 700), "c": torch.zeros(0)}
    content = save(tensors)
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length] + b" " * shift
    path.write_bytes((length + shift).to_bytes(8, "little") + header + content[8 + length :])
    monkeypatch.setattr(direct_reading, "_cached_share", lambda file: 0.0)
    if not direct_reading.is_faster(path):
        pytest.skip("the system or the disk of temporary files cannot do it")

    def open_and_record(path: Path) -> BinaryIO:
        opened.append(path)
        return open_direct(path)

    monkeypatch.setattr(direct_reading, "open_direct", open_and_record)
    with open_tensors(path, is_read_once=True) as file:
        for name, tensor in tensors.items():
            for start, stop in ((0, 1), (7, 1500), (0, tensor.numel()), (tensor.numel() - 1, tensor.numel())):
                if 0 <= start < stop <= tensor.numel():
                    assert torch.equal(file.read_range(name, start, stop), tensor.flatten()[start:stop])
            assert torch.equal(file.read_tensor(name), tensor)
    assert len(opened) == 1 + (not shift)  # the first time to find out whether it is possible


def test_only_a_file_that_is_not_in_the_page_cache_is_read_past_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(bytes(100_000))
    assert not direct_reading.is_faster(path)  # it was written just now
    with path.open("rb+") as file, monkeypatch.context() as patched:
        os.fsync(file.fileno())
        assert direct_reading._cached_share(file.fileno()) == 1
        patched.setattr(direct_reading, "open_direct", lambda path: path.open("rb"))
        patched.setattr(direct_reading, "_cached_share", lambda file: 0.4)
        assert direct_reading.is_faster(path)
    monkeypatch.setattr(direct_reading, "_cached_share", lambda file: 0.4)
    monkeypatch.delattr(os, "O_DIRECT", raising=False)  # as on macOS and Windows
    assert not direct_reading.is_faster(path)


def test_a_file_that_is_replaced_while_it_is_read_is_refused(tmp_path: Path) -> None:
    write_safetensors(path := tmp_path / "a.safetensors")
    write_safetensors(other := tmp_path / "b.safetensors")
    with open_tensors(path) as file, ThreadPoolExecutor() as pool:
        other.replace(path)
        with pytest.raises(TetradError, match=r"E5002.*changed while it was read"):
            pool.submit(file.read_tensor, "half").result()


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def compute(name: str) -> torch.Tensor:
        if name == "b":
            raise KeyboardInterrupt
        return torch.zeros(2)

    with pytest.raises(KeyboardInterrupt):
        write_tensors(
            tmp_path / "out.safetensors", dict.fromkeys("abc", TensorLayout((2,), torch.float32)), compute, {}
        )
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_small_is_said_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = collections.namedtuple("usage", "free")
    monkeypatch.setattr(tensor_writer.shutil, "disk_usage", lambda folder: usage(2**30))
    with pytest.raises(TetradError, match=r"needs 4\.3 GB.*has 1\.1 GB left.*free 3\.2 GB") as caught:
        write_tensors(tmp_path / "out.safetensors", {"a": TensorLayout((2**30,), torch.float32)}, pytest.fail, {})
    assert caught.value.code == "E4204" and not list(tmp_path.iterdir())
