"""One decoding shows what is wrong with an image and what loading it will change, as a full one would."""

import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFilter

from tetrad.images.concurrency import PixelBudget, SilencedWarnings
from tetrad.images.diagnosis import BadImage
from tetrad.images.examine import examine_image, make_preview
from tetrad.images.load import decode_upright, load_image
from tetrad.images.measure import measure_image

RNG = np.random.default_rng(0)


def textured(width: int = 640, height: int = 480) -> Image.Image:
    """Random squares of many sizes: edges and flat areas as in a photo."""
    image = Image.new("RGB", (width, height), "grey")
    for _number in range(400):
        side, left, top = RNG.integers(4, 60), RNG.integers(width), RNG.integers(height)
        image.paste(
            tuple(map(int, RNG.integers(256, size=3))), (int(left), int(top), int(left + side), int(top + side))
        )
    return image


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_image(tmp_path: Path, orientation: int) -> None:
    path = saved(tmp_path / "a.jpg", textured(2048, 1030), exif=exif(orientation))
    info = examine_image(path)
    assert (info.width, info.height) == decode_upright(path).size == ((2048, 1030) if orientation < 5 else (1030, 2048))
    assert ("W4136" in info.fixes) == (orientation > 1)


def test_a_large_jpeg_gives_the_thumbnail_and_measures_of_its_full_size(tmp_path: Path) -> None:
    image = textured(3000, 2400)
    reduced, full = examine_image(saved(tmp_path / "a.jpg", image)), examine_image(saved(tmp_path / "a.png", image))
    levels = [np.frombuffer(info.thumbnail, np.uint8).astype(int) for info in (reduced, full)]
    assert abs(levels[0] - levels[1]).max() <= 4
    assert abs(reduced.measures.blur - full.measures.blur) < 0.1
    assert abs(reduced.measures.brightness - full.measures.brightness) < 0.01


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.98, -2])
def test_a_truncated_jpeg_is_found_at_a_fraction_of_its_size_too(tmp_path: Path, kept: float) -> None:
    path = saved(tmp_path / "a.jpg", textured(3000, 2400))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if kept > 0 else int(kept)])
    with pytest.raises(BadImage) as error:
        examine_image(path)
    with pytest.raises(BadImage) as full_error:
        load_image(path)
    assert error.value.code == full_error.value.code == "E4102"


def test_every_change_that_loading_makes_is_named(tmp_path: Path) -> None:
    image = textured(96, 96)
    half = image.convert("RGBA")
    half.putalpha(100)
    files = {
        "W4132": saved(tmp_path / "cmyk.jpg", image.convert("CMYK")),
        "W4133": saved(tmp_path / "deep.png", Image.fromarray((RNG.random((96, 96)) * 65535).astype(np.uint16))),
        "W4134": saved(tmp_path / "clear.png", half),
        "W4135": saved(tmp_path / "moving.gif", image, save_all=True, append_images=[textured(96, 96)]),
        "W4136": saved(tmp_path / "turned.jpg", image, exif=exif(6)),
        "W4138": saved(tmp_path / "profile.png", image, icc_profile=b"no profile"),
    }
    assert {code: examine_image(path).fixes for code, path in files.items()} == {code: (code,) for code in files}
    assert examine_image(saved(tmp_path / "plain.png", image)).fixes == ()


@pytest.mark.parametrize("radius", [3, 6])
def test_a_blurred_image_measures_as_blurred_and_a_sharp_one_does_not(radius: int) -> None:
    image = textured()
    assert measure_image(image).blur < 0.5 < 0.7 < measure_image(image.filter(ImageFilter.GaussianBlur(radius))).blur


def test_motion_blur_in_one_direction_counts() -> None:
    image = textured()
    smeared = image.resize((40, 480)).resize((640, 480), Image.Resampling.BICUBIC)
    assert measure_image(smeared).blur > 0.7


def test_an_image_of_one_colour_is_not_called_blurred() -> None:
    measures = measure_image(Image.new("RGB", (64, 64), (10, 10, 10)))
    assert (measures.blur, measures.contrast) == (0, 0) and measures.brightness == pytest.approx(10 / 255, abs=1e-3)


def test_a_preview_is_small_upright_and_on_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", textured(1200, 600), exif=exif(6))
    assert make_preview(path, 160).size == (80, 160)
    clear = saved(tmp_path / "b.png", Image.new("RGBA", (64, 64), (255, 0, 0, 0)))
    assert make_preview(clear, 160).getpixel((5, 5)) == (255, 255, 255)


def test_images_wait_until_there_is_room_for_their_pixels() -> None:
    budget, order = PixelBudget(100), []

    def use(name: str, pixels: int) -> None:
        with budget.reserve(pixels):
            order.append(name)

    with budget.reserve(60):
        threads = [threading.Thread(target=use, args=each) for each in (("too large", 1000), ("too many", 50))]
        for thread in threads:
            thread.start()
        with budget.reserve(40):
            order.append("fits")
        assert order == ["fits"]
    for thread in threads:
        thread.join(10)
    assert sorted(order) == ["fits", "too large", "too many"]


def test_warnings_stay_silent_until_the_last_thread_leaves() -> None:
    silenced = SilencedWarnings()
    filters = list(warnings.filters)
    with silenced:
        with silenced:
            pass
        warnings.warn("this would fail the test", stacklevel=1)
    assert list(warnings.filters) == filters


@pytest.mark.parametrize("mode,space,code", [("RGB", "LAB", "W4138"), ("CMYK", "sRGB", "W4138"), ("L", "sRGB", "")])
def test_a_profile_for_other_colours_is_said_to_be_ignored(mode: str, space: Any, code: str, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()
    Image.effect_noise((80, 80), 60).convert(mode).save(tmp_path / "a.tif", icc_profile=profile)
    fixes = examine_image(tmp_path / "a.tif").fixes
    assert [each for each in fixes if each in ("W4137", "W4138")] == [code] * bool(code)


def test_what_follows_a_webp_is_said_and_a_png_without_an_end_is_cut_off(tmp_path: Path) -> None:
    for suffix in ("webp", "png"):
        Image.effect_noise((80, 80), 60).convert("RGB").save(tmp_path / f"a.{suffix}")
    with (tmp_path / "a.webp").open("ab") as file:
        file.write(b"more")
    assert examine_image(tmp_path / "a.webp").fixes == ("W4130",)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content + b"more" * 5000)
    assert examine_image(tmp_path / "a.png").fixes == ("W4130",)
    (tmp_path / "a.png").write_bytes(content[:-12])
    with pytest.raises(BadImage, match="E4102"):
        examine_image(tmp_path / "a.png")
