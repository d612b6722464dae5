"""Opens and writes whole weight files: safetensors, safe pickles, diffusers folders.

Torch is imported only where tensors are read or written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from safetensors import SafetensorError, safe_open

from tetrad.documents import open_regular, parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.formats import diffusers, peft, safetensors_header
from tetrad.formats.atomic_write import convert_write_errors, make_temporary_folder, stage_replacement, write_atomically
from tetrad.formats.suffixes import PICKLE_SUFFIXES, is_image
from tetrad.formats.tensors import unshare_tensors, widen_float8
from tetrad.given_paths import missing_file_error
from tetrad.locales import _

if TYPE_CHECKING:
    from torch import Tensor

    from tetrad.formats import pickles

_WEB_PAGE = _("{path} is a web page, not a model; download the file itself")
_LFS_POINTER = _("{path} is a Git LFS pointer, not a model; run `git lfs pull` in the repository it comes from")
_GGUF = _("{path} is a GGUF file, whose quantized weights are not read; get the model as .safetensors")
# The first bytes of files that are not models, and what to tell the person.
_NON_MODEL_SIGNATURES = {
    b"<!doc": _WEB_PAGE,
    b"<html": _WEB_PAGE,
    b"version https://git-lfs": _LFS_POINTER,
    b"gguf": _GGUF,
}


@dataclass(frozen=True)
class WeightFile:
    """A weight file's content: tensors by the file's own names, and its metadata as strings."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    stem: str = ""  # the file's name without its suffix; of an embedding in an image, its trigger word


def read_weight_file(
    path: Path, is_wanted: Callable[[str], bool] = lambda name: True, keep_float8: bool = False
) -> WeightFile:
    """The content of a weight file, on the CPU; of a safetensors file only the tensors that `is_wanted` accepts.

    Tensors in float8, which can hardly be computed with, get the same values in float16 unless they are kept.
    Raises E5001 if there is no file, E5002 if it is cut off or damaged, E5003 if it is something else than a model,
    E5010 if it is a pickle that asks for more than tensors, E5106 if it is an image without an embedding.
    """
    first_bytes = read_first_bytes(path)
    if read_whole := get_reader(path, first_bytes):
        tensors, metadata = read_whole(path)
    else:
        with open_safetensors(path, first_bytes, "pt") as file:
            metadata = _read_adapter_configuration(path) | dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys() if is_wanted(name)}
    if not keep_float8:
        tensors = {name: widen_float8(tensor) for name, tensor in tensors.items()}
    return WeightFile(tensors, metadata, get_stem(path))


def _read_adapter_configuration(path: Path) -> dict[str, str]:
    """PEFT's configuration, which has the alphas, as metadata; empty where no such file lies beside its weights."""
    configuration = path.with_name(peft.CONFIG_FILE)
    if path.name != peft.ADAPTER_FILES[0] or not configuration.is_file():
        return {}
    try:
        return {peft.CONFIG_METADATA_KEY: read_text_file(configuration)}
    except (OSError, ValueError) as error:
        raise unreadable_error(configuration, error) from error


def get_stem(path: Path) -> str:
    """A file's name without its suffix; for an embedding in an image, its trigger word."""
    if not is_image(path):
        return path.stem
    from tetrad.formats.embedding_images import read_word

    return read_word(path)


@contextmanager
def open_safetensors(path: Path, first_bytes: bytes, framework: str = "numpy") -> Iterator[Any]:
    """A safetensors file that was checked and is open.  E5001 if it cannot be read, E5002 if it is damaged.

    Only the framework "pt", in which tensors are read, needs torch.
    """
    try:
        safetensors_header.check_file(path, first_bytes)
        with safe_open(str(path), framework=framework) as file:
            yield file
    except SafetensorError as error:
        template = _("{path} is damaged ({error}); download or copy it again")
        raise TetradError("E5002", template, path=path, error=error) from error
    except OSError as error:
        raise unreadable_error(path, error) from error


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """A safetensors file's metadata, without its tensors; empty if the file cannot be read."""
    try:
        with open_safetensors(path, read_first_bytes(path)) as file:
            return dict(file.metadata() or {})
    except (TetradError, OSError):
        return {}


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a weight file.  For one that is not safetensors it raises what `read_weight_file` raises."""
    may_be_safetensors = path.suffix.lower() not in PICKLE_SUFFIXES and not is_image(path)
    read_whole = None if may_be_safetensors else get_reader(path, read_first_bytes(path))
    return read_whole(path)[1] if read_whole else read_safetensors_metadata(path)


def read_tensor_names(path: Path) -> list[str]:
    """The tensor names of a safetensors file, without reading tensors; empty if the file cannot be read."""
    try:
        with open_safetensors(path, read_first_bytes(path)) as file:
            return list(file.keys())
    except (TetradError, OSError):
        return []


def read_tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in a safetensors file by name, without reading tensors; empty if the file cannot be read."""
    try:
        with open_safetensors(path, read_first_bytes(path)) as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (TetradError, OSError):
        return {}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty if there is no file; E5002 if the file holds something else."""
    if not path.is_file():
        return {}
    try:
        content = parse_json(read_text_file(path))
    except ValueError as error:
        template = _("{path} is not valid JSON ({error}); copy the folder again")
        raise TetradError("E5002", template, path=path, error=error) from error
    if not isinstance(content, dict):
        raise TetradError(
            "E5002",
            _("{path} must hold a JSON object, not {value}; copy the folder again"),
            path=path,
            value=str(content)[:40],
        )
    return content


def read_first_bytes(path: Path) -> bytes:
    """The first 64 bytes.  E5001 if there is no such file, E5003 if it is something else than a model."""
    if not path.exists():
        raise missing_file_error(path)
    try:
        with open_regular(path) as file:
            first_bytes = file.read(64)
    except OSError as error:
        raise unreadable_error(path, error) from error
    for signature, refusal in _NON_MODEL_SIGNATURES.items():
        if first_bytes.lstrip().lower().startswith(signature):
            raise TetradError("E5003", refusal, path=path)
    return first_bytes


def unreadable_error(path: Path, error: OSError | ValueError) -> TetradError:
    template = _("{path} cannot be read ({reason}); give a model file")
    return TetradError("E5001", template, path=path, reason=getattr(error, "strerror", None) or error)


def get_reader(path: Path, first_bytes: bytes) -> Callable[[Path], pickles.FlatContent] | None:
    """The function that reads a file that is not safetensors; None for a safetensors file."""
    if is_image(path):
        from tetrad.formats.embedding_images import read_embedding_image

        return read_embedding_image
    if is_pickle(path, first_bytes):
        from tetrad.formats.pickles import read_pickle

        return read_pickle
    return None


def is_pickle(path: Path, first_bytes: bytes) -> bool:
    """Whether a file must be read as a pickle; a safetensors file may have a pickle's suffix."""
    return path.suffix.lower() in PICKLE_SUFFIXES and not safetensors_header.looks_like_safetensors(first_bytes)


_WriteNetwork: TypeAlias = "Callable[[Path, Mapping[str, Tensor], Mapping[str, str]], None]"
# For a safetensors file, a pickle, a folder.
FileContent: TypeAlias = "WeightFile | pickles.PlainContent | diffusers.Folder"


def write_file(path: Path, content: FileContent) -> None:
    """Write a file or folder, completely or not at all.  E4202 if it cannot be written."""
    if isinstance(content, WeightFile):
        write_safetensors(path, content.tensors, content.metadata)
    elif isinstance(content, diffusers.Folder):
        write_folder(path, content)
    else:
        from tetrad.formats.pickles import serialize_pickle

        write_atomically(path, serialize_pickle(content))


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, completely or not at all.  E4202 if it cannot be written."""
    from safetensors.torch import save_file

    with convert_write_errors(path), stage_replacement(path) as temporary_path:
        save_file(unshare_tensors(tensors), str(temporary_path), dict(metadata))


def write_folder(path: Path, folder: diffusers.Folder, write: _WriteNetwork | None = None) -> None:
    """Write a folder, completely or not at all; `write` writes the file of each network.

    E4202 if it cannot be written or already exists.
    """
    if path.exists():
        raise TetradError("E4202", _("{path} already exists; choose another folder for the model"), path=path)
    with convert_write_errors(path):
        temporary = make_temporary_folder(path)
    try:
        with convert_write_errors(path):
            for name, content in folder.texts.items():
                (temporary / name).parent.mkdir(exist_ok=True)
                (temporary / name).write_text(content, "utf-8")
        for part, tensors in folder.networks.items():
            network_path = temporary / part / f"{diffusers.FILE_STEMS[part]}.safetensors"
            (write or write_safetensors)(network_path, tensors, folder.metadata)
        with convert_write_errors(path):
            temporary.chmod(0o755)
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def serialize_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file; tensors that share memory are written separately."""
    from safetensors.torch import save

    content: bytes = save(unshare_tensors(tensors), dict(metadata))
    return content
