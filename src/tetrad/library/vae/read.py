"""Read the VAE in a file, a checkpoint or a diffusers folder, whatever its tensor names."""

import json
from collections.abc import Mapping
from pathlib import Path

from tetrad.errors import TetradError, naming_file
from tetrad.formats import diffusers, vae, weight_files
from tetrad.library.identification import identify, title_of
from tetrad.locales import _, ngettext
from tetrad.models.families import FAMILIES
from tetrad.weights import Weights

NORM_GROUPS_KEY = "vae.norm_num_groups"  # in `tetrad.architecture`; tensor shapes cannot show this setting


def read_vae(path: Path) -> Weights:
    """The VAE in a file, a checkpoint or a diffusers folder, under canonical names, in the file's precision.

    Raises what `weight_files.read_weight_file` raises, E5203 where there is no VAE in it, E5204 for a VAE of another
    shape, E5205 where tensors are missing, match no layer, or contain NaN or Inf.
    """
    if path.is_dir():
        path, folder_metadata = _find_vae_in_folder(path)
        file = weight_files.read_weight_file(path)
        file = weight_files.WeightFile(file.tensors, file.metadata | folder_metadata)
    else:
        file = weight_files.read_weight_file(path, _may_belong_to_vae)
    weights, unmatched_keys = vae.decode(file.tensors, file.metadata)
    if not weights.tensors:
        raise _missing_vae_error(path, file.tensors)
    with naming_file(path):
        _check_vae_shapes(weights)
    _check_both_halves(path, weights)
    if unmatched_keys:
        raise TetradError(
            "E5205",
            ngettext(
                "{count} of {total} tensors in {path} matches no layer of a VAE (it is {tensor}); the file is of"
                " another type or damaged",
                "{count} of {total} tensors in {path} match no layer of a VAE (the first is {tensor}); the file is of"
                " another type or damaged",
                len(unmatched_keys),
            ),
            total=len(file.tensors),
            path=path,
            tensor=unmatched_keys[0],
        )
    if non_finite_name := next((name for name, tensor in weights.tensors.items() if not tensor.isfinite().all()), ""):
        template = _("{path} contains NaN or Inf in {tensor}; it is damaged, so use another VAE")
        raise TetradError("E5205", template, path=path, tensor=non_finite_name)
    return weights


def _may_belong_to_vae(name: str) -> bool:
    """Whether a tensor may be part of a VAE; the other networks of a checkpoint need not be read."""
    return not vae.is_other_network(name)


def find_vae_file(path: Path) -> Path:
    """The file itself, or the VAE's file in a diffusers folder."""
    return _find_vae_in_folder(path)[0] if path.is_dir() else path


def _find_vae_in_folder(path: Path) -> tuple[Path, dict[str, str]]:
    """The VAE's file in the folder of a VAE or of a whole pipeline, and what its config.json says, as metadata."""
    vae_folder = path / "vae" if (path / "vae").is_dir() else path
    vae_paths = [vae_folder / name for name in diffusers.list_file_names("vae") if (vae_folder / name).is_file()]
    if not vae_paths:
        template = _("the folder {path} contains no VAE; a diffusers VAE folder has the file {file}")
        raise TetradError("E5203", template, path=path, file=diffusers.list_file_names("vae")[0])
    config = weight_files.read_json(vae_folder / "config.json")
    metadata: dict[str, str] = {}
    if isinstance(groups := config.get("norm_num_groups"), int):
        metadata["tetrad.architecture"] = json.dumps({NORM_GROUPS_KEY: groups})
    if isinstance(scaling_factor := config.get("scaling_factor"), float):
        metadata["tetrad.scale"] = repr(scaling_factor)
    return vae_paths[0], metadata


def _missing_vae_error(path: Path, tensor_names: Mapping[str, object]) -> TetradError:
    """E5203, which says what the file is instead of a VAE."""
    if vae.is_taesd(tensor_names):
        template = _("{path} is TAESD, which only approximates a VAE; give a VAE such as vae-ft-mse-840000")
        return TetradError("E5203", template, path=path)
    file_type = identify(weight_files.read_tensor_names(path) or tensor_names)
    if file_type in FAMILIES:
        template = _("{path} is {found} without a VAE inside; give a separate VAE file")
    else:
        template = _("{path} is {found}, not a VAE")
    return TetradError("E5203", template, path=path, found=title_of(file_type))


def _check_vae_shapes(weights: Weights) -> None:
    """E5204 where the first layers are not those of a VAE of Stable Diffusion 1, 2 or XL."""
    known_channels = {family.channels for family in FAMILIES.values()}
    for name, channels in (("vae.encoder.conv_in.weight", {3}), ("vae.decoder.conv_in.weight", known_channels)):
        tensor = weights.tensors.get(name)
        if tensor is None or (tensor.ndim == 4 and tensor.shape[1] in channels):
            continue
        if tensor.ndim == 5:
            raise TetradError("E5204", _("this is a video VAE; give one for Stable Diffusion 1, 2 or XL"))
        if tensor.ndim == 4 and name.startswith("vae.decoder"):
            raise TetradError(
                "E5204",
                _(
                    "its latents have {found} channels, not {expected}, as in Stable Diffusion 3 or Flux; give a VAE"
                    " for Stable Diffusion 1, 2 or XL"
                ),
                found=tensor.shape[1],
                expected=" / ".join(map(str, sorted(channels))),
            )
        template = _("its tensor {tensor} has the wrong shape {shape}; give a VAE for Stable Diffusion 1, 2 or XL")
        raise TetradError("E5204", template, tensor=name, shape=tuple(tensor.shape))


def _check_both_halves(path: Path, weights: Weights) -> None:
    """E5205 where the encoder or the decoder is missing."""
    has_encoder, has_decoder = (bool(weights.part(f"vae.{side}")) for side in ("encoder", "decoder"))
    if has_encoder and has_decoder:
        return
    if has_encoder:
        template = _("{path} contains only the encoder of a VAE; give the whole VAE")
    elif has_decoder:
        template = _("{path} contains only the decoder of a VAE; give the whole VAE")
    else:
        template = _("{path} contains neither the encoder nor the decoder of a VAE; give the whole VAE")
    raise TetradError("E5205", template, path=path)
