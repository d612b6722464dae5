"""The tensors of a file or folder under names that do not depend on its format, each read when it is compared.

`library.outlines` opens what a model can be built from; this takes every file of a type, whole or not.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tetrad.formats import a1111, diffusers, ldm, vae, weight_files
from tetrad.formats.deferred_tensors import defer_tensors
from tetrad.formats.suffixes import is_image
from tetrad.formats.tensor_streams import open_tensors
from tetrad.library.checkpoints import find_network_files
from tetrad.library.identification import artifact_type, identify
from tetrad.models.families import FAMILIES


@dataclass(frozen=True)
class NamedTensors:
    """What a file or folder holds: its type ("checkpoint", "lora", …), deferred tensors by name, and its metadata."""

    type: str
    detected_type: str  # for a checkpoint its family
    tensors: Mapping[str, Tensor]
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
        if is_image(path):
            yield _name_embedding(path)
            return
        file = stack.enter_context(open_tensors(path))
        detected_type = identify(file)
        if detected_type == "embedding":
            yield _name_embedding(path)
            return
        tensors = defer_tensors(file)
        if detected_type in FAMILIES:
            tensors = _name_checkpoint(tensors, detected_type)
        elif detected_type == "vae":
            tensors = {key.canonical_key: tensors[key.file_key] for key in vae.find_vae_keys(file)[0]}
        yield NamedTensors(artifact_type(detected_type), detected_type, tensors, file.metadata)


def _name_embedding(path: Path) -> NamedTensors:
    """The vectors of an embedding by text encoder."""
    file = weight_files.read_weight_file(path)
    weights, _unmatched = a1111.decode_embedding(file)
    return NamedTensors("embedding", "embedding", weights.tensors, file.metadata)


def _name_folder(path: Path, stack: ExitStack) -> NamedTensors:
    """The networks of a diffusers folder, or of a folder with a VAE alone."""
    folders = {part: path / part for part in diffusers.FILE_STEMS} if diffusers.is_folder(path) else {"vae": path}
    tensors, metadata = dict[str, Tensor](), dict[str, str]()
    unet = dict[str, Tensor]()
    for part, folder in folders.items():
        for file_path in find_network_files(folder, part):
            file = stack.enter_context(open_tensors(file_path))
            metadata |= {f"{part}: {key}": value for key, value in file.metadata.items()}
            has_projection = "text_projection.weight" in file
            for name, tensor in defer_tensors(file).items():
                canonical = name if has_projection else diffusers.normalize_name(name)
                tensors[f"{part}.{canonical}"] = tensor
                unet |= {name: tensor} if part == diffusers.DENOISER else {}
    if not diffusers.is_folder(path):
        return NamedTensors("vae", "vae", tensors, metadata)
    parts = [part for part in folders if any(name.startswith(f"{part}.") for name in tensors)]
    return NamedTensors("checkpoint", diffusers.detect_family(parts, unet), tensors, metadata)


def _name_checkpoint(tensors: Mapping[str, Tensor], family: str) -> dict[str, Tensor]:
    """The tensors of a single file; those that no network uses keep their names."""
    named = dict(tensors)
    for key, names in ldm.locate_parts(tensors, FAMILIES[family].single_file).items():
        named |= zip(names, ldm.split_tensor(key, named.pop(key)).values(), strict=True)
    return named
