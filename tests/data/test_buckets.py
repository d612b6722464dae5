"""Buckets are as large as the resolution allows, symmetric in width and height, and exist for every aspect ratio."""

from math import log

import pytest

from tetrad.data.buckets import find_bucket, make_bucket_sizes, select_bucket
from tetrad.settings.buckets import BucketSettings

RESOLUTIONS = [16, 64, 72, 128, 255, 256, 300, 512, 640, 768, 1000, 1024]
SHAPES = [(1, 1), (2, 1), (3, 2), (4, 3), (16, 9), (21, 9), (5, 1), (100, 1), (1023, 1024), (6000, 4000)]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_buckets_stay_within_area_and_side_limits(resolution: int) -> None:
    multiple = 64 if resolution >= 256 else 8
    for width, height in make_bucket_sizes(resolution):
        assert width % multiple == height % multiple == 0
        assert width * height <= resolution**2
        assert resolution / 2 - multiple < min(width, height) and max(width, height) <= resolution * 2


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_buckets_are_symmetric_and_include_the_square(resolution: int) -> None:
    sizes = make_bucket_sizes(resolution)
    assert sorted((height, width) for width, height in sizes) == sizes == sorted(set(sizes))
    assert any(width == height for width, height in sizes)


def test_the_buckets_of_512_are_as_expected() -> None:
    wide = [(704, 320), (768, 320), (832, 256), (896, 256), (960, 256), (1024, 256), (576, 448), (640, 384)]
    assert make_bucket_sizes(512) == sorted([(512, 512), *wide, *((height, width) for width, height in wide)])


def test_the_side_multiple_can_be_given() -> None:
    assert make_bucket_sizes(64, side_multiple=32) == [(32, 96), (32, 128), (64, 64), (96, 32), (128, 32)]


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("width,height", SHAPES)
def test_a_rotated_image_gets_the_rotated_bucket(width: int, height: int, resolution: int) -> None:
    sizes = make_bucket_sizes(resolution)
    assert select_bucket(height, width, sizes) == select_bucket(width, height, sizes)[::-1]


@pytest.mark.parametrize("width,height", SHAPES)
def test_the_bucket_is_the_closest_in_aspect_ratio(width: int, height: int) -> None:
    bucket = select_bucket(width, height, make_bucket_sizes(512))
    distances = {size: abs(log(size[0] / size[1]) - log(width / height)) for size in make_bucket_sizes(512)}
    assert distances[bucket] == pytest.approx(min(distances.values()))


def test_a_very_wide_image_gets_the_widest_bucket() -> None:
    assert select_bucket(100_000, 16, make_bucket_sizes(512)) == (1024, 256)


def test_of_equally_close_buckets_the_larger_is_used() -> None:
    assert select_bucket(2, 1, [(128, 64), (1024, 512), (512, 256)]) == (1024, 512)
    for width in range(1, 60):
        assert select_bucket(width, 7, [(width, 7), (3 * width, 21), (5 * width, 35), (2 * width, 14)]) == (
            5 * width,
            35,
        )
    assert select_bucket(7, 7, [(64, 64), (512, 512), (256, 256)]) == (512, 512)


def test_a_small_image_keeps_its_size_and_a_square_is_always_the_same() -> None:
    keeps = BucketSettings(enlarge=False)
    assert find_bucket(300, 200, 512, keeps) == (256, 192)
    assert find_bucket(300, 20, 512, keeps) == (256, 64)  # at least a step
    assert find_bucket(3000, 2000, 512, keeps) == find_bucket(3000, 2000, 512, BucketSettings())
    assert find_bucket(3000, 20, 512, BucketSettings(square=True)) == (512, 512)


def test_sides_have_the_given_step_and_limits() -> None:
    assert make_bucket_sizes(1024, 64, 256, 1024)[-1] == (1024, 1024)  # sd-scripts' own limits
    assert find_bucket(3000, 1000, 512, BucketSettings(step=32)) == (864, 288)
    assert find_bucket(4000, 1000, 512, BucketSettings(min_side=384)) == (640, 384)
    assert find_bucket(4000, 1000, 512, BucketSettings(max_side=640)) == (640, 256)
    assert find_bucket(64, 64, 64, BucketSettings(step=512)) == (64, 64)
