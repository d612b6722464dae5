"""A checkpoint whose tensors are read one at a time, by canonical name, from a single file or a diffusers folder."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tetrad.errors import TetradError, naming_file
from tetrad.formats import diffusers, ldm, weight_files
from tetrad.formats.tensor_streams import TensorFile, TensorLayout, open_tensors
from tetrad.library.checkpoints import find_network_files, read_configuration, unsupported_file_error
from tetrad.library.identification import identify
from tetrad.locales import _
from tetrad.models.base import Model
from tetrad.models.families import FAMILIES
from tetrad.weights import Weights

_MetaTensors = Mapping[str, Tensor]  # with shapes and dtypes, and no memory


@dataclass(frozen=True)
class OpenCheckpoint:
    """`read(name)` gives a tensor by its canonical name, in the file's dtype; `shapes` has all names."""

    path: Path
    family: str
    shapes: Weights  # tensors on the meta device, and the file's metadata
    read: Callable[[str], Tensor]

    @property
    def metadata(self) -> dict[str, str]:
        return self.shapes.metadata

    def build_model(self) -> Model:
        """The model on the meta device: its layers and their shapes, without memory.

        An inpainting model counts as one of four channels: the rest of it is the same. E5009 where tensors are missing.
        """
        family, tensors = FAMILIES[self.family], dict(self.shapes.tensors)
        if (first := tensors.get("unet.conv_in.weight")) is not None:
            tensors["unet.conv_in.weight"] = first[:, : family.channels]
        metadata = self.metadata
        if family.resolve_prediction(metadata) is None:  # which could only be measured, and makes no difference here
            metadata = metadata | {"modelspec.prediction_type": "epsilon"}
        return family.build(Weights("checkpoint", tensors, metadata), self.path.name)


@contextmanager
def open_checkpoint(path: Path) -> Iterator[OpenCheckpoint]:
    """Open a checkpoint to read single tensors.

    Raises E5001 … E5010 for what cannot be opened or is no checkpoint of a supported family.
    """
    if path.is_dir():
        with _open_folder(path) as checkpoint:
            yield checkpoint
        return
    with open_tensors(path) as file:
        yield view_checkpoint(file)


def view_checkpoint(file: TensorFile) -> OpenCheckpoint:
    """An open weight file as a checkpoint.  E5004, E5005 or E5008 where it is none of a supported family."""
    family = identify(file)
    if family not in FAMILIES:
        raise unsupported_file_error(file.path, family)
    layout = FAMILIES[family].single_file
    places = {
        name: (key, number)
        for key, names in ldm.locate_parts(file, layout).items()
        for number, name in enumerate(names)
    }

    def read(name: str) -> Tensor:
        key, number = places[name]
        part = list(ldm.split_tensor(key, file.read(key)).values())[number]
        return ldm.attention_conv_to_linear(name, part)

    with naming_file(file.path):
        shapes = ldm.decode({key: make_meta_tensor(each) for key, each in file.items()}, file.metadata, layout)
    metadata = shapes.metadata | read_configuration(file.path)
    return OpenCheckpoint(file.path, family, Weights("checkpoint", shapes.tensors, metadata), read)


@contextmanager
def _open_folder(path: Path) -> Iterator[OpenCheckpoint]:
    """A diffusers folder.  E5001 where it has no U-Net or no text encoder."""
    parts: dict[str, dict[str, Tensor]] = {}
    places: dict[int, tuple[TensorFile, str]] = {}  # by the identity of the tensor on the meta device
    with ExitStack() as stack:
        for part in diffusers.FILE_STEMS:
            for network_path in find_network_files(path / part, part):
                file = stack.enter_context(open_tensors(network_path))
                for key, layout in file.items():
                    tensor = parts.setdefault(part, {})[key] = make_meta_tensor(layout)
                    places[id(tensor)] = file, key
        for part in (diffusers.DENOISER, "text_encoder"):
            if part not in parts:
                template = _("{path} has no {missing}; a diffusers folder needs {required}")
                required = f"{part}/{diffusers.FILE_STEMS[part]}.safetensors"
                raise TetradError("E5001", template, path=path, missing=part, required=required)
        configurations = {part: weight_files.read_json(path / part / "config.json") for part in parts}
        configurations["scheduler"] = weight_files.read_json(path / "scheduler" / "scheduler_config.json")
        shapes = diffusers.decode(parts, configurations)

        def read(name: str) -> Tensor:
            file, key = places[id(shapes.tensors[name])]
            return file.read(key)

        yield OpenCheckpoint(path, diffusers.detect_family(parts, parts[diffusers.DENOISER]), shapes, read)


def make_meta_tensor(layout: TensorLayout) -> Tensor:
    return torch.empty(layout.shape, dtype=layout.dtype, device="meta")
