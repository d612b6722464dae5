"""The tensors of a weight file as they are stored; those of a safetensors file are read without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tetrad.formats import safetensors_header, weight_files
from tetrad.formats.tensors import as_bytes, widen_float8

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StoredTensor:
    """The type, the shape and the bytes of a tensor."""

    dtype: str  # torch's name for it: "bfloat16"
    shape: tuple[int, ...]
    read: Callable[[], bytes]

    @property
    def is_float(self) -> bool:
        return "float" in self.dtype

    @property
    def is_complex(self) -> bool:
        return self.dtype.startswith("complex")


def iterate_tensors(path: Path) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors of a weight file; those of a safetensors file are read one at a time, to save memory.

    Each must be read before the next one is asked for. Raises what `read_weight_file` raises.
    """
    first_bytes = weight_files.read_first_bytes(path)
    if read_whole := weight_files.get_reader(path, first_bytes):
        yield from ((name, _store(tensor)) for name, tensor in read_whole(path)[0].items())
        return
    with weight_files.open_safetensors(path, first_bytes) as checked, path.open("rb") as file:
        header = safetensors_header.check_file(path, first_bytes)
        data_start = 8 + int.from_bytes(first_bytes[:8], "little")
        for name in checked.keys():
            start, stop = header[name]["data_offsets"]

            def read_values(start: int = data_start + start, count: int = stop - start) -> bytes:
                file.seek(start)
                return file.read(count)

            dtype = safetensors_header.DTYPE_NAMES[header[name]["dtype"]]
            yield name, StoredTensor(dtype, tuple(header[name]["shape"]), read_values)


def _store(tensor: Tensor) -> StoredTensor:
    """A tensor that was read by torch."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    return StoredTensor(dtype, tuple(tensor.shape), lambda: as_bytes(tensor.detach()).numpy().tobytes())


def decode_values(dtype: str, content: bytes) -> np.ndarray[Any, Any]:
    """The values (n,) of a tensor of this type in a type that numpy has; not of a complex one.

    Float8, for which numpy has no type, is decoded by torch.
    """
    if dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
    if not dtype.startswith("float8"):
        return np.frombuffer(content, np.dtype(dtype).newbyteorder("<"))
    import torch

    stored: Tensor = torch.frombuffer(bytearray(content), dtype=getattr(torch, dtype))
    values: np.ndarray[Any, Any] = widen_float8(stored).numpy()
    return values
