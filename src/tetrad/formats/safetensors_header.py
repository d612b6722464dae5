"""Check the header of a safetensors file before the library or anything else reads it.

The format: 8 bytes with the length of a JSON header, the header, and the bytes of all tensors without a gap.
[https://github.com/huggingface/safetensors#format]
"""

import math
import re
from pathlib import Path
from typing import Any, TypeGuard

from tetrad.documents import parse_json, writable
from tetrad.errors import TetradError
from tetrad.locales import Message, _

MAX_HEADER_BYTES = 16_000_000  # real ones have up to some megabytes, with the tags of many images
_MAX_TENSORS, _MAX_METADATA = 50_000, 10_000  # entries; a model of Stable Diffusion XL has some 2,600 and 100
_MAX_NAME_LENGTH = 1000
_MAX_SIDES = 64  # of a tensor in torch
_PATH = re.compile(r"(^|[/\\])\.\.($|[/\\])|^[/\\]|^[A-Za-z]:[/\\]")
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **{"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4},
}
# torch's names of the types.
DTYPE_NAMES = {
    **{"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "C64": "complex64", "BOOL": "bool"},
    **{f"{sign}{bits}": f"{name}int{bits}" for sign, name in (("I", ""), ("U", "u")) for bits in (64, 32, 16, 8)},
    **{"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu"},
    **{"F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz"},
}
# torch's container, and older pickles.
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_CUT_OFF = _("{path} is cut off: it should have {expected:,} bytes or more, but has {size:,}; download it again")
_TOO_LONG = _("{path} is damaged: its header describes {expected:,} bytes, but it has {size:,}; download it again")
_UNCOMPUTABLE = ("F4", "F6_E2M3", "F6_E3M2")


def check_file(path: Path, first_bytes: bytes) -> dict[str, Any]:
    """The header of a file.  E5002 for a file that is cut off or has a broken header, before any tensor is read.

    The header gives the position of every tensor, so the expected size is known.
    """
    file_size = path.stat().st_size
    header_length = int.from_bytes(first_bytes[:8], "little")
    if first_bytes.startswith(_PICKLE_STARTS) and not looks_like_safetensors(first_bytes):
        raise _wrong_extension_error(path)
    if not file_size:
        raise TetradError("E5002", _("{path} is empty (0 bytes); download it again"), path=path)
    if file_size < 8 or not looks_like_safetensors(first_bytes) or header_length > MAX_HEADER_BYTES:
        raise TetradError(
            "E5002",
            _("{path} is not a safetensors file (it starts with {start}); give the file as it was downloaded"),
            path=path,
            start=ascii(first_bytes[:8])[1:],
        )
    if 8 + header_length > file_size:
        raise TetradError("E5002", _CUT_OFF, path=path, size=file_size, expected=8 + header_length)
    try:
        header = _read_header(path, header_length)
        expected_size = 8 + header_length + _check_header(header)
    except ValueError as error:
        raise TetradError(
            "E5002",
            _("{path} is damaged: its safetensors header is not valid ({error}); download it again"),
            path=path,
            error=error,
        ) from error
    if found := _find_uncomputable(header):
        template = _(
            "{path} has tensors of the type {type} ({name}), which cannot be computed with; get the file in float32,"
            " float16, bfloat16 or float8"
        )
        raise TetradError("E5002", template, path=path, name=found[0], type=found[1])
    if file_size != expected_size:
        template = _CUT_OFF if file_size < expected_size else _TOO_LONG
        raise TetradError("E5002", template, path=path, size=file_size, expected=expected_size)
    return header


def looks_like_safetensors(first_bytes: bytes) -> bool:
    """Whether a file that begins with these bytes is one, whatever its suffix is."""
    return len(first_bytes) > 9 and first_bytes[8:9] == b"{"


def _wrong_extension_error(path: Path) -> TetradError:
    """The error for a pickle that is called .safetensors."""
    return TetradError(
        "E5002",
        _(
            "{path} is a pickle (a .ckpt or .pt file) with the wrong extension; rename it to {name}, and Tetrad reads"
            " it without running anything in it"
        ),
        path=path,
        name=path.with_suffix(".ckpt").name,
    )


def _read_header(path: Path, length: int) -> dict[str, Any]:
    """The header of a file.  ValueError where it is not valid JSON or has a name twice."""
    with path.open("rb") as file:
        file.seek(8)
        header = parse_json(file.read(length).decode("utf-8"), object_pairs_hook=_reject_duplicate_names)
    if not isinstance(header, dict):
        raise ValueError(Message(_("it is not a JSON object")))
    return header


def _check_header(header: dict[str, Any]) -> int:
    """The number of bytes that the tensors take.

    ValueError for anything that the format does not allow, and for names that are paths.
    """
    _check_metadata(header.get("__metadata__", {}))
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    if len(entries) > _MAX_TENSORS:
        raise ValueError(Message(_("it has more than {limit:,} tensors"), limit=_MAX_TENSORS))
    end = 0
    for start, stop, name in sorted((*_read_entry(name, entry), name) for name, entry in entries.items()):
        if start != end:
            template = (
                _("the tensor {name} overlaps another") if start < end else _("there is a gap before the tensor {name}")
            )
            raise ValueError(Message(template, name=name))
        end = stop
    return end


def _find_uncomputable(header: dict[str, Any]) -> tuple[str, str] | None:
    """The name and the type of the first tensor that the format allows, but that cannot be computed with."""
    entries = ((name, entry["dtype"]) for name, entry in header.items() if name != "__metadata__")
    return next((each for each in entries if each[1] in _UNCOMPUTABLE), None)


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(Message(_("its metadata is not text")))
    if len(metadata) > _MAX_METADATA:
        raise ValueError(Message(_("it has more than {limit:,} entries of metadata"), limit=_MAX_METADATA))


def _read_entry(name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor begins and ends.  ValueError where its entry contradicts itself."""
    if not name or len(name) > _MAX_NAME_LENGTH or _PATH.search(name):
        raise ValueError(Message(_("a tensor is called {name}, which is no name but a path"), name=name[:100] or '""'))
    keys = ("dtype", "shape", "data_offsets")
    dtype, shape, offsets = (entry.get(key) if isinstance(entry, dict) else None for key in keys)
    if not _are_counts(shape) or len(shape) > _MAX_SIDES or not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(Message(_("the shape or the place of the tensor {name} cannot be read"), name=name))
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ValueError(Message(_("the tensor {name} is of the unknown type {type}"), name=name, type=str(dtype)[:40]))
    start, stop = offsets
    if math.prod(shape) * _BITS[dtype] != (stop - start) * 8:
        raise ValueError(Message(_("the shape of the tensor {name} does not fit its bytes"), name=name))
    return start, stop


def _are_counts(values: Any) -> TypeGuard[list[int]]:
    """Whether it is a list of whole numbers from 0; True and False are none."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _reject_duplicate_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without duplicate names, which could show different tensors to different readers."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError(Message(_("a name appears twice in it")))
    if any(text != writable(text) for pair in pairs for text in pair if isinstance(text, str)):
        raise ValueError(Message(_("a name or a text in it has half a character")))
    return entries
