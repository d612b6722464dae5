"""Buckets are as large as the resolution allows, wide as often as tall, and every picture has one."""

from math import log

import pytest

from tetrad.data.buckets import nearest, sizes

RESOLUTIONS = [16, 64, 72, 128, 255, 256, 300, 512, 640, 768, 1000, 1024]
SHAPES = [(1, 1), (2, 1), (3, 2), (4, 3), (16, 9), (21, 9), (5, 1), (100, 1), (1023, 1024), (6000, 4000)]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_buckets_keep_their_bounds(resolution: int) -> None:
    step = 64 if resolution >= 256 else 8
    for width, height in sizes(resolution):
        assert width % step == height % step == 0
        assert width * height <= resolution**2
        assert resolution / 2 - step < min(width, height) and max(width, height) <= resolution * 2


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_buckets_are_symmetric_and_have_the_square(resolution: int) -> None:
    found = sizes(resolution)
    assert sorted((height, width) for width, height in found) == found == sorted(set(found))
    assert any(width == height for width, height in found)


def test_the_buckets_of_512_are_the_known_ones() -> None:
    wide = [(704, 320), (768, 320), (832, 256), (896, 256), (960, 256), (1024, 256), (576, 448), (640, 384)]
    assert sizes(512) == sorted([(512, 512), *wide, *((height, width) for width, height in wide)])


def test_a_step_can_be_given() -> None:
    assert sizes(64, step=32) == [(32, 96), (32, 128), (64, 64), (96, 32), (128, 32)]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("width,height", SHAPES)
def test_a_turned_picture_gets_the_turned_bucket(width: int, height: int, resolution: int) -> None:
    found = sizes(resolution)
    assert nearest(height, width, found) == nearest(width, height, found)[::-1]


@pytest.mark.parametrize("width,height", SHAPES)
def test_no_other_bucket_is_nearer_in_shape(width: int, height: int) -> None:
    chosen = nearest(width, height, sizes(512))
    losses = {size: abs(log(size[0] / size[1]) - log(width / height)) for size in sizes(512)}
    assert losses[chosen] == pytest.approx(min(losses.values()))


def test_a_strip_gets_the_widest_bucket() -> None:
    assert nearest(100_000, 16, sizes(512)) == (1024, 256)


def test_of_equal_shapes_the_larger_is_taken() -> None:
    assert nearest(2, 1, [(128, 64), (1024, 512), (512, 256)]) == (1024, 512)
    for width in range(1, 60):
        assert nearest(width, 7, [(width, 7), (3 * width, 21), (5 * width, 35), (2 * width, 14)]) == (5 * width, 35)
    assert nearest(7, 7, [(64, 64), (512, 512), (256, 256)]) == (512, 512)
