"""Writes a checkpoint as torch's pickle, a .ckpt, tensor by tensor, so that it may be larger than memory.

The container is torch's zip archive with nothing but what every reader knows, since A1111 refuses a file with a member
whose name is new to it.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats.atomic_write import convert_write_errors, stage_replacement
from tetrad.formats.tensor_streams import TensorLayout
from tetrad.formats.tensor_writer import check_free_space
from tetrad.formats.tensors import as_bytes
from tetrad.locales import _

_STORAGES = {
    torch.float32: torch.FloatStorage,
    torch.float16: torch.HalfStorage,
    torch.bfloat16: torch.BFloat16Storage,
    torch.float64: torch.DoubleStorage,
    torch.int64: torch.LongStorage,
    torch.int32: torch.IntStorage,
    torch.uint8: torch.ByteStorage,
}
_PROTOCOL = 2  # the only one that torch reads without running anything
_VERSION = b"3\n"  # of the container


def write_pickle(
    path: Path,
    layouts: Mapping[str, TensorLayout],
    compute: Callable[[str], Tensor],
    on_written: Callable[[], None] = lambda: None,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write `{"state_dict": tensors}`; `compute` gives the tensor of a name, in the layout that was said.

    `about` are texts beside the `state_dict`, where other programs ignore them.
    E5353 for a type that readers of such files do not know, E4204 where the disk has too little space, E4202 where the
    file cannot be written.
    """
    for name, layout in layouts.items():
        if layout.dtype not in _STORAGES:
            template = _("a .ckpt cannot hold {tensor} as {dtype}; choose another --precision, or write .safetensors")
            raise TetradError("E5353", template, tensor=name, dtype=str(layout.dtype).removeprefix("torch."))
    check_free_space(path, sum(layout.nbytes for layout in layouts.values()))
    with (
        convert_write_errors(path),
        stage_replacement(path) as temporary_path,
        zipfile.ZipFile(temporary_path, "w") as archive,
    ):
        archive.writestr("archive/data.pkl", _pickle_content(layouts, about or {}))
        archive.writestr("archive/version", _VERSION)
        for number, name in enumerate(layouts):
            with archive.open(f"archive/data/{number}", "w", force_zip64=True) as member:
                member.write(as_bytes(compute(name)).numpy().data)
            on_written()


@dataclass(frozen=True)
class _Storage:
    """Stands for the data of one tensor, which is a member of the archive."""

    number: int
    layout: TensorLayout


@dataclass(frozen=True)
class _StoredTensor:
    """Is pickled as a contiguous tensor of this storage."""

    storage: _Storage

    def __reduce__(self) -> tuple[Any, ...]:
        shape, strides = self.storage.layout.shape, []
        for axis in range(len(shape)):
            strides.append(torch.Size(shape[axis + 1 :]).numel())
        return torch._utils._rebuild_tensor_v2, (self.storage, 0, shape, tuple(strides), False, OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, _Storage):
            return None
        numel = torch.Size(value.layout.shape).numel()
        return "storage", _STORAGES[value.layout.dtype], str(value.number), "cpu", numel


def _pickle_content(layouts: Mapping[str, TensorLayout], about: Mapping[str, str]) -> bytes:
    tensors = {name: _StoredTensor(_Storage(number, layout)) for number, (name, layout) in enumerate(layouts.items())}
    buffer = io.BytesIO()
    _Pickler(buffer, _PROTOCOL).dump({"state_dict": tensors, **about})
    return buffer.getvalue()
