"""Which pictures are nearly the same: one of them resized, saved again or mirrored."""

from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor

SIDE = 8
CLOSE = 0.08  # of how much a picture varies: saving it again as a bad JPEG stays under a third of it
AT_ONCE = 1024


def look(image: Image.Image) -> bytes:
    """A picture as seen from far away: 8 × 8 of its colours, on white where it is transparent."""
    small = image.convert("RGBA" if image.has_transparency_data else "RGB")
    small = small.reduce(max(1, min(small.size) // (8 * SIDE)))  # a hundredth of the time for a photo
    small = small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    return small.tobytes()


def alike(looks: Sequence[bytes]) -> Iterator[list[int]]:
    """The places of each group of pictures that are nearly the first of them, by their looks."""
    if len(looks) < 2:
        return
    whole = torch.frombuffer(bytearray(b"".join(looks)), dtype=torch.uint8).view(-1, SIDE, SIDE, 3).float()
    groups: dict[int, list[int]] = {}
    taken: set[int] = set()
    for first, second in pairs(whole):
        if first not in taken:
            groups.setdefault(first, [first]).append(second)
            taken.add(second)
    yield from groups.values()


def pairs(whole: Tensor) -> Iterator[tuple[int, int]]:
    """Each picture with the first one before it that it is close to; `whole` is (N, side, side, 3)."""
    upright, mirrored = whole.flatten(1), whole.flip(2).flatten(1)
    # The mean distance of a number that still is the same; a picture of one colour must be that very colour.
    limits = (upright.view(len(whole), -1, 3).std(1).mean(1) * CLOSE).clamp(min=1) * upright.shape[1] ** 0.5
    for begin in range(0, len(whole), AT_ONCE):
        rows = slice(begin, begin + AT_ONCE)
        distances = torch.minimum(torch.cdist(upright[rows], upright), torch.cdist(mirrored[rows], upright))
        close = (distances <= limits[rows, None]).tril(begin - 1)
        for row in close.any(1).nonzero()[:, 0].tolist():
            yield int(close[row].int().argmax()), begin + row
