"""Latent files: the latents of one image, which `tetrad vae encode` writes and `tetrad vae decode` reads."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import open_image
from tetrad.library.vae.bake import CheckpointVae
from tetrad.locales import _

SCALING_FACTOR_KEY, _FAMILY_KEY, _VAE_NAME_KEY = "tetrad.latent.scale", "tetrad.latent.family", "tetrad.latent.vae"
_SCALING_FACTOR_TOLERANCE = 0.01  # relative difference below which two scaling factors are those of one family
_MAX_LATENT_SIDE = 4096  # latents on a side; images of 32768 pixels
# ComfyUI's .latent files hold unscaled latents; the oldest, without the second key, have Stable Diffusion 1's scale.
_COMFY_LATENT_KEY, _COMFY_UNSCALED_KEY, _COMFY_OLD_SCALING_FACTOR = "latent_tensor", "latent_format_version_0", 0.18215


@dataclass(frozen=True)
class _LatentFile:
    """The mean (4, h, w) in a latent file, its scaling factor (0 for none), and the family and VAE it names, or ""."""

    mean: Tensor
    scaling_factor: float
    family: str
    vae_name: str


def write_latents(path: Path, mean: Tensor, std: Tensor, checkpoint_vae: CheckpointVae) -> None:
    """Write scaled mean and std (4, h, w) with the family and VAE that they belong to.  E4202 where that fails."""
    metadata = {
        SCALING_FACTOR_KEY: repr(checkpoint_vae.vae.scaling_factor),
        _FAMILY_KEY: checkpoint_vae.family_title,
        _VAE_NAME_KEY: checkpoint_vae.name,
    }
    weight_files.write_safetensors(path, {"mean": mean, "std": std}, metadata)


def read_latents(path: Path, checkpoint_vae: CheckpointVae) -> Tensor:
    """The mean (4, h, w) of a latent file, scaled for this VAE.  E5207 for another type of file or another family."""
    try:
        latent_file = parse_latent_file(weight_files.read_weight_file(path))
    except TetradError as error:
        if not _is_image(path):
            raise
        template = _("{path} is an image, not a latent file; `tetrad vae encode IMAGE` writes a latent file from it")
        raise TetradError("E5207", template, path=path) from error
    if latent_file is None:
        raise TetradError("E5207", _("{path} is not a latent file; `tetrad vae encode IMAGE` writes one"), path=path)
    mean, scaling_factor = latent_file.mean, latent_file.scaling_factor
    if mean.ndim != 3 or mean.shape[0] != 4 or not 0 < mean[0].numel() <= _MAX_LATENT_SIDE**2:
        raise TetradError(
            "E5207",
            _(
                "{path} contains latents of {shape}; those of one Stable Diffusion 1, 2 or XL image have the shape"
                " (4, height / 8, width / 8)"
            ),
            path=path,
            shape=tuple(mean.shape),
        )
    if not mean.isfinite().all():
        template = _("{path} contains latents with NaN or Inf; create it again with `tetrad vae encode`")
        raise TetradError("E5207", template, path=path)
    if scaling_factor and abs(scaling_factor / checkpoint_vae.vae.scaling_factor - 1) > _SCALING_FACTOR_TOLERANCE:
        expected = checkpoint_vae.family_title
        if not latent_file.family:
            template = _("{path} contains latents of another family than this VAE's ({expected}); give their model")
            raise TetradError("E5207", template, path=path, expected=expected)
        template = _("{path} contains latents of {found}, but this VAE is for {expected}; give a model of {found}")
        raise TetradError("E5207", template, path=path, found=latent_file.family, expected=expected)
    return mean if scaling_factor else mean * checkpoint_vae.vae.scaling_factor


def _is_image(path: Path) -> bool:
    try:
        with open_image(path):
            return True
    except BadImage:
        return False


def parse_latent_file(file: weight_files.WeightFile) -> _LatentFile | None:
    """The content of a latent file of Tetrad or ComfyUI, None for any other file."""
    metadata = file.metadata
    if (z := file.tensors.get(_COMFY_LATENT_KEY)) is not None:
        unscaled = z.float() if _COMFY_UNSCALED_KEY in file.tensors else z.float() / _COMFY_OLD_SCALING_FACTOR
        return _LatentFile(unscaled[0] if unscaled.ndim == 4 and len(unscaled) == 1 else unscaled, 0.0, "", "")
    z = file.tensors.get("mean")
    try:
        scaling_factor = float(metadata[SCALING_FACTOR_KEY])
    except (KeyError, ValueError):
        return None
    if z is None or not scaling_factor > 0:
        return None
    return _LatentFile(z.float(), scaling_factor, metadata.get(_FAMILY_KEY, ""), metadata.get(_VAE_NAME_KEY, ""))
