"""Reads and writes weight files tensor by tensor, so that files larger than memory can be worked on."""

import json
import math
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import pickles, weight_files
from tetrad.formats.atomic_write import convert_write_errors, stage_replacement
from tetrad.formats.tensors import as_bytes
from tetrad.locales import _
from tetrad.sizes import format_size

_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "C64": torch.complex64},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu},
    **{"F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz},
}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_WORKERS = 2  # one reads while the other computes
_MAX_BYTES_AHEAD = 256 * 2**20  # of tensors that are computed before they can be written


@dataclass(frozen=True)
class TensorLayout:
    """What is known of a tensor before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


_Read = Callable[[str, int, int], Tensor]  # the elements from a number to another one of the tensor of a name


class TensorFile(Mapping[str, TensorLayout]):
    """An open weight file: tensor layouts by the file's own names, in the order in which the tensors lie in it.

    Several threads may read from it.
    """

    def __init__(
        self, path: Path, layouts: Mapping[str, TensorLayout], metadata: Mapping[str, str], read: _Read
    ) -> None:
        self.path, self.metadata, self._read = path, dict(metadata), read
        self._layouts = dict(layouts)

    def read(self, name: str) -> Tensor:
        """A tensor in the file's dtype, with memory of its own."""
        layout = self[name]
        return self._read(name, 0, math.prod(layout.shape)).reshape(layout.shape)

    def read_range(self, name: str, start: int, stop: int) -> Tensor:
        """Some elements of a tensor (stop − start,), counted in the order of the flattened tensor."""
        return self._read(name, start, stop)

    def __getitem__(self, name: str) -> TensorLayout:
        return self._layouts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layouts)

    def __len__(self) -> int:
        return len(self._layouts)


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """Open a weight file to read its tensors one at a time.

    Only torch's container of before 2020 is read as a whole. Raises what `weight_files.read_weight_file` raises.
    """
    first_bytes = weight_files.read_first_bytes(path)
    if not weight_files.is_pickle(path, first_bytes):
        data_start = 8 + int.from_bytes(first_bytes[:8], "little")
        header = weight_files.check_safetensors(path, first_bytes)
        metadata = header.pop("__metadata__", {})
        places = {name: _find_place(path, name, entry, data_start) for name, entry in header.items()}
    elif content := pickles.read_pickle_layout(path):
        tensors, metadata = content
        places = {name: _place_of(each) for name, each in tensors.items()}
    else:
        tensors, metadata = pickles.read_pickle(path)
        layouts = {name: _layout_of(each) for name, each in tensors.items()}
        yield TensorFile(path, layouts, metadata, lambda name, start, stop: tensors[name].flatten()[start:stop].clone())
        return
    with _open_places(path, places) as read:
        layouts = {name: place.layout for name, place in sorted(places.items(), key=lambda item: item[1].start)}
        yield TensorFile(path, layouts, metadata, read)


@dataclass(frozen=True)
class _Place:
    """Where in a file a tensor's data begins, and how far apart its elements are."""

    layout: TensorLayout
    start: int
    stride: tuple[int, ...] | None = None  # None for a contiguous one


def _find_place(path: Path, name: str, entry: dict[str, Any], data_start: int) -> _Place:
    """The place of a tensor of a safetensors file.  E5002 for a type that torch cannot read."""
    if entry["dtype"] not in _DTYPES:
        template = _(
            "{path} contains {tensor} in the format {dtype}, which PyTorch cannot read; get it in another format"
        )
        raise TetradError("E5002", template, path=path, tensor=name, dtype=entry["dtype"])
    layout = TensorLayout(tuple(entry["shape"]), _DTYPES[entry["dtype"]])
    return _Place(layout, data_start + entry["data_offsets"][0])


def _place_of(tensor: Tensor) -> _Place:
    """The place of a tensor of a pickle."""
    stride = None if tensor.is_contiguous() else tensor.stride()
    return _Place(_layout_of(tensor), pickles.get_file_offset(tensor), stride)


def _layout_of(tensor: Tensor) -> TensorLayout:
    return TensorLayout(tuple(tensor.shape), tensor.dtype)


@contextmanager
def _open_places(path: Path, places: Mapping[str, _Place]) -> Iterator[_Read]:
    """A function that reads elements of the tensor of a name.  E5001 where the file cannot be read."""
    lock = Lock()

    def read_bytes(start: int, count: int) -> Tensor:
        data = torch.empty(count, dtype=torch.uint8)
        try:
            with lock:
                file.seek(start)
                found = file.readinto(data.numpy().data)
        except OSError as error:
            raise weight_files.unreadable_error(path, error) from error
        if found != count:
            raise TetradError("E5002", _("{path} was changed while it was read; start again"), path=path)
        return data

    def read(name: str, start: int, stop: int) -> Tensor:
        place, width = places[name], places[name].layout.dtype.itemsize
        if start == stop:
            return torch.empty(0, dtype=place.layout.dtype)
        if place.stride is None:
            return read_bytes(place.start + start * width, (stop - start) * width).view(place.layout.dtype)
        shape = place.layout.shape
        span = 1 + sum((side - 1) * step for side, step in zip(shape, place.stride, strict=True))
        whole = read_bytes(place.start, span * width).view(place.layout.dtype).as_strided(shape, place.stride)
        return whole.flatten()[start:stop].clone()

    try:
        file = path.open("rb")
    except OSError as error:
        raise weight_files.unreadable_error(path, error) from error
    with file:
        yield read


def write_tensors(
    path: Path,
    layouts: Mapping[str, TensorLayout],
    compute: Callable[[str], Tensor],
    metadata: Mapping[str, str],
    on_written: Callable[[], None] = lambda: None,
) -> None:
    """Write a safetensors file of which only a few tensors are in memory at a time, completely or not at all.

    `compute` gives the tensor of a name, in the layout that was said; two threads call it, once for each name, in
    about the order of `layouts`. `on_written` is called after each tensor. E4204 where the disk has too little space,
    before anything is computed; E4202 where the file cannot be written.
    """
    # Larger elements first, as safetensors itself orders them, so that every tensor is aligned.
    layouts = dict(sorted(layouts.items(), key=lambda item: -item[1].dtype.itemsize))
    header = _build_header(layouts, metadata)
    check_free_space(path, len(header) + sum(layout.nbytes for layout in layouts.values()))
    with convert_write_errors(path), stage_replacement(path) as temporary_path, temporary_path.open("wb") as file:
        file.write(header)
        for name, tensor in _compute_ahead(layouts, compute):
            assert _layout_of(tensor) == layouts[name], f"{name} is not as it was said to be"
            file.write(as_bytes(tensor).numpy().data)
            on_written()


def check_free_space(path: Path, needed: int) -> None:
    """E4204 where the disk of a file that is to be written has less free space than it needs."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise TetradError(
            "E4204",
            _(
                "{path} needs {needed}, but its disk has {free} left; free {missing}, or choose another folder with"
                " --out"
            ),
            path=path,
            needed=format_size(needed),
            free=format_size(free),
            missing=format_size(needed - free),
        )


def _build_header(layouts: Mapping[str, TensorLayout], metadata: Mapping[str, str]) -> bytes:
    """The first bytes of a safetensors file with these tensors in this order."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, layout in layouts.items():
        start, end = end, end + layout.nbytes
        entries[name] = {"dtype": _DTYPE_NAMES[layout.dtype], "shape": layout.shape, "data_offsets": (start, end)}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    text += b" " * (-len(text) % 8)  # the data of the tensors is to begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text


def _compute_ahead(
    layouts: Mapping[str, TensorLayout], compute: Callable[[str], Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Each tensor in order, while the next ones are computed; never more of them than a bounded number of bytes."""
    names, waiting, bytes_ahead = deque(layouts), deque[tuple[str, Future[Tensor]]](), 0
    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            while names or waiting:
                while names and (not waiting or bytes_ahead + layouts[names[0]].nbytes <= _MAX_BYTES_AHEAD):
                    name = names.popleft()
                    bytes_ahead += layouts[name].nbytes
                    waiting.append((name, pool.submit(compute, name)))
                name, future = waiting.popleft()
                yield name, future.result()
                bytes_ahead -= layouts[name].nbytes
        finally:
            for _name, future in waiting:
                future.cancel()
