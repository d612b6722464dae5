"""The images of other trainers' folders: how many there are, in which shapes, and the batches of an epoch."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tetrad.images.diagnosis import BadImage
from tetrad.images.load import open_image, read_exif_orientation

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_REPEATED_FOLDER = re.compile(r"(\d+)_(.*)")
Size = tuple[int, int]
Bucket = Callable[[Size], Size]


@dataclass(frozen=True)
class Pictures:
    """The sizes (width, height) of images, each as often as an epoch uses it."""

    sizes: tuple[Size, ...]
    images: int  # without repeats

    def __len__(self) -> int:
        return len(self.sizes)

    def count_batches(self, batch_size: int, bucket: Bucket, keeps_rest: bool = True) -> int:
        """Batches in an epoch: those of a bucket are of one shape, and a last one that is short counts or not."""
        numbers = Counter(map(bucket, self.sizes)).values()
        return sum(-(-number // batch_size) if keeps_rest else number // batch_size for number in numbers)

    def repeat(self, times: int) -> "Pictures":
        return Pictures(self.sizes * times, self.images)

    def __add__(self, other: "Pictures") -> "Pictures":
        return Pictures(self.sizes + other.sizes, self.images + other.images)

    def fill(self, count: int) -> "Pictures":
        """Exactly `count` uses: class images in turn, again from the first where there are too few."""
        rounds = math.ceil(count / max(1, len(self.sizes)))
        return Pictures((self.sizes * rounds)[:count], self.images)


def read_folders(folder: Path) -> Pictures | None:
    """The images in folders named like `10_zkr dog` in a folder; None where there are none."""
    found: list[Pictures] = []
    for each in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _REPEATED_FOLDER.fullmatch(each.name)
        if match and each.is_dir() and (pictures := read_folder(each)):
            found.append(pictures.repeat(int(match[1])))
    return sum(found[1:], found[0]) if found else None


def repeats_of(folder: Path) -> int:
    """The repeats in the name of a folder like `10_zkr dog`; 0 where it is not named so."""
    match = _REPEATED_FOLDER.fullmatch(folder.name)
    return int(match[1]) if match else 0


def words_of(folder: Path) -> str:
    """The words in the name of a folder like `10_zkr dog`, or of the first such folder in it."""
    folders = [folder, *(sorted(folder.iterdir()) if folder.is_dir() else ())]
    return next((match[2] for each in folders if (match := _REPEATED_FOLDER.fullmatch(each.name))), "")


def read_folder(folder: Path, recursive: bool = False) -> Pictures | None:
    """The images in a folder; None where there are none."""
    sizes = tuple(_read_sizes(list_images(folder, recursive)))
    return Pictures(sizes, len(sizes)) if sizes else None


def list_images(folder: Path, recursive: bool = False) -> list[Path]:
    """The image files in a folder by name; none where it is not there."""
    if not folder.is_dir():
        return []
    files = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(file for file in files if file.suffix.lower() in _SUFFIXES)


def _read_sizes(files: list[Path]) -> Iterator[Size]:
    """Upright sizes; a file that is no image is left out, as a run leaves it out."""
    for file in files:
        if file.stem.endswith("-masklabel"):
            continue
        try:
            with open_image(file) as image:
                width, height = image.size
                yield (height, width) if read_exif_orientation(image) > 4 else (width, height)
        except (BadImage, OSError):
            continue


def kohya_bucket(resolution: Size, lowest: int, highest: int, steps: int, no_upscale: bool) -> Bucket:
    """sd-scripts' bucket of an image; library/train_util.py, BucketManager, and library/model_util.py."""
    area = resolution[0] * resolution[1]

    def round_to_steps(side: float) -> int:
        return int(side + 0.5) - int(side + 0.5) % steps

    def own_size(size: Size) -> Size:
        """Of bucket_no_upscale: an image that is not too large keeps its size, cut to whole steps."""
        width, height = size
        ratio = width / height
        if width * height > area:
            wide = round_to_steps(math.sqrt(area * ratio))
            high = round_to_steps(area / math.sqrt(area * ratio))
            by_width, by_height = (
                wide / max(1, round_to_steps(wide / ratio)),
                round_to_steps(high * ratio) / max(1, high),
            )
            if abs(by_width - ratio) < abs(by_height - ratio):
                width, height = wide, int(wide / ratio + 0.5)
            else:
                width, height = int(high * ratio + 0.5), high
        return width - width % steps, height - height % steps

    sizes = _kohya_sizes(area, lowest, highest, steps)

    def nearest(size: Size) -> Size:
        ratio = size[0] / size[1]
        return size if size in sizes else min(sizes, key=lambda each: abs(each[0] / each[1] - ratio))

    return own_size if no_upscale else nearest


def _kohya_sizes(area: int, lowest: int, highest: int, steps: int) -> list[Size]:
    """All sizes of at most this area with sides in whole steps."""
    square = int(math.sqrt(area) // steps) * steps
    sizes = {(square, square)}
    for width in range(lowest, highest + 1, steps):
        height = min(highest, area // width // steps * steps)
        if height >= lowest:
            sizes |= {(width, height), (height, width)}
    return sorted(sizes)


def one_size(size: Size) -> Size:
    """Of a trainer that cuts every image to the same shape."""
    return (1, 1)


def onetrainer_bucket(size: Size) -> Size:
    """OneTrainer's bucket of an image as a shape in quarters: 1:1 to 1:4, both ways; mgds, AspectBucketing."""
    shapes = [(4, side) for side in (4, 5, 6, 7, 8, 10, 12, 14, 16)]
    both = [*shapes, *((high, wide) for wide, high in shapes)]
    return min(both, key=lambda each: abs(each[1] / each[0] - size[1] / size[0]))
