"""Every image file becomes upright sRGB on white, and keeps its pixels if nothing has to change."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from tetrad.images.diagnosis import BadImage
from tetrad.images.load import compute_micro_conditioning, decode_upright, fit_to_size, load_image
from tetrad.images.tensors import to_image, to_tensor

LOSSLESS = ("png", "bmp", "tiff")
QUADRANTS = {(0, 0): "red", (1, 0): "lime", (0, 1): "blue", (1, 1): "yellow"}
# What a viewer must do for each EXIF orientation, as in the standard.
EXIF_CORRECTIONS: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda image: image,
    2: ImageOps.mirror,
    3: lambda image: image.rotate(180),
    4: ImageOps.flip,
    5: lambda image: ImageOps.mirror(image.rotate(-90, expand=True)),
    6: lambda image: image.rotate(-90, expand=True),
    7: lambda image: ImageOps.mirror(image.rotate(90, expand=True)),
    8: lambda image: image.rotate(90, expand=True),
}


def noise(width: int = 40, height: int = 24) -> Image.Image:
    return to_image(torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)))


def quadrants(width: int = 64, height: int = 32) -> Image.Image:
    image = Image.new("RGB", (width, height))
    for (column, row), colour in QUADRANTS.items():
        left, top = column * width // 2, row * height // 2
        image.paste(colour, (left, top, left + width // 2, top + height // 2))
    return image


def levels(image: Image.Image) -> Tensor:
    return to_tensor(image) * 255


def max_difference(image: Image.Image, other: Image.Image) -> float:
    return (levels(image) - levels(other)).abs().max().item()


def corners(image: Image.Image) -> list[list[bool]]:
    """Which of red, green and blue are on in the middle of each quadrant."""
    positions = [(x * image.width // 4, y * image.height // 4) for y in (1, 3) for x in (1, 3)]
    return [(levels(image)[:, y, x] > 128).tolist() for x, y in positions]


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_files_keep_every_pixel(tmp_path: Path, suffix: str) -> None:
    noise().save(tmp_path / f"a.{suffix}")
    assert load_image(tmp_path / f"a.{suffix}").tobytes() == noise().tobytes()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", EXIF_CORRECTIONS)
def test_exif_orientation_is_applied_once(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    quadrants().save(tmp_path / f"a.{suffix}", exif=exif)
    image, expected = load_image(tmp_path / f"a.{suffix}"), EXIF_CORRECTIONS[orientation](quadrants())
    assert image.size == expected.size
    assert corners(image) == corners(expected)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("exif", [b"broken", b"MM\0*", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_an_image_with_broken_exif_is_loaded(tmp_path: Path, exif: bytes, suffix: str) -> None:
    noise().save(tmp_path / f"a.{suffix}", exif=b"Exif\0\0" + exif)
    noise().save(tmp_path / f"b.{suffix}")
    assert max_difference(load_image(tmp_path / f"a.{suffix}"), load_image(tmp_path / f"b.{suffix}")) == 0


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_transparent_pixels_become_white_whatever_their_colour(tmp_path: Path, suffix: str) -> None:
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 16, 32))
    image.save(tmp_path / f"a.{suffix}", lossless=True, exact=True)  # the last two are for WebP; others ignore them
    loaded = load_image(tmp_path / f"a.{suffix}")
    assert (loaded.getpixel((8, 8)), loaded.getpixel((24, 8))) == ((0, 0, 255), (255, 255, 255))


def test_half_transparent_black_becomes_grey(tmp_path: Path) -> None:
    Image.new("RGBA", (16, 16), (0, 0, 0, 128)).save(tmp_path / "a.png")
    Image.new("LA", (16, 16), (0, 128)).save(tmp_path / "b.png")
    assert (
        load_image(tmp_path / "a.png").getpixel((0, 0))
        == load_image(tmp_path / "b.png").getpixel((0, 0))
        == (127, 127, 127)
    )


def test_a_transparent_palette_colour_becomes_white(tmp_path: Path) -> None:
    image = Image.new("P", (16, 16), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (0, 0, 8, 16))
    for suffix in ("png", "gif"):
        image.save(tmp_path / f"a.{suffix}", transparency=0)
        loaded = load_image(tmp_path / f"a.{suffix}")
        assert (loaded.getpixel((2, 2)), loaded.getpixel((12, 2))) == ((0, 255, 0), (255, 255, 255))


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path, suffix: str) -> None:
    image = Image.new("I;16", (16, 16))
    for x, level in enumerate((0, 128, 129, 32896, 65535)):
        image.putpixel((x, 0), level)
    image.save(tmp_path / f"a.{suffix}")
    loaded = load_image(tmp_path / f"a.{suffix}")
    assert [loaded.getpixel((x, 0)) for x in range(5)] == [(v, v, v) for v in (0, 0, 1, 128, 255)]


@pytest.mark.parametrize("mode,pixel,colour", [
    ("1", 1, (255, 255, 255)), ("L", 77, (77, 77, 77)), ("CMYK", (255, 0, 0, 0), (0, 255, 255))
])  # fmt: skip
def test_other_modes_become_rgb(tmp_path: Path, mode: str, pixel: int, colour: tuple[int, ...]) -> None:
    Image.new(mode, (16, 16), pixel).save(tmp_path / "a.tiff")
    assert load_image(tmp_path / "a.tiff").getpixel((3, 3)) == colour


def test_a_cmyk_jpeg_is_not_inverted(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg")  # stored inverted, as Adobe does
    assert load_image(tmp_path / "a.jpg").getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixel_formats_without_a_known_range_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (16, 16), 1).save(tmp_path / "a.tiff")
    with pytest.raises(BadImage, match=r"E4109 .*8-bit"):
        load_image(tmp_path / "a.tiff")


def test_colours_are_converted_with_the_icc_profile(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"?", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"?", b"gXYZ", 1)
    quadrants().save(tmp_path / "a.png", icc_profile=swapped)
    loaded = load_image(tmp_path / "a.png")
    assert loaded.getpixel((1, 1)) == (0, 255, 0)
    assert "icc_profile" not in loaded.info


def test_an_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert max_difference(load_image(tmp_path / "a.png"), noise()) == 0


def test_an_unusable_icc_profile_is_ignored(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    noise().save(tmp_path / "corrupt.png", icc_profile=b"not a profile")
    noise().convert("L").save(tmp_path / "for_other_channels.png", icc_profile=srgb)
    assert max_difference(load_image(tmp_path / "corrupt.png"), noise()) == 0
    assert max_difference(load_image(tmp_path / "for_other_channels.png"), noise().convert("L").convert("RGB")) == 0


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_the_first_frame_of_an_animation_is_used(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert corners(load_image(tmp_path / f"a.{suffix}")) == corners(frames[0])


def test_bytes_after_the_image_data_are_ignored(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes() + b"extra" * 100)
    assert max_difference(load_image(tmp_path / "a.jpg"), load_image(tmp_path / "b.jpg")) == 0


def test_the_format_is_detected_from_the_content(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.jpg", format="PNG")
    assert decode_upright(tmp_path / "a.jpg").tobytes() == noise().tobytes()


def test_fitting_to_the_same_size_changes_nothing() -> None:
    assert fit_to_size(noise(), noise().size).tobytes() == noise().tobytes()


@pytest.mark.parametrize("size", [(64, 64), (16, 48), (128, 32), (33, 17)])
@pytest.mark.parametrize("source", [(64, 32), (500, 16), (16, 301), (1, 1), (97, 89)])
def test_fitting_gives_exactly_the_given_size(source: tuple[int, int], size: tuple[int, int]) -> None:
    assert fit_to_size(Image.new("RGB", source, "red"), size).tobytes() == Image.new("RGB", size, "red").tobytes()


def test_fitting_keeps_the_centre() -> None:
    image = Image.new("RGB", (300, 100), "red")
    image.paste("lime", (100, 0, 200, 100))
    middle = levels(fit_to_size(image, (50, 50)))[:, :, 3:-3]  # near the edges the filter mixes in some red
    assert (middle[0].max().item(), middle[1].min().item()) == (0, 255)


@pytest.mark.parametrize("size", [(16, 16), (24, 8), (64, 64)])
def test_fitting_and_mirroring_can_be_swapped(size: tuple[int, int]) -> None:
    assert (
        max_difference(fit_to_size(ImageOps.mirror(noise()), size), ImageOps.mirror(fit_to_size(noise(), size))) <= 1
    )  # rounding


def test_reducing_an_image_averages_its_pixels() -> None:
    """One-pixel stripes become grey; nearest-neighbour sampling would give black, white or moiré."""
    stripes = Image.new("L", (2, 1))
    stripes.putpixel((0, 0), 255)
    board = Image.new("RGB", (512, 512))
    for x in range(0, 512, 2):
        board.paste(stripes.convert("RGB").resize((2, 512), Image.Resampling.NEAREST), (x, 0))
    assert (levels(fit_to_size(board, (32, 32))) - 127.5).abs().max() < 4


def test_to_image_is_the_inverse_of_to_tensor() -> None:
    tensor = to_tensor(noise())
    assert (tensor.shape, tensor.dtype) == ((3, 24, 40), torch.float32)
    assert to_image(tensor).tobytes() == noise().tobytes()
    assert tuple(tensor[:, 5, 7].mul(255).round().tolist()) == noise().getpixel((7, 5))


def test_values_outside_0_to_1_are_clamped() -> None:
    assert to_image(torch.tensor([-1.0, 0.5, 7.0]).view(3, 1, 1)).getpixel((0, 0)) == (0, 128, 255)


@pytest.mark.parametrize("original,size,expected", [
    ((512, 512), (512, 512), (512, 512, 0, 0, 512, 512)),
    ((1000, 500), (512, 512), (500, 1000, 0, 256, 512, 512)),
    ((500, 1000), (512, 512), (1000, 500, 256, 0, 512, 512)),
    ((4000, 3000), (1152, 896), (3000, 4000, 0, 21, 896, 1152)),
    ((64, 64), (128, 256), (64, 64, 0, 64, 256, 128)),
])  # fmt: skip
def test_micro_conditioning_has_original_size_crop_and_target_size(
    original: tuple[int, int], size: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert compute_micro_conditioning(original, size) == expected
