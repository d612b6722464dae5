"""The checkpoints that a merge is made of: opened, recognized and compared with the first one."""

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import ldm
from tetrad.formats.tensor_streams import TensorFile, TensorLayout, open_tensors
from tetrad.formats.tensors import widen_float8
from tetrad.library.checkpoints import require_finite, require_floats
from tetrad.library.hashes import is_hash_cached
from tetrad.library.identification import identify, title_of
from tetrad.locales import Message, _, ngettext
from tetrad.models.families import FAMILIES

UNET, TEXT_ENCODER, VAE, EMA = "unet", "text_encoder", "vae", "ema"
_PARTS = {
    f"{ldm.UNET_PREFIX}.": UNET,
    "cond_stage_model.": TEXT_ENCODER,
    "conditioner.": TEXT_ENCODER,
    f"{ldm.VAE_PREFIX}.": VAE,
    "model_ema.": EMA,
}
# Below these prefixes, but no weights: position ids, masks, and what a VAE was trained with.
_NO_WEIGHTS = re.compile(rf"position_ids$|^{ldm.VAE_PREFIX}\.loss\.|attn_mask$")
FIRST_LAYER = f"{ldm.UNET_PREFIX}.input_blocks.0.0.weight"  # (320, 4, 3, 3), with 9 channels for inpainting
LATENT_CHANNELS = 4


def part_of(name: str) -> str:
    """The network that a tensor is a weight of; "" for what is no weight of any."""
    if _NO_WEIGHTS.search(name):
        return ""
    return next((part for prefix, part in _PARTS.items() if name.startswith(prefix)), "")


@dataclass(frozen=True)
class Parent:
    """One of the checkpoints: its open file, and its tensors' names as current files have them."""

    letter: str  # A, B, …; "base" for the model that differences are taken from
    file: TensorFile
    names: Mapping[str, str]  # → the name in this file

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def input_channels(self) -> int:
        """How many channels the U-Net reads: 4, or 9 for inpainting and 8 for instruct-pix2pix."""
        name = self.names.get(FIRST_LAYER)
        return self.file[name].shape[1] if name else LATENT_CHANNELS

    def layout(self, name: str) -> TensorLayout:
        return self.file[self.names[name]]

    def read_range(self, name: str, start: int, stop: int) -> Tensor:
        """Some elements of a tensor in the file's dtype, as a vector; they may be NaN or Inf."""
        return self.file.read_range(self.names[name], start, stop)

    def read_like(self, name: str, shape: Sequence[int]) -> Tensor:
        """A tensor in float32 and in this shape; of an inpainting model's first layer only as many channels.

        E5014 where it contains NaN or Inf.
        """
        tensor = widen(self.require_finite(name))
        if name == FIRST_LAYER:
            return tensor[:, : shape[1]].clone()
        return tensor.reshape(tuple(shape))

    def require_finite(self, name: str) -> Tensor:
        """A tensor in the file's dtype.  E5014 where it contains NaN or Inf."""
        tensor = self.file.read_tensor(self.names[name])
        if tensor.is_floating_point() and tensor.numel():
            require_finite(self.path, self.names[name], tensor)
        return tensor


def widen(tensor: Tensor) -> Tensor:
    return widen_float8(tensor).to(torch.float32)


@contextmanager
def open_parents(paths: Sequence[Path], base_path: Path | None) -> Iterator[tuple[list[Parent], Parent | None]]:
    """The checkpoints and the one that differences are taken from, all of one family.

    Raises what `open_tensors` raises, E5008 for what is no checkpoint in a single file, E5301 for another family than
    the first one's, E5302 for other shapes.
    """
    with ExitStack() as stack:
        letters = [chr(ord("A") + number) for number in range(len(paths))]
        parents = [_open_parent(letter, path, stack) for letter, path in zip(letters, paths, strict=True)]
        base = _open_parent("base", base_path, stack) if base_path else None
        for other in (*parents[1:], *([base] if base else [])):
            _check_family(parents[0], other)
            _check_shapes(parents[0], other)
        yield parents, base


def _open_parent(letter: str, path: Path, stack: ExitStack) -> Parent:
    """One checkpoint, opened until the stack is closed."""
    require_file(path)
    file = stack.enter_context(open_tensors(path, is_read_once=is_hash_cached(path)))
    names = {ldm.normalize_name(name): name for name in file}
    if (file_type := identify(names)) not in FAMILIES:
        template = _("{path} is {found}; give a Stable Diffusion 1, 2 or XL checkpoint")
        raise TetradError("E5008", template, path=path, found=title_of(file_type))
    for name in file:
        if part_of(name) not in ("", EMA):
            require_floats(path, name, file[name])
    return Parent(letter, file, names)


def require_file(path: Path) -> None:
    """E5008 for a folder, with the command that makes a file of it."""
    if path.is_dir():
        template = _("{path} is a folder, and only single files can be merged; make one of it first: {command}")
        command = shlex.join(["tetrad", "convert", str(path), "--to", "safetensors"])
        raise TetradError("E5008", template, path=path, command=command)


def _check_family(first: Parent, other: Parent) -> None:
    """E5301 where two checkpoints are of different families."""
    families = [FAMILIES[identify(parent.names)].family_title for parent in (first, other)]
    if families[0] != families[1]:
        raise TetradError(
            "E5301",
            _("{other} is a {found} checkpoint, but {first} is a {family} checkpoint; merge models of one family"),
            other=other.path,
            found=families[1],
            first=first.path,
            family=families[0],
        )


def _check_shapes(first: Parent, other: Parent) -> None:
    """E5302 where a tensor has another shape, apart from the channels that an inpainting model has more."""
    if other.input_channels not in (first.input_channels, LATENT_CHANNELS):
        raise TetradError(
            "E5302",
            _(
                "{other} has {found} input channels (inpainting has 9, instruct-pix2pix 8), but {first} has {channels};"
                " give the model with more channels first"
            ),
            other=other.path,
            found=other.input_channels,
            first=first.path,
            channels=first.input_channels,
        )
    for name in shared_weights(first.names, [other]):
        shape, other_shape = first.layout(name).shape, other.layout(name).shape
        if name != FIRST_LAYER and _without_ones(shape) != _without_ones(other_shape):
            raise TetradError(
                "E5302",
                _("{tensor} has the shape {found} in {other} and {shape} in {first}; merge models of one architecture"),
                tensor=name,
                found=other_shape,
                other=other.path,
                shape=shape,
                first=first.path,
            )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without 1s at its end: a linear layer and a 1 × 1 convolution have the same weights."""
    return shape if not shape or shape[-1] != 1 else _without_ones(shape[:-1])


def shared_weights(names: Collection[str], others: Collection[Parent]) -> list[str]:
    """The weights of networks among these names that all the others have too."""
    return [name for name in names if part_of(name) not in ("", EMA) and all(name in each.names for each in others)]


def describe_name_differences(first: Parent, others: Sequence[Parent], parts: Collection[str]) -> list[Message]:
    """What is said where the checkpoints do not have the same weights in the parts that are merged."""
    notes = []
    own = [name for name in first.names if part_of(name) in parts]
    if kept := [name for name in own if any(name not in other.names for other in others)]:
        template = ngettext(
            "{count} tensor that not all models have is kept as it is in A: {tensor}",
            "{count} tensors that not all models have are kept as they are in A, such as {tensor}",
            len(kept),
        )
        notes.append(Message(template, tensor=kept[0]))
    for other in others:
        if dropped := [name for name in other.names if part_of(name) in parts and name not in first.names]:
            template = ngettext(
                "{count} tensor of {file} that A does not have is left out: {tensor}",
                "{count} tensors of {file} that A does not have are left out, such as {tensor}",
                len(dropped),
            )
            notes.append(Message(template, file=other.path.name, tensor=dropped[0]))
    return notes
