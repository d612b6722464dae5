"""Reads weight files tensor by tensor, so that files larger than memory can be worked on."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import local
from typing import Any, BinaryIO

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import direct_reading, pickles, safetensors_header, weight_files
from tetrad.locales import _

DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, torch_name) for name, torch_name in safetensors_header.DTYPE_NAMES.items()
}


@dataclass(frozen=True)
class TensorLayout:
    """What is known of a tensor before it is read."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


# The elements from a number to another one of the tensor of a name, and whether the memory may be used again.
_Read = Callable[[str, int, int, bool], Tensor]


class TensorFile(Mapping[str, TensorLayout]):
    """An open weight file: tensor layouts by the file's own names, in the order in which the tensors lie in it.

    Several threads may read from it.
    """

    def __init__(
        self, path: Path, layouts: Mapping[str, TensorLayout], metadata: Mapping[str, str], read: _Read
    ) -> None:
        self.path, self.metadata, self._read = path, dict(metadata), read
        self._layouts = dict(layouts)

    def read_tensor(self, name: str) -> Tensor:
        """A tensor in the file's dtype, with memory of its own."""
        layout = self[name]
        return self._read(name, 0, math.prod(layout.shape), False).reshape(layout.shape)

    def read_range(self, name: str, start: int, stop: int) -> Tensor:
        """Some elements of a tensor (stop − start,), counted in the order of the flattened tensor.

        They may be overwritten, and are when this thread calls the method again: memory that is used again costs less
        time than new memory, which the system clears first.
        """
        return self._read(name, start, stop, True)

    def __getitem__(self, name: str) -> TensorLayout:
        return self._layouts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layouts)

    def __len__(self) -> int:
        return len(self._layouts)


@contextmanager
def open_tensors(path: Path, is_read_once: bool = False) -> Iterator[TensorFile]:
    """Open a weight file to read its tensors one at a time.

    Ranges of a file that is read once, and by nobody else, are read past the page cache where that is faster. Only
    torch's container of before 2020 is read as a whole. Raises what `weight_files.read_weight_file` raises.
    """
    first_bytes = weight_files.read_first_bytes(path)
    if not weight_files.is_pickle(path, first_bytes):
        data_start = 8 + int.from_bytes(first_bytes[:8], "little")
        header = safetensors_header.check_file(path, first_bytes)
        metadata = header.pop("__metadata__", {})
        places = {name: _find_place(path, name, entry, data_start) for name, entry in header.items()}
    elif content := pickles.read_pickle_layout(path):
        tensors, metadata = content
        places = {name: _place_of(each) for name, each in tensors.items()}
    else:
        tensors, metadata = pickles.read_pickle(path)
        layouts = {name: _layout_of(each) for name, each in tensors.items()}
        yield TensorFile(
            path, layouts, metadata, lambda name, start, stop, _: tensors[name].flatten()[start:stop].clone()
        )
        return
    with _open_places(path, places, is_read_once and direct_reading.is_faster(path)) as read:
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
    if entry["dtype"] not in DTYPES:
        template = _(
            "{path} contains {tensor} in the format {dtype}, which PyTorch cannot read; get it in another format"
        )
        raise TetradError("E5002", template, path=path, tensor=name, dtype=entry["dtype"])
    layout = TensorLayout(tuple(entry["shape"]), DTYPES[entry["dtype"]])
    return _Place(layout, data_start + entry["data_offsets"][0])


def _place_of(tensor: Tensor) -> _Place:
    """The place of a tensor of a pickle."""
    stride = None if tensor.is_contiguous() else tensor.stride()
    return _Place(_layout_of(tensor), pickles.get_file_offset(tensor), stride)


def _layout_of(tensor: Tensor) -> TensorLayout:
    return TensorLayout(tuple(tensor.shape), tensor.dtype)


@contextmanager
def _open_places(path: Path, places: Mapping[str, _Place], is_direct: bool) -> Iterator[_Read]:
    """A function that reads elements of the tensor of a name.  E5001 where the file cannot be read."""
    own, stack = local(), ExitStack()  # handles and memory for each thread, so that none waits for another's reading

    def open_file(open_one: Callable[[Path], BinaryIO] = lambda path: path.open("rb")) -> BinaryIO:
        try:
            file = stack.enter_context(open_one(path))
        except OSError as error:
            raise weight_files.unreadable_error(path, error) from error
        if not os.path.samestat(os.fstat(file.fileno()), opened):
            raise TetradError("E5002", changed, path=path)
        return file

    def read_into(file: BinaryIO, data: Tensor, start: int, needed: int) -> None:
        try:
            file.seek(start)
            found = file.readinto(data.numpy().data)  # type: ignore[attr-defined]
        except OSError as error:
            raise weight_files.unreadable_error(path, error) from error
        if found < needed:
            raise TetradError("E5002", changed, path=path)

    def read_bytes(start: int, count: int) -> Tensor:
        if not hasattr(own, "file"):
            own.file = open_file()
        data = torch.empty(count, dtype=torch.uint8)
        read_into(own.file, data, start, count)
        return data

    def read_again(start: int, count: int) -> Tensor:
        """Bytes in memory that is used again; directly from the disk, whole blocks with these bytes in them."""
        skipped = start % direct_reading.ALIGNMENT
        if not hasattr(own, "ranges"):
            own.ranges = open_file(direct_reading.open_direct) if is_direct else open_file()
        if not hasattr(own, "memory") or len(own.memory) < skipped + count:
            own.memory = torch.from_numpy(direct_reading.allocate_aligned(count + direct_reading.ALIGNMENT))
        data: Tensor = own.memory[: direct_reading.round_up(skipped + count)]
        read_into(own.ranges, data, start - skipped, skipped + count)
        return data[skipped : skipped + count]

    def read_elements(name: str, start: int, stop: int, is_temporary: bool) -> Tensor:
        place, width = places[name], places[name].layout.dtype.itemsize
        if start == stop:
            return torch.empty(0, dtype=place.layout.dtype)
        if place.stride is None:
            read = read_again if is_temporary and place.start % width == 0 else read_bytes
            return read(place.start + start * width, (stop - start) * width).view(place.layout.dtype)
        shape = place.layout.shape
        span = 1 + sum((side - 1) * step for side, step in zip(shape, place.stride, strict=True))
        whole = read_bytes(place.start, span * width).view(place.layout.dtype).as_strided(shape, place.stride)
        return whole.flatten()[start:stop].clone()

    changed = _("{path} was changed while it was read; start again")
    with stack:
        opened = path.stat()
        own.file = open_file()
        yield read_elements
