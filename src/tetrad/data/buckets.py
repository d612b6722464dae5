"""The few sizes that pictures of any shape are brought to, so that they can share a batch."""

from math import ceil, log


def sizes(resolution: int, step: int | None = None) -> list[tuple[int, int]]:
    """Sizes (width, height) of about resolution² pixels and never more, in multiples of `step`, wide and tall.

    Sides go from half the resolution to twice it, so shapes from 1:4 to 4:1. The square is always one of them.
    """
    step = step or default_step(resolution)
    assert resolution >= step, (resolution, step)
    largest = 2 * resolution // step * step
    square = resolution // step * step
    found = {(square, square)}
    for width in range(ceil(resolution / 2 / step) * step, largest + 1, step):
        height = min(resolution**2 // width // step * step, largest)
        if height >= resolution / 2:
            found |= {(width, height), (height, width)}
    return sorted(found)


def nearest(width: int, height: int, sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The size whose shape loses least of a picture, by the logarithm of width / height; of equals, the larger."""

    def loss(size: tuple[int, int]) -> tuple[float, int]:
        # Rounded, since 2:1 must be the same number at 256 as at 512.
        distance = abs((log(size[0]) - log(size[1])) - (log(width) - log(height)))
        return round(distance, 9), -size[0] * size[1]

    return min(sizes, key=loss)


def default_step(resolution: int) -> int:
    """64, as Stable Diffusion's network halves an 8 times smaller latent three times; 8 where that is too coarse."""
    return 64 if resolution >= 256 else 8
