"""One sheet of a picture and what VAEs make of it: the original, each reconstruction, what each changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw
from torch import Tensor

from tetrad.data.images import to_image
from tetrad.data.measures import Grade, grade, psnr, ssim
from tetrad.generation.grids import GAP, INK, PAPER, QUIET, broken
from tetrad.generation.letters import Font, font

WIDEST, NARROWEST = 512, 256  # pixels that a picture takes on the sheet
TIMES = 10
TITLE, WORDS = 56, 96  # pixels above the pictures and below them
SMALLEST = 11  # letters on a sheet, in pixels


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
    written(draw, (GAP * 2, GAP * 2), title, size[0] - 4 * GAP, 20)
    for column, name in enumerate(["original", *(each.name for each in found)]):
        x = GAP * 2 + column * (wide + GAP)
        written(draw, (x, TITLE), name, wide, 16)
        picture = original if column == 0 else found[column - 1].picture
        paper.paste(scaled(to_image(picture), (wide, tall)), (x, TITLE + 30))
        if column:
            each = found[column - 1]
            paper.paste(scaled(to_image(each.difference), (wide, tall)), (x, TITLE + 30 + tall + GAP))
            lines = [
                f"PSNR {each.psnr:.2f} dB, SSIM {each.ssim:.4f}",
                *str(each.grade).split("; "),
            ]
            for number, line in enumerate(lines):
                written(draw, (x, TITLE + 30 + 2 * (tall + GAP) + 24 * number), line, wide, 15)
    note = f"Below each picture: what its VAE\nchanged, {TIMES} times as strong.\nGrey is unchanged."
    draw.multiline_text((GAP * 2, TITLE + 30 + tall + 2 * GAP), note, fill=QUIET, font=font(15), spacing=6)
    return paper


def scaled(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A small picture is enlarged without smoothing, so that what is seen is what was made."""
    return picture.resize(size, Image.Resampling.NEAREST if picture.width < size[0] else Image.Resampling.LANCZOS)


def written(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, width: int, size: int) -> None:
    """One line in letters of this size, or smaller ones where it is wider than `width`; a name too long is cut."""
    while size > SMALLEST and font(size, text).getlength(text) > width:
        size -= 1
    by: Font = font(size, text)
    draw.text(place, broken(text, by, width, 1)[0], fill=INK, font=by)
