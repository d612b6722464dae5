"""torch's pickles: read without running any code in them, and written so that the strictest reader accepts them."""

import io
import json
import math
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import pickle_scan
from tetrad.locales import _

PlainContent = Mapping[Any, Any]  # of numbers, strings, lists, tensors, and more such mappings
FlatContent = tuple[dict[str, Tensor], dict[str, str]]  # tensors, and plain values as JSON, by dotted path
KEPT_ENTRIES = ("tetrad.architecture",)  # texts beside the `state_dict` that are metadata, since nothing else says this
# Real files have a nesting of 4, some thousand values and names of 150 characters. A pickle of a few kilobytes can
# unfold to billions of values, because it can refer to one list many times.
MAX_DEPTH, _MAX_VALUES, _MAX_PATH_LENGTH = 6, 50_000, 500
_CHARACTERS_PER_VALUE = 400
# torch stores tensors unpacked, and a file names each of them once or, where weights are tied, twice.
_MAX_EXPANSION, _FREE_BYTES = 20, 1_000_000


class _InertStub:
    """Replaces a class that an old checkpoint refers to but nobody needs; no code of the real class is run."""

    def __init__(self, *_: object, **__: object) -> None: ...
    def __setstate__(self, _: object) -> None: ...


class _ParameterDictStub(dict[str, Any]):
    """Replaces ParameterDict, in which the first embeddings kept their vectors."""

    def __setstate__(self, state: object) -> None:
        self.update(state.get("_parameters", {}) if isinstance(state, dict) else {})


# Real old checkpoints contain these besides tensors. Any other class or function in a pickle is refused.
ALLOWED_GLOBALS: list[Any] = [
    (_InertStub, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    (_InertStub, "pytorch_lightning.callbacks.ModelCheckpoint"),
    (_InertStub, "numpy.core.multiarray.scalar"),
    (_InertStub, "numpy._core.multiarray.scalar"),
    (_InertStub, "numpy.dtype"),
    (_ParameterDictStub, "torch.nn.modules.container.ParameterDict"),
]
# torch's messages for a pickle that asks for more than tensors, as opposed to a damaged one.
_FORBIDDEN_GLOBAL_ERROR = re.compile(r"GLOBAL(?: (?P<name>[\w.]+))?|unrecognized function|Can only (create|build)")
_TORCH_PROTOCOL = 2  # the only one that torch reads without running anything


def read_pickle(path: Path) -> FlatContent:
    """A pickle's tensors, and its plain values as JSON (strings unchanged), by dotted path: "768.0.linear".

    Raises E5002 if the file is damaged, E5010 if it asks for more than tensors.
    """
    return _read(path, nullcontext())


def read_pickle_layout(path: Path) -> FlatContent | None:
    """The same without the tensors' data: `get_file_offset` says where it is.

    None for torch's container of before 2020, and for a file whose data is compressed: those must be read as a whole.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            is_compressed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
    except (OSError, zipfile.BadZipFile):
        return None
    if is_compressed:
        return None
    from torch._subclasses.fake_tensor import FakeTensorMode  # needs a second

    return _read(path, FakeTensorMode())


def get_file_offset(tensor: Tensor) -> int:
    """Where in the file the data of a tensor of `read_pickle_layout` begins.

    [https://docs.pytorch.org/docs/stable/notes/serialization.html, "torch.load under FakeTensorMode"]
    """
    storage: Any = tensor.untyped_storage()
    return int(storage._checkpoint_offset) + int(tensor.storage_offset()) * tensor.itemsize


def list_other_entries(path: Path) -> list[str]:
    """What a checkpoint that was read holds besides its `state_dict`, such as the optimizer's state.

    Empty for torch's container of before 2020, which would have to be read as a whole once more.
    """
    if not zipfile.is_zipfile(path):
        return []
    from torch._subclasses.fake_tensor import FakeTensorMode  # needs a second

    content = _load(path, FakeTensorMode())
    has_state_dict = isinstance(content, dict) and "state_dict" in content
    return [str(key) for key in content if key not in ("state_dict", *KEPT_ENTRIES)] if has_state_dict else []


def _load(path: Path, mode: AbstractContextManager[object]) -> Any:
    with torch.serialization.safe_globals(ALLOWED_GLOBALS), warnings.catch_warnings(), mode:
        warnings.simplefilter("ignore")  # torch warns about protocols that it then refuses
        return torch.load(path, map_location="cpu", weights_only=True)


def _read(path: Path, mode: AbstractContextManager[object]) -> FlatContent:
    scan = pickle_scan.scan_pickle(path)
    try:
        _check_scan(scan)
        _check_size(path, pickle_scan.check_container(path))
        content = _load(path, mode)
        content = content if isinstance(content, dict) else {}
        kept = {key: content[key] for key in KEPT_ENTRIES if isinstance(content.get(key), str)}
        content = content.get("state_dict", content)
        flat_values = dict(flatten(content)) if isinstance(content, dict) else {}
        tensors, metadata = separate_tensors(flat_values | kept)
        _check_size(path, sum(map(_checked_byte_count, tensors.values())))
    except Exception as error:  # torch raises a dozen types here; in every case the file was not read
        raise _explain_unreadable(path, scan, error) from error
    return tensors, metadata


def separate_tensors(values: Mapping[str, Tensor | str]) -> FlatContent:
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in values.items() if isinstance(value, str)}


def _check_scan(scan: pickle_scan.PickleScan) -> None:
    """ValueError for a pickle that is not even given to torch."""
    if scan.first_program() or scan.is_too_long or scan.is_archive:
        raise ValueError("a pickle of more than a model")


def _check_size(path: Path, byte_count: int) -> None:
    """ValueError for a file that unfolds to far more than it holds: a tensor repeated or expanded, a zip bomb."""
    if byte_count > _MAX_EXPANSION * path.stat().st_size + _FREE_BYTES:
        raise ValueError("more bytes than a model file has")


def _checked_byte_count(tensor: Tensor) -> int:
    """The size of a tensor.

    ValueError for sparse, quantized and empty shells, which no model file has, and for one that reaches beyond
    its storage: torch refuses that too, but has had holes there.  [CVE-2026-24747]
    """
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_nested:
        raise ValueError("another kind of tensor than a model file has")
    last = tensor.storage_offset() + sum(
        (side - 1) * step for side, step in zip(tensor.shape, tensor.stride(), strict=True)
    )
    if all(tensor.shape) and not 0 <= last < tensor.untyped_storage().nbytes() // tensor.itemsize:
        raise ValueError("a tensor beyond its storage")
    return math.prod(tensor.shape) * tensor.itemsize  # torch's own numbers overflow to 0 for sides of 2³¹


def _explain_unreadable(path: Path, scan: pickle_scan.PickleScan, error: Exception) -> TetradError:
    """E5010 for a pickle that asks for more than tensors, E5002 for any other that was not read."""
    found = _FORBIDDEN_GLOBAL_ERROR.search(str(error))
    if name := scan.first_program() or (found and found["name"]):
        return TetradError(
            "E5010",
            _(
                "{path} was not loaded because it asks for {name} besides tensors, which could run a program; use the"
                " .safetensors version of this model"
            ),
            path=path,
            name=name,
        )
    if found:
        return TetradError(
            "E5010",
            _(
                "{path} was not loaded because it asks for more than tensors, which could run a program; use the"
                " .safetensors version of this model"
            ),
            path=path,
        )
    if scan.is_archive:
        template = _("{path} is a zip archive, not a model; unpack it, and give the model file in it")
        return TetradError("E5002", template, path=path)
    if scan.protocol > _TORCH_PROTOCOL:
        return TetradError(
            "E5002",
            _(
                "{path} is a pickle of protocol {protocol}, which cannot be read safely; save it again with protocol 2,"
                " the usual one of torch.save, or as .safetensors"
            ),
            path=path,
            protocol=scan.protocol,
        )
    return TetradError("E5002", _("{path} is cut off or is not a model file; download or copy it again"), path=path)


def flatten(content: PlainContent) -> Iterator[tuple[str, Tensor | str]]:
    """Everything in nested containers by its dotted path; ValueError for more than a model file can hold.

    All values are counted before the first is listed, and a container that the file refers to many times is counted
    once, so that a file is refused before it costs time or memory.
    """
    if _count_values(content, 0, {}) > _MAX_VALUES:
        raise ValueError("more values than a model file has")
    pending: list[tuple[str, Any, int]] = [("", content, 0)]
    for name, value, depth in pending:
        if isinstance(value, Tensor | str):
            yield name, value
        elif value is None or isinstance(value, bool | int | float):
            yield name, json.dumps(value)
        elif isinstance(value, dict | list | tuple):
            if value and depth == MAX_DEPTH:
                raise ValueError("deeper containers than a model file has")
            if _is_plain_list(value):
                yield name, json.dumps(value)
                continue
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                path = f"{name}.{key}" if depth else str(key)
                if len(path) > _MAX_PATH_LENGTH:
                    raise ValueError("longer names than a model file has")
                pending.append((path, item, depth + 1))


def _count_values(value: object, depth: int, counted: dict[int, int]) -> int:
    """How many values a container unfolds to; a long text counts as several.  ValueError where it is in itself."""
    if isinstance(value, str):
        return 1 + len(value) // _CHARACTERS_PER_VALUE
    if not isinstance(value, dict | list | tuple):
        return 1
    if depth > MAX_DEPTH:
        raise ValueError("deeper containers than a model file has")
    if id(value) not in counted:
        items = value.values() if isinstance(value, dict) else value
        counted[id(value)] = 1 + sum(_count_values(item, depth + 1, counted) for item in items)
    return counted[id(value)]


def _is_plain_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, bool | int | float | str) for item in value)


def serialize_pickle(content: PlainContent) -> bytes:
    """A pickle in torch's old container, which loaders that check every member name of the new one still accept.

    Tensors are copied to the CPU, each with no more memory than it needs. Everything else must be plain Python: the
    strictest reader, A1111's, accepts no devices, dtypes or classes.
    """
    buffer = io.BytesIO()
    torch.save(_to_plain(content), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def _to_plain(value: Any) -> Any:
    """The same value with tensors ready for a file; TypeError for values that such a file must not hold."""
    if isinstance(value, Tensor):
        return value.detach().cpu().contiguous().clone()
    if isinstance(value, Mapping):
        return {key: _to_plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_to_plain(item) for item in value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(f"a model file cannot hold a {type(value).__name__}")
