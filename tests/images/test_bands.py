"""Large images are converted band by band, to the pixels of one conversion, with little more than one copy of them."""

import resource
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageCms

from tetrad.images import bands
from tetrad.images.examine import examine_image
from tetrad.images.load import apply_exif_orientation, fit_to_size, to_srgb_on_white

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MODES = ("RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16")


def make_image(mode: str, orientation: int = 1) -> Image.Image:
    """Noise of 93 × 61 pixels in a mode, with the EXIF orientation and a profile."""
    noise = Image.merge("RGB", [Image.effect_noise((93, 61), sigma) for sigma in (10, 14, 18)])
    if mode in ("RGBA", "LA"):
        noise.putalpha(Image.effect_noise(noise.size, 90))
    image = noise.convert("L").convert("I").point(lambda level: level * 257).convert(mode) if "16" in mode else noise
    image = image.convert(mode)
    image.info["icc_profile"] = PROFILE
    exif = image.getexif()
    exif[0x0112] = orientation
    return image


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(32, 32), (64, 24), (24, 64), (200, 160)], ids=str)
def test_bands_give_the_same_pixels_for_every_orientation(
    orientation: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make_image("RGB", orientation)
    upright = bands.UprightImage.of(image)
    expected = fit_to_size(to_srgb_on_white(apply_exif_orientation(image)), size)
    assert bands.fit_on_white(upright, size).tobytes() == expected.tobytes()
    use_bands(monkeypatch)
    difference = ImageChops.difference(bands.fit_on_white(upright, size), expected)
    assert max(high for _low, high in difference.getextrema()) <= 3  # of 255, by rounding


def use_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "_BAND_PIXELS", 700)
    monkeypatch.setattr(bands, "_LARGE_PIXELS", 0)


@pytest.mark.parametrize("mode", MODES)
def test_bands_give_the_same_pixels_in_every_mode(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_bands(monkeypatch)
    image = make_image(mode)
    upright = bands.UprightImage.of(image)
    expected = fit_to_size(to_srgb_on_white(image.copy()), (40, 32))
    assert bands.fit_on_white(upright, (40, 32)).tobytes() == expected.tobytes()
    alpha = bands.read_alpha(upright)
    assert (alpha is not None) == image.has_transparency_data
    assert alpha is None or alpha.tobytes() == image.convert("RGBA").getchannel("A").tobytes()
    reduced = bands.reduce_on_white(upright, 20)
    monkeypatch.setattr(bands, "_BAND_PIXELS", 10**9)
    assert reduced.tobytes() == bands.reduce_on_white(upright, 20).tobytes()


@pytest.mark.parametrize("orientation", (1, 6))
def test_a_large_jpeg_is_decoded_at_twice_the_size_that_it_is_used_at_or_more(orientation: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((1600, 1200))
    image.getexif()[0x0112] = orientation
    image.save(tmp_path / "a.jpg", quality=95, exif=image.getexif())
    size = (320, 256) if orientation == 1 else (256, 320)
    whole, small = bands.decode_image(tmp_path / "a.jpg"), bands.decode_image(tmp_path / "a.jpg", size)
    assert small.image.size == (800, 600) and whole.image.size == (1600, 1200)
    assert bands.decode_image(tmp_path / "a.jpg", (500, 400)).image.size == (1600, 1200)
    ones, others = (np.asarray(bands.fit_on_white(each, size), dtype=float) for each in (whole, small))
    assert np.sqrt(((ones - others) ** 2).mean()) < 1  # of 255


def measure(path: Path) -> int:
    """How many bytes of memory an image takes in a process, all together."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    examine_image(path)
    bands.fit_on_white(bands.decode_image(path), (64, 64))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of memory is another one")
@pytest.mark.parametrize("mode,orientation", [("RGBA", 1), ("RGB", 6)])
def test_a_large_image_takes_little_more_memory_than_its_pixels(mode: str, orientation: int, tmp_path: Path) -> None:
    image = Image.new(mode, (6400, 5000))
    image.getexif()[0x0112] = orientation
    image.save(tmp_path / "a.png", compress_level=1, exif=image.getexif())
    del image
    with get_context("spawn").Pool(1) as pool:  # of its own, as no other test's memory may count
        assert pool.apply(measure, (tmp_path / "a.png",)) < 32_000_000 * 4 + 90_000_000
