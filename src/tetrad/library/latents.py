"""Latent files: what a VAE says of one picture, on disk."""

from pathlib import Path

from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import files
from tetrad.library.baking import Opened

SCALE = "tetrad.latent.scale"
SAME = 0.01  # relative difference below which two scales are one family's


def write_latents(path: Path, mean: Tensor, std: Tensor, opened: Opened) -> None:
    """Scaled mean and standard deviation (4, h, w), and whose they are.  E4202 where the file cannot be written."""
    about = {SCALE: repr(opened.vae.scale), "tetrad.latent.family": opened.title, "tetrad.latent.vae": opened.name}
    files.write(path, {"mean": mean, "std": std}, about)


def read_latents(path: Path, opened: Opened) -> Tensor:
    """The mean (4, h, w) of a latent file, for this VAE.  E5207 where it is none, or of another family."""
    file = files.read(path)
    z = file.tensors.get("mean")
    try:
        scale = float(file.metadata[SCALE])
    except (KeyError, ValueError):
        scale = 0.0
    if z is None or z.ndim != 3 or z.shape[0] != 4 or not scale:
        raise TetradError("E5207", f"{path} is no latent file; `tetrad vae encode PICTURE` writes one")
    if abs(scale / opened.vae.scale - 1) > SAME:
        theirs = file.metadata.get("tetrad.latent.family", "another family")
        raise TetradError(
            "E5207", f"{path} holds latents of {theirs}, and this VAE is of {opened.title}; give a model of {theirs}"
        )
    return z.float()
