"""How much each place of a picture counts in the loss: its transparency, or the mask that lies beside it."""

from PIL import Image, ImageOps
from torch import Tensor

from tetrad.data.folder import Photo
from tetrad.data.images import BadImage, fit, to_grey, upright
from tetrad.data.listing import mask_of
from tetrad.errors import TetradError


def masks(photo: Photo, size: tuple[int, int], latents: tuple[int, int], flip: bool = False) -> tuple[Tensor, ...]:
    """How much a photo counts at each place of its latents (h, w), 0…1, (1, h, w): upright and, with `flip`, mirrored.

    Nothing where it is everywhere the same, so that neither a picture without transparency nor one that is all
    transparent has a mask. `size` (width, height) is what the photo was fitted to. Raises E4162 for a bad mask file.
    """
    whole = mask(photo)
    if whole is None:
        return ()
    seen = fit(whole, size).resize(latents[::-1], Image.Resampling.BOX)
    lowest, highest = seen.getextrema()
    if lowest == highest:
        return ()
    return tuple(to_grey(view) for view in (seen, ImageOps.mirror(seen))[: 1 + flip])


def mask(photo: Photo) -> Image.Image | None:
    """OneTrainer's mask beside a photo (white counts), or else how opaque it is, in grey and the photo's size."""
    beside = mask_of(photo.path)
    if beside.is_file():
        try:
            return upright(beside).convert("L").resize((photo.width, photo.height))
        except BadImage as bad:
            raise TetradError("E4162", f"the mask {beside} cannot be used: {bad.reason}") from bad
    image = upright(photo.path)
    return image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
