"""One sheet of a picture and what VAEs make of it: the original, each reconstruction, what each changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tetrad.data.images import to_image
from tetrad.data.measures import Grade, grade, psnr, ssim
from tetrad.generation.grids import GAP, INK, PAPER, QUIET

WIDEST, NARROWEST = 512, 256  # pixels that a picture takes on the sheet
TIMES = 10
TITLE, WORDS = 56, 96  # pixels above the pictures and below them


@dataclass(frozen=True)
class Reconstruction:
    """What one VAE made of the picture, both (3, H, W) in 0…1, and how far it is off."""

    name: str
    picture: Tensor
    original: Tensor

    @property
    def psnr(self) -> float:
        return psnr(self.picture, self.original)

    @property
    def ssim(self) -> float:
        return ssim(self.picture, self.original)

    @property
    def grade(self) -> Grade:
        return grade(self.picture, self.original)

    @property
    def difference(self) -> Tensor:
        """What was added, ten times as strong, on grey: grey is unchanged."""
        return (0.5 + TIMES * (self.picture - self.original)).clamp(0, 1)

    def __str__(self) -> str:
        return f"PSNR {self.psnr:.2f} dB, SSIM {self.ssim:.4f}, {self.grade}"


def sheet(original: Tensor, found: Sequence[Reconstruction], title: str) -> Image.Image:
    """The original in the first column, a column for each VAE: its picture, what it changed, and by how much."""
    height, width = original.shape[1:]
    wide = min(WIDEST, max(NARROWEST, width))
    tall = round(wide * height / width)
    columns = 1 + len(found)
    size = (GAP * 2 + columns * (wide + GAP), TITLE + 30 + 2 * (tall + GAP) + WORDS)
    paper = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(paper)
    draw.text((GAP * 2, GAP * 2), title, fill=INK, font=fitted(draw, title, size[0] - 4 * GAP, 20))
    for column, name in enumerate(["original", *(each.name for each in found)]):
        x = GAP * 2 + column * (wide + GAP)
        draw.text((x, TITLE), name, fill=INK, font=fitted(draw, name, wide, 16))
        picture = original if column == 0 else found[column - 1].picture
        paper.paste(scaled(to_image(picture), (wide, tall)), (x, TITLE + 30))
        if column:
            each = found[column - 1]
            paper.paste(scaled(to_image(each.difference), (wide, tall)), (x, TITLE + 30 + tall + GAP))
            lines = [
                f"PSNR {each.psnr:.2f} dB    SSIM {each.ssim:.4f}",
                *str(each.grade).split("; "),
            ]
            for number, line in enumerate(lines):
                y = TITLE + 30 + 2 * (tall + GAP) + 24 * number
                draw.text((x, y), line, fill=INK, font=fitted(draw, line, wide, 15))
    note = f"Below each picture: what its VAE\nchanged, {TIMES} times as strong.\nGrey is unchanged."
    draw.multiline_text(
        (GAP * 2, TITLE + 30 + tall + 2 * GAP), note, fill=QUIET, font=ImageFont.load_default(15), spacing=6
    )
    return paper


def scaled(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A small picture is enlarged without smoothing, so that what is seen is what was made."""
    return picture.resize(size, Image.Resampling.NEAREST if picture.width < size[0] else Image.Resampling.LANCZOS)


def fitted(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font at this size, or smaller, so that the text is not wider than `width`."""
    while size > 9 and draw.textlength(text, font=ImageFont.load_default(size)) > width:
        size -= 1
    return ImageFont.load_default(size)
