"""The suffixes of weight files."""

from pathlib import Path

from tetrad.methods.textual_inversion.settings import IMAGE_SUFFIXES

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
WEIGHT_FILE_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)


def is_image(path: Path) -> bool:
    """Whether it is an image by its suffix, which may have an embedding in it."""
    return path.suffix.lower() in IMAGE_SUFFIXES
