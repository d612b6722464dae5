"""The tensors of a file or folder under names that do not depend on its format, each read when it is compared."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tetrad.formats import a1111, diffusers, embedding_images, ldm, vae, weight_files
from tetrad.formats.tensor_streams import TensorFile, open_tensors
from tetrad.formats.tensors import widen_float8
from tetrad.library.checkpoints import find_network_files
from tetrad.library.identification import artifact_type, identify
from tetrad.models.families import FAMILIES


@dataclass(frozen=True)
class NamedTensor:
    """A tensor that is not read yet."""

    dtype: torch.dtype
    read: Callable[[], Tensor]


@dataclass(frozen=True)
class NamedTensors:
    """What a file or folder holds: its type ("checkpoint", "lora", …), its tensors by name, and its metadata."""

    type: str
    detected_type: str  # for a checkpoint its family
    tensors: Mapping[str, NamedTensor]
    metadata: Mapping[str, str]


@contextmanager
def open_named_tensors(path: Path) -> Iterator[NamedTensors]:
    """Open a weight file or a diffusers folder.

    Checkpoints, VAEs and embeddings get canonical names, other files keep their own. Raises what `open_tensors` raises.
    """
    with ExitStack() as stack:
        if path.is_dir():
            yield _name_folder(path, stack)
            return
        if embedding_images.is_image(path):
            yield _name_embedding(path)
            return
        file = stack.enter_context(open_tensors(path))
        detected_type = identify(file)
        if detected_type == "embedding":
            yield _name_embedding(path)
            return
        if detected_type in FAMILIES:
            tensors = _name_checkpoint(file, detected_type)
        elif detected_type == "vae":
            tensors = {key.canonical_key: _use(file, key.file_key) for key in vae.find_vae_keys(file)[0]}
        else:
            tensors = {name: _use(file, name) for name in file}
        yield NamedTensors(artifact_type(detected_type), detected_type, tensors, file.metadata)


def _name_embedding(path: Path) -> NamedTensors:
    """The vectors of an embedding by text encoder."""
    file = weight_files.read_weight_file(path)
    weights, _unmatched = a1111.decode_embedding(file)
    tensors = {name: NamedTensor(each.dtype, each.clone) for name, each in weights.tensors.items()}
    return NamedTensors("embedding", "embedding", tensors, file.metadata)


def _name_folder(path: Path, stack: ExitStack) -> NamedTensors:
    """The networks of a diffusers folder, or of a folder with a VAE alone."""
    folders = {part: path / part for part in diffusers.FILE_STEMS} if diffusers.is_folder(path) else {"vae": path}
    tensors, metadata = dict[str, NamedTensor](), dict[str, str]()
    shapes = dict[str, Tensor]()  # of the U-Net
    for part, folder in folders.items():
        for file_path in find_network_files(folder, part):
            file = stack.enter_context(open_tensors(file_path))
            metadata |= {f"{part}: {key}": value for key, value in file.metadata.items()}
            has_projection = "text_projection.weight" in file
            for name in file:
                canonical = name if has_projection else diffusers.normalize_name(name)
                tensors[f"{part}.{canonical}"] = _use(file, name)
                shapes |= {name: torch.empty(file[name].shape, device="meta")} if part == diffusers.DENOISER else {}
    if not diffusers.is_folder(path):
        return NamedTensors("vae", "vae", tensors, metadata)
    parts = [part for part in folders if any(name.startswith(f"{part}.") for name in tensors)]
    return NamedTensors("checkpoint", diffusers.detect_family(parts, shapes), tensors, metadata)


def _name_checkpoint(file: TensorFile, family: str) -> dict[str, NamedTensor]:
    """The tensors of a single file; those that no network uses keep their names."""
    tensors, located = {}, ldm.locate_parts(list(file), FAMILIES[family].single_file)
    for key in file:
        for number, name in enumerate(located.get(key, [key])):
            tensors[name] = _use_part(file, key, number)
    return tensors


def _use(file: TensorFile, key: str) -> NamedTensor:
    return NamedTensor(file[key].dtype, lambda: widen_float8(file.read(key)))


def _use_part(file: TensorFile, key: str, number: int) -> NamedTensor:
    """One of the tensors of a network that a tensor of a single file holds."""

    def read() -> Tensor:
        return list(ldm.split_tensor(key, widen_float8(file.read(key))).values())[number]

    return NamedTensor(file[key].dtype, read)
