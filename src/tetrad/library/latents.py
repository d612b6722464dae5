"""Latent files: what a VAE says of one picture, on disk."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import files
from tetrad.library.baking import Opened

SCALE, FAMILY, VAE = "tetrad.latent.scale", "tetrad.latent.family", "tetrad.latent.vae"
SAME = 0.01  # relative difference below which two scales are one family's
LARGEST = 4096  # latents on a side: pictures of 32768 pixels
# ComfyUI's .latent: as the VAE gives them; files without the second, the oldest, at Stable Diffusion 1's scale.
COMFY, COMFY_UNSCALED, OLDEST = "latent_tensor", "latent_format_version_0", 0.18215


@dataclass(frozen=True)
class Latents:
    """The mean (4, h, w) of a latent file at its own scale, and whose it says it is; 0 and "" where it does not."""

    mean: Tensor
    scale: float
    family: str
    vae: str


def write_latents(path: Path, mean: Tensor, std: Tensor, opened: Opened) -> None:
    """Scaled mean and standard deviation (4, h, w), and whose they are.  E4202 where the file cannot be written."""
    about = {SCALE: repr(opened.vae.scale), FAMILY: opened.title, VAE: opened.name}
    files.write(path, {"mean": mean, "std": std}, about)


def read_latents(path: Path, opened: Opened) -> Tensor:
    """The mean (4, h, w) of a latent file, scaled for this VAE.  E5207 where it is none, or of another family."""
    found = latents(files.read(path))
    if found is None:
        raise TetradError("E5207", f"{path} is no latent file; `tetrad vae encode PICTURE` writes one")
    if found.mean.ndim != 3 or found.mean.shape[0] != 4 or not 0 < found.mean[0].numel() <= LARGEST**2:
        wanted = "of one picture of Stable Diffusion 1, 2 or XL are (4, height / 8, width / 8)"
        raise TetradError("E5207", f"{path} holds latents of {tuple(found.mean.shape)} numbers; those {wanted}")
    if not found.mean.isfinite().all():
        raise TetradError("E5207", f"{path} holds latents that are not numbers; make it anew with `tetrad vae encode`")
    if found.scale and abs(found.scale / opened.vae.scale - 1) > SAME:
        theirs = found.family or "another family"
        raise TetradError(
            "E5207", f"{path} holds latents of {theirs}, and this VAE is of {opened.title}; give a model of {theirs}"
        )
    return found.mean if found.scale else found.mean * opened.vae.scale


def latents(file: files.File) -> Latents | None:
    """What a file holds as ours or ComfyUI's latent files do, None where it is neither."""
    about = file.metadata
    if (z := file.tensors.get(COMFY)) is not None:
        unscaled = z.float() if COMFY_UNSCALED in file.tensors else z.float() / OLDEST
        return Latents(unscaled[0] if unscaled.ndim == 4 and len(unscaled) == 1 else unscaled, 0.0, "", "")
    z = file.tensors.get("mean")
    try:
        scale = float(about[SCALE])
    except (KeyError, ValueError):
        return None
    if z is None or not scale > 0:
        return None
    return Latents(z.float(), scale, about.get(FAMILY, ""), about.get(VAE, ""))
