"""A sheet that compares VAEs on one image: the original, each reconstruction, and the difference."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw
from torch import Tensor

from tetrad.images.contact_sheet import (
    BACKGROUND_COLOUR,
    GAP,
    LABEL_COLOUR,
    LINE_HEIGHT,
    TEXT_COLOUR,
    draw_text_lines,
    wrap_text,
)
from tetrad.images.fonts import Font, label_text, load_font
from tetrad.images.metrics import ColourChange, measure_colour_change, psnr, ssim
from tetrad.images.tensors import to_image
from tetrad.locales import Message, _

_MAX_IMAGE_WIDTH, _MIN_IMAGE_WIDTH = 512, 256  # of an image on the sheet, in pixels
_DIFFERENCE_GAIN = 10
_TITLE_HEIGHT, _LABEL_HEIGHT = 56, 96  # pixels above and below the images
_MIN_FONT_SIZE = 11  # pixels


@dataclass(frozen=True)
class Reconstruction:
    """One VAE's reconstruction of an image, both (3, H, W) in 0…1, and its error."""

    name: str
    image: Tensor
    original: Tensor

    @property
    def psnr(self) -> float:
        return psnr(self.image, self.original)

    @property
    def ssim(self) -> float:
        return ssim(self.image, self.original)

    @property
    def colour_change(self) -> ColourChange:
        return measure_colour_change(self.image, self.original)

    @property
    def difference(self) -> Tensor:
        """The difference to the original, DIFFERENCE_GAIN times as strong, on grey: grey means unchanged."""
        return (0.5 + _DIFFERENCE_GAIN * (self.image - self.original)).clamp(0, 1)

    @property
    def quality_text(self) -> Message:
        return Message(_("PSNR {psnr:.2f} dB, SSIM {ssim:.4f}"), psnr=self.psnr, ssim=self.ssim)

    def __str__(self) -> str:
        return str(Message(_("{quality}, {colours}"), quality=self.quality_text, colours=self.colour_change))


def make_comparison_sheet(original: Tensor, reconstructions: Sequence[Reconstruction], title: str) -> Image.Image:
    """The original in the first column; then a column for each VAE: reconstruction, difference and measurements."""
    height, width = original.shape[1:]
    image_width = min(_MAX_IMAGE_WIDTH, max(_MIN_IMAGE_WIDTH, width))
    image_height = round(image_width * height / width)
    columns = 1 + len(reconstructions)
    size = (GAP * 2 + columns * (image_width + GAP), _TITLE_HEIGHT + 30 + 2 * (image_height + GAP) + _LABEL_HEIGHT)
    canvas = Image.new("RGB", size, BACKGROUND_COLOUR)
    draw = ImageDraw.Draw(canvas)
    _draw_fitted_line(draw, (GAP * 2, GAP * 2), title, size[0] - 4 * GAP, 20)
    names = [label_text(Message(_("original"))), *(each.name for each in reconstructions)]
    images = [original, *(each.image for each in reconstructions)]
    difference_top = _TITLE_HEIGHT + 30 + image_height + GAP
    for column, (name, image) in enumerate(zip(names, images, strict=True)):
        x = GAP * 2 + column * (image_width + GAP)
        _draw_fitted_line(draw, (x, _TITLE_HEIGHT), name, image_width, 16)
        canvas.paste(_resize_for_sheet(to_image(image), (image_width, image_height)), (x, _TITLE_HEIGHT + 30))
        if column:
            reconstruction = reconstructions[column - 1]
            difference = _resize_for_sheet(to_image(reconstruction.difference), (image_width, image_height))
            canvas.paste(difference, (x, difference_top))
            colour_change = reconstruction.colour_change
            lines = (reconstruction.quality_text, colour_change.shift_text, colour_change.grading_text)
            for number, line in enumerate(lines):
                y = difference_top + image_height + GAP + 24 * number
                _draw_fitted_line(draw, (x, y), label_text(line), image_width, 15)
    note = label_text(
        Message(
            _("Below each image: the difference to the original, {gain} times as strong. Grey means unchanged."),
            gain=_DIFFERENCE_GAIN,
        )
    )
    note_lines = wrap_text(note, load_font(15, note), image_width - 2 * GAP, max(1, image_height // LINE_HEIGHT))
    draw_text_lines(draw, (GAP * 2, difference_top + GAP), note_lines, LABEL_COLOUR, 15)
    return canvas


def _resize_for_sheet(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Enlarge without smoothing, so that single pixels stay visible; reduce with Lanczos."""
    return image.resize(size, Image.Resampling.NEAREST if image.width < size[0] else Image.Resampling.LANCZOS)


def _draw_fitted_line(draw: ImageDraw.ImageDraw, position: tuple[int, int], text: str, width: int, size: int) -> None:
    """Draw one line in this font size, in a smaller one if it is wider than `width`, and cut off if still too wide."""
    while size > _MIN_FONT_SIZE and load_font(size, text).getlength(text) > width:
        size -= 1
    font: Font = load_font(size, text)
    draw.text(position, wrap_text(text, font, width, 1)[0], fill=TEXT_COLOUR, font=font)
