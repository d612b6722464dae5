"""The only place where weight files are opened and written: safetensors, safe pickles, atomic writes."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import pickles

PICKLES = (".ckpt", ".pt", ".pth", ".bin")
LEGACY_START = 0x100000  # where the bytes begin that the oldest hash is made of
LARGEST_HEADER = 100_000_000  # safetensors' own limit
# What a file that is no model begins with, and what a person should do about it.
IMPOSTORS = {
    b"<!doc": "a web page was saved in its place; download the file itself",
    b"<html": "a web page was saved in its place; download the file itself",
    b"version https://git-lfs": "it is only a placeholder; run `git lfs pull` where it came from",
}


@dataclass(frozen=True)
class File:
    """A weight file's content: tensors by the file's own names, and what else it says, as words."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    name: str = ""  # of the file, without its ending


def read(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> File:
    """What is in a weight file, on the CPU; of a safetensors file only the tensors whose names are wanted.

    Raises E5001 where there is no file, E5002 where it is cut off or damaged, E5003 where something else was saved
    in its place, E5010 where a pickle asks for more than tensors.
    """
    beginning = first_bytes(path)
    if path.suffix.lower() in PICKLES and not looks_like_safetensors(beginning):
        return File(*pickles.read(path), path.stem)
    check_safetensors(path, beginning)
    try:
        with safe_open(str(path), framework="pt") as opened:
            metadata = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys() if wanted(name)}
            return File(tensors, metadata, path.stem)
    except SafetensorError as error:
        raise TetradError("E5002", f"{path} is damaged ({error}); get it again from where it came") from error


def each(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a weight file, of a safetensors file one at a time, so that the largest takes little memory.

    Raises what `read` raises.
    """
    beginning = first_bytes(path)
    if path.suffix.lower() in PICKLES and not looks_like_safetensors(beginning):
        yield from pickles.read(path)[0].items()
        return
    check_safetensors(path, beginning)
    try:
        with safe_open(str(path), framework="pt") as opened:
            for name in opened.keys():
                yield name, opened.get_tensor(name)
    except SafetensorError as error:
        raise TetradError("E5002", f"{path} is damaged ({error}); get it again from where it came") from error


def metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself, its tensors unread; nothing where the file cannot be read."""
    try:
        with safe_open(str(path), framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def said(path: Path) -> dict[str, str]:
    """What a weight file of either kind says of itself beside its tensors.  What `read` raises, of a pickle."""
    if path.suffix.lower() in PICKLES and not looks_like_safetensors(first_bytes(path)):
        return pickles.read(path)[1]
    return metadata(path)


def names(path: Path) -> list[str]:
    """The names of a safetensors file's tensors, these unread; nothing where the file is none."""
    try:
        with safe_open(str(path), framework="pt") as opened:
            return list(opened.keys())
    except (SafetensorError, OSError):
        return []


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file; E5002 where it is none."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise TetradError("E5002", f"{path} is no JSON ({error}); copy the folder again") from error
    if not isinstance(found, dict):
        raise TetradError("E5002", f"{path} holds no settings ({str(found)[:40]}); copy the folder again")
    return found


def first_bytes(path: Path) -> bytes:
    """The first 64 bytes, after a look at what is there at all."""
    if not path.exists():
        near = (
            sorted(p.name for p in path.parent.glob("*") if p.suffix in (".safetensors", *PICKLES))
            if path.parent.is_dir()
            else []
        )
        hint = f"; in that folder there is {', '.join(near[:5])}" if near else ""
        raise TetradError("E5001", f"there is no file {path}{hint}")
    try:
        with path.open("rb") as opened:
            beginning = opened.read(64)
    except OSError as error:
        raise TetradError("E5001", f"{path} cannot be read ({error.strerror})") from error
    for start, what in IMPOSTORS.items():
        if beginning.lstrip().lower().startswith(start):
            raise TetradError("E5003", f"{path} is not a model: {what}")
    return beginning


def looks_like_safetensors(beginning: bytes) -> bool:
    return len(beginning) > 9 and beginning[8:9] == b"{"


def check_safetensors(path: Path, beginning: bytes) -> None:
    """The header says where every tensor lies, so a file that was cut off is told before anything is read."""
    size = path.stat().st_size
    length = int.from_bytes(beginning[:8], "little")
    if size < 8 or not looks_like_safetensors(beginning) or length > LARGEST_HEADER:
        start = ascii(beginning[:8])[1:]
        raise TetradError(
            "E5002", f"{path} is not a safetensors file (it begins with {start}); give the file as downloaded"
        )
    if 8 + length > size:
        raise TetradError("E5002", f"{path} is cut off: {size:,} bytes of at least {8 + length:,}; download it again")
    with path.open("rb") as opened:
        opened.seek(8)
        try:
            whole = 8 + length + data_end(json.loads(opened.read(length), object_pairs_hook=unique))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise TetradError(
                "E5002", f"{path} is damaged: its header is not a safetensors file's ({error}); download it again"
            ) from error
    if size != whole:
        what = "is cut off" if size < whole else "has more in it than its header says"
        raise TetradError("E5002", f"{path} {what}: {size:,} bytes of {whole:,}; download it again")


def data_end(header: dict[str, Any]) -> int:
    """Where a header says that its last tensor ends; raises as Python does where it does not say."""
    return max((index(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"), default=0)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two entries of one name are how one file shows different tensors to different readers."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found


Content = File | pickles.Plain  # of a safetensors file, of a pickle


def put(path: Path, content: Content) -> None:
    """A file that is there whole or not at all: safetensors, or a pickle of plain values.  E4202 where it cannot be."""
    if isinstance(content, File):
        write(path, content.tensors, content.metadata)
    else:
        write_whole(path, pickles.serialized(content))


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file that is there whole or not at all.  E4202 where it cannot be written."""
    with told(path), replaced(path) as temporary:
        save_file(apart(tensors), str(temporary), dict(metadata))


def serialized(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file; tensors that share memory are written apart."""
    content: bytes = save(apart(tensors), dict(metadata))
    return content


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU, each one whole piece of memory; only what shares its memory is copied."""
    ready: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        shares = tensor.untyped_storage().nbytes() != tensor.nbytes
        ready[name] = tensor.clone() if shares else tensor
    seen: set[int] = set()
    for name, tensor in ready.items():
        if tensor.data_ptr() in seen:
            ready[name] = tensor.clone()
        seen.add(tensor.data_ptr())
    return ready


@contextmanager
def told(path: Path) -> Iterator[None]:
    """E4202 where a file that a person asked for cannot be written inside."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TetradError("E4202", f"{path} cannot be written ({reason}); choose another folder") from error


def write_whole(path: Path, content: bytes) -> None:
    """`replace_file` for a file that a person asked for.  E4202 where it cannot be written."""
    with told(path):
        replace_file(path, content)


def replace_file(path: Path, content: bytes) -> None:
    """A file of this content: whoever looks sees the old file or the new one.  OSError."""
    with replaced(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A place beside the target to write to; flushed to the disk and renamed at the end.  OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as opened:
            os.fsync(opened.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def data_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of the bytes after the header of a safetensors file of these tensors, in hex.

    Editing the metadata does not change it. Other tools know a LoRA by it: kohya writes it as `sshs_model_hash`.
    """
    content = serialized(tensors, {})
    return hashlib.sha256(memoryview(content)[8 + int.from_bytes(content[:8], "little") :]).hexdigest()


def legacy_hash(content: bytes) -> str:
    """The first 8 hex digits of sha256 over 64 KiB at 1 MiB, the oldest name of a file; of nothing in a small one."""
    return hashlib.sha256(content[LEGACY_START : LEGACY_START + 0x10000]).hexdigest()[:8]


def file_hash(path: Path) -> str:
    """sha256 of a whole file, in hex."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def file_legacy_hash(path: Path) -> str:
    """`legacy_hash` of a file, without reading the rest of it."""
    with path.open("rb") as opened:
        return legacy_hash(opened.read(0x110000))
