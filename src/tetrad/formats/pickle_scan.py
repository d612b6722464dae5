"""What a pickle asks for, read from its instructions without running any of them."""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

# torch's old container is five pickles, one after another.
_MAX_PICKLES = 5
_MAX_OPERATIONS = 300_000  # of one pickle; those of the largest models have some ten thousand
_MAX_PICKLE_BYTES = 64_000_000  # of the pickle in torch's zip container, which holds no tensor data
_MAX_ZIPS = 3  # in one another
_IDENTIFIER = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
# All that real model files ask for: tensors of every kind, and what old checkpoints keep of their training. torch has
# such a list too, and calls nothing else; this one says what to name.
_KNOWN_NAMES = re.compile(
    r"torch\.(_utils|_tensor)\._rebuild_\w+|torch\.(\w+\.)*\w*(Storage|Tensor)|torch\.nn\.(parameter\.)?(Parameter|Buffer)"
    r"|torch\.(Size|device|b?float\d*\w*|u?int\d*|q?u?int\w*|complex\d*|bool|half|double|long|short|strided|sparse_\w+)"
    r"|torch\.(per_\w+|\w+_format)|torch\.serialization\._get_layout|torch\.nn\.modules\.container\.ParameterDict"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|(builtins|__builtin__)\.(set|complex)"
    r"|numpy\.(_?core\.multiarray\.(scalar|_reconstruct)|dtype|ndarray)"
    r"|pytorch_lightning\.callbacks\.(model_checkpoint\.)?ModelCheckpoint"
)
# A storage or tensor that is made in this way, and not read, shows whatever was in memory before.
_MEMORY_CLASS = re.compile(r"torch\.(\w+\.)*\w*(Storage|Tensor)")
_MARK = object()  # on the stack of a scan


@dataclass
class PickleScan:
    """The highest protocol of a file's pickles, and the classes and functions that they ask for."""

    protocol: int = 0
    names: list[str] = field(default_factory=list)
    is_too_long: bool = False  # more instructions than a model file has
    is_archive: bool = False  # a zip archive without a pickle in it

    def first_program(self) -> str:
        """The first function or class that no tensor needs; "" if there is none."""
        unknown = [name for name in self.names if not _KNOWN_NAMES.fullmatch(name)]
        return next((name for name in unknown if not name.startswith("torch.")), unknown[0] if unknown else "")


def scan_pickle(path: Path) -> PickleScan:
    """What the pickles of a file ask for, as far as they can be read."""
    scan = PickleScan()
    try:
        with path.open("rb") as file:
            _scan_file(file, scan, _MAX_ZIPS)
    except Exception:  # pickletools and zipfile raise a dozen types for damaged files
        pass
    return scan


def _scan_file(file: IO[bytes], scan: PickleScan, zips_left: int) -> None:
    """The pickle inside torch's zip container, which may be in another one, or else the pickles that a file is of."""
    if zips_left and zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            members = [name for name in archive.namelist() if name.endswith("data.pkl")]
            scan.is_archive = not members
            for name in members:
                with archive.open(name) as member:
                    _scan_file(io.BytesIO(member.read(_MAX_PICKLE_BYTES)), scan, zips_left - 1)
        return
    file.seek(0)
    for _number in range(_MAX_PICKLES):
        for name in _iterate_names(file, scan):
            scan.names.append(name)


def list_members(path: Path) -> list[str]:
    """The names in torch's zip container; none for another container."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return []


def check_container(path: Path) -> int:
    """How many bytes the members of torch's zip container have when they are unpacked; 0 for another container.

    ValueError where its two directories disagree, so that readers would see different files, or where it has no or
    several pickles; pickles of the old container are no zip files.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                with archive.open(member):  # compares the name with the one at the member itself
                    pass
    except (OSError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        if zipfile.is_zipfile(path):
            raise ValueError("an archive whose directories disagree") from error
        return 0
    pickle_sizes = [member.file_size for member in members if member.filename.endswith("/data.pkl")]
    if len(pickle_sizes) != 1 or len({member.filename for member in members}) < len(members):
        raise ValueError("an archive with no pickle, or with two files of one name")
    if pickle_sizes[0] > _MAX_PICKLE_BYTES:
        raise ValueError("a larger pickle than a model file has")
    return sum(member.file_size for member in members)


def _iterate_names(file: IO[bytes], scan: PickleScan) -> Iterator[str]:
    """The dotted names that one pickle asks for, and those of tensors that it makes itself, as `torch.FloatTensor()`.

    Protocol 4 puts module and name on the stack as two texts, perhaps remembered ones, so the stack is followed.
    """
    stack: list[Any] = []
    remembered: dict[int, Any] = {}
    for operation, argument, _position in islice(pickletools.genops(file), _MAX_OPERATIONS):
        name = operation.name
        taken = _pop(stack, operation)
        if name == "PROTO":
            scan.protocol = max(scan.protocol, argument if isinstance(argument, int) else 0)
        elif name == "STOP":
            return
        if name in ("GLOBAL", "INST"):
            result: Any = _dotted(*str(argument).split(" ", 1))
        elif name == "STACK_GLOBAL":
            result = _dotted(*(each if isinstance(each, str) else "" for each in taken[-2:]))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            remembered[argument if isinstance(argument, int) else len(remembered)] = taken[-1] if taken else None
            result = taken[-1] if taken else None
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            result = remembered.get(argument if isinstance(argument, int) else -1)
        elif "UNICODE" in name or "STRING" in name:
            result = _as_text(argument)
        else:
            result = None
        if name in ("GLOBAL", "INST", "STACK_GLOBAL") and result:
            yield result
        if name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ") and taken and _MEMORY_CLASS.fullmatch(str(taken[0])):
            yield f"{taken[0]}()"
        stack.extend([_MARK] if name == "MARK" else [result] * len(operation.stack_after))
    scan.is_too_long = True


def _pop(stack: list[Any], operation: pickletools.OpcodeInfo) -> list[Any]:
    """Take from the stack what an instruction takes, the lowest first."""
    before = operation.stack_before
    taken: list[Any] = []
    if pickletools.markobject in before:
        while stack and (each := stack.pop()) is not _MARK:
            taken.append(each)
        before = before[: before.index(pickletools.markobject)]
    for _each in before:
        if stack:
            taken.append(stack.pop())
    return taken[::-1]


def _dotted(module: str = "", name: str = "") -> str:
    """`module.name`, if both are names: the instructions of a damaged file may be anything."""
    return f"{module}.{name}" if _IDENTIFIER.fullmatch(module) and _IDENTIFIER.fullmatch(name) else ""


def _as_text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
    return text[:200]
