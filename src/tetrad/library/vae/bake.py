"""Use a VAE without loading the whole model: open a checkpoint's VAE, bake one into a checkpoint, extract it."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import diffusers, ldm, vae, weight_files
from tetrad.library.folders import ModelFolders, resolve_model_folders
from tetrad.library.identification import identify, title_of
from tetrad.library.search import find_checkpoint
from tetrad.library.vae.load import (
    DEFAULT_NORM_GROUPS,
    build_network,
    check_read_back,
    load_replacement_vae,
    make_reloader,
    save_vae,
)
from tetrad.library.vae.read import read_vae
from tetrad.library.vae.select import VaeChoice, choose_vae
from tetrad.library.vae.web_ui_settings import AUTOMATIC
from tetrad.locales import Message, _
from tetrad.models.base import Model
from tetrad.models.families import FAMILIES
from tetrad.models.vae import Vae
from tetrad.paths import check_path_length
from tetrad.weights import Weights

_KEPT_METADATA_KEYS = ("tetrad.architecture", "modelspec.architecture")  # copied to the file of an extracted VAE


@dataclass(frozen=True)
class CheckpointVae:
    """The VAE that a checkpoint is used with, the rule that chose it, and the model family of its latents."""

    vae: Vae
    family_title: str
    choice: VaeChoice

    @property
    def name(self) -> str:
        return self.choice.name

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`Vae.encode` of images (B, 3, 8h, 8w).  E5202 where the latents contain NaN or Inf."""
        mean, std = self.vae.encode(images)
        if not (mean.isfinite().all() and std.isfinite().all()):
            raise TetradError(
                "E5202",
                _("the VAE ({vae}) outputs NaN or Inf for the image; it is damaged, so use another VAE"),
                vae=self.choice.label,
            )
        return mean, std


def open_checkpoint_vae(model: str, vae_name: str = AUTOMATIC, folders: ModelFolders | None = None) -> CheckpointVae:
    """Load the VAE that `choose_vae` chooses for a checkpoint; the rest of the checkpoint is not read.

    Raises E5008 where `model` is not a supported checkpoint, E5201 where the checkpoint's own VAE is chosen and it has
    none, and what `choose_vae` and `read_vae` raise.
    """
    folders = folders or resolve_model_folders()
    path = find_checkpoint(model, folders)
    choice = choose_vae(path, vae_name, folders["vae"], folders["checkpoint"])
    family = FAMILIES[detect_checkpoint_family(path)]
    own_vae = load_own_vae(path, family)
    if choice.path:
        selected_vae = load_replacement_vae(choice.path, own_vae, path.name, family.family_title)
    else:
        selected_vae = own_vae
    selected_vae.require_network()
    return CheckpointVae(selected_vae, family.family_title, choice)


def detect_checkpoint_family(path: Path) -> str:
    """A checkpoint's family, from tensor names alone where possible.  E5008 where it is not a supported checkpoint."""
    if path.is_dir():
        return detect_folder_family(path)
    file_type = identify(weight_files.read_tensor_names(path) or weight_files.read_weight_file(path).tensors)
    if file_type not in FAMILIES:
        template = _("{path} is {found}; give the checkpoint that the VAE is for")
        raise TetradError("E5008", template, path=path, found=title_of(file_type))
    return file_type


def detect_folder_family(path: Path) -> str:
    """The family of a diffusers folder, by its networks.  E5008 where it is not a diffusers folder."""
    unet_folder = path / diffusers.DENOISER
    names = diffusers.list_file_names(diffusers.DENOISER)
    unet_paths = [unet_folder / name for name in names if (unet_folder / name).is_file()]
    if not unet_paths:
        template = _("{path} is not a diffusers folder; give a checkpoint file, or a folder with a unet subfolder")
        raise TetradError("E5008", template, path=path)
    unet_tensors = weight_files.read_weight_file(unet_paths[0], lambda name: name.endswith(".proj_in.weight")).tensors
    return diffusers.detect_family([part.name for part in path.iterdir()], unet_tensors)


def load_own_vae(path: Path, family: type[Model]) -> Vae:
    """The VAE inside a checkpoint; a `Vae` with `is_missing` where there is none."""
    try:
        weights = read_vae(path)
    except TetradError as error:
        if error.code != "E5203":
            raise
        missing_vae = Vae(None, family.scaling_factor, channels=family.channels)
        missing_vae.source = path.name
        return missing_vae
    network = build_network(weights, DEFAULT_NORM_GROUPS, path.name)
    return Vae(network, family.scaling_factor, make_reloader(path, DEFAULT_NORM_GROUPS))


def bake_vae(checkpoint_path: Path, vae_path: Path, output_path: Path) -> tuple[int, list[Message]]:
    """Write a copy of a checkpoint with another VAE inside; the number of tensors that changed, and warnings.

    Each tensor keeps the checkpoint's name, shape and precision for it. In a checkpoint without a VAE, the tensors have
    LDM's names and the checkpoint's most frequent precision. Raises E5204 where the VAE does not fit, E5209 where the
    file reads back differently, E5210 where the output path cannot be used.
    """
    check_output_path(output_path)
    if checkpoint_path.is_dir():
        template = _(
            "{path} is a folder, but a VAE can only be baked into a single file; give a file, or replace the folder's"
            " vae subfolder"
        )
        raise TetradError("E5008", template, path=checkpoint_path)
    family = FAMILIES[detect_checkpoint_family(checkpoint_path)]
    own_vae = load_own_vae(checkpoint_path, family)
    warnings = load_replacement_vae(vae_path, own_vae, checkpoint_path.name, family.family_title).warnings
    file = weight_files.read_weight_file(checkpoint_path, keep_float8=True)
    vae_tensors = read_vae(vae_path).tensors
    tensors, changed_count = _insert_vae(file.tensors, vae_tensors, vae_path.name)
    # The metadata of a pickle would be a trainer's whole state.
    is_pickle = not weight_files.read_tensor_names(checkpoint_path)
    old_metadata = {} if is_pickle else file.metadata
    metadata = {key: value for key, value in old_metadata.items() if key != "modelspec.hash_sha256"}
    weight_files.write_safetensors(output_path, tensors, metadata | {"tetrad.vae": vae_path.name})
    check_read_back(output_path, weight_files.read_weight_file(output_path, keep_float8=True).tensors, tensors)
    return changed_count, warnings


def _insert_vae(
    tensors: dict[str, Tensor], vae_tensors: dict[str, Tensor], vae_name: str
) -> tuple[dict[str, Tensor], int]:
    """A checkpoint's tensors with another VAE among them, and how many of its tensors that changed."""
    result, changed_count = dict(tensors), 0
    float_dtypes = Counter(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name, tensor in fit_vae(shapes, vae_tensors, vae_name).items():
        old_tensor = tensors.get(name)
        result[name] = tensor.to(float_dtypes.most_common(1)[0][0] if old_tensor is None else old_tensor.dtype)
        changed_count += old_tensor is None or not torch.equal(result[name], old_tensor)
    return result, changed_count


def fit_vae(shapes: Mapping[str, tuple[int, ...]], vae_tensors: dict[str, Tensor], vae_name: str) -> dict[str, Tensor]:
    """A VAE's tensors under the names and in the shapes that a checkpoint has for them; LDM's where it has no VAE.

    E5204 where the VAE does not fit.
    """
    keys, _other_keys = vae.find_vae_keys(shapes)
    file_keys = {key.canonical_key: key.file_key for key in keys}
    if not file_keys:
        return vae.encode(Weights("vae", vae_tensors), f"{ldm.VAE_PREFIX}.")
    if mismatched_names := file_keys.keys() ^ vae_tensors.keys():
        template = _("{vae} cannot replace the checkpoint's VAE: only one of the two has the layer {tensor}")
        raise TetradError("E5204", template, vae=vae_name, tensor=min(mismatched_names))
    fitted = {}
    for canonical_key, file_key in file_keys.items():
        tensor, shape = vae_tensors[canonical_key], shapes[file_key]
        if tensor.numel() != math.prod(shape):
            raise TetradError(
                "E5204",
                _("{vae} cannot replace the checkpoint's VAE: its {tensor} has the shape {found}, not {expected}"),
                vae=vae_name,
                tensor=canonical_key,
                found=tuple(tensor.shape),
                expected=shape,
            )
        fitted[file_key] = tensor.reshape(shape)
    return fitted


def extract_vae(checkpoint_path: Path, output_path: Path) -> None:
    """Write the VAE inside a checkpoint to a separate file, in its own precision.  E5203 where it has none."""
    check_output_path(output_path)
    weights = read_vae(checkpoint_path)
    metadata = {key: weights.metadata[key] for key in _KEPT_METADATA_KEYS if key in weights.metadata}
    save_vae(output_path, weights, metadata)


def check_output_path(output_path: Path, suffix: str = ".safetensors") -> None:
    """E5210, before anything is read, where a file cannot be written to this path or already exists.

    A folder has no suffix. E2003 where its name is too long; it may be made of the names of two other files.
    """
    check_path_length(output_path)
    if suffix and output_path.is_dir():
        template = _("{path} is a folder; add the name of the new file, for example {example}")
        raise TetradError("E5210", template, path=output_path, example=output_path / f"new{suffix}")
    if suffix and output_path.suffix != suffix:
        template = _("{path} must end in {suffix}, because no other format is written")
        raise TetradError("E5210", template, path=output_path, suffix=suffix)
    if output_path.exists() or output_path.is_symlink():  # also a link to nothing
        template = _("{path} already exists and is not overwritten; choose another name with --out")
        raise TetradError("E5210", template, path=output_path)
    if not output_path.parent.is_dir():
        template = _("{file} cannot be written because there is no folder {folder}; create it first")
        raise TetradError("E5210", template, file=output_path.name, folder=output_path.parent)
