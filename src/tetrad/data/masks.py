"""A picture's transparency as how much each place counts in the loss."""

from PIL import Image, ImageOps
from torch import Tensor

from tetrad.data.folder import Photo
from tetrad.data.images import fit, to_grey, upright


def masks(photo: Photo, size: tuple[int, int], latents: tuple[int, int], flip: bool = False) -> tuple[Tensor, ...]:
    """How opaque a photo is at each place of its latents (h, w), 0…1, (1, h, w): upright and, with `flip`, mirrored.

    Nothing where it is everywhere the same, so that neither a picture without transparency nor one that is all
    transparent has a mask. `size` (width, height) is what the photo was fitted to.
    """
    image = upright(photo.path)
    if not image.has_transparency_data:
        return ()
    opaque = fit(image.convert("RGBA").getchannel("A"), size).resize(latents[::-1], Image.Resampling.BOX)
    lowest, highest = opaque.getextrema()
    if lowest == highest:
        return ()
    return tuple(to_grey(view) for view in (opaque, ImageOps.mirror(opaque))[: 1 + flip])
