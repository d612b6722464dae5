"""Near duplicates are found after resizing, mirroring or saving again; images that are only similar are not."""

import io
from pathlib import Path

import pytest
import torch
from photos import load_dataset
from PIL import Image, ImageOps

from tetrad.builtin import resolve_images_path
from tetrad.images.near_duplicates import group_near_duplicates, make_thumbnail


def colour_patches(seed: int = 0, side: int = 96) -> Image.Image:
    """An image of 6 × 6 random colour patches."""
    patches = torch.randint(256, (6, 6, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.frombytes("RGB", (6, 6), patches.numpy().tobytes()).resize((side, side))


def save_as_jpeg(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=40)
    return Image.open(content)


@pytest.mark.parametrize("change", ["smaller", "larger", "saved again", "mirrored", "of another mode"])
def test_a_changed_copy_is_a_near_duplicate(change: str) -> None:
    image = colour_patches()
    other = {
        "smaller": image.resize((50, 50)),
        "larger": image.resize((1000, 1000)),
        "saved again": save_as_jpeg(image),
        "mirrored": ImageOps.mirror(image),
        "of another mode": image.convert("RGBA"),
    }[change]
    assert list(
        group_near_duplicates([make_thumbnail(colour_patches(1)), make_thumbnail(image), make_thumbnail(other)])
    ) == [[1, 2]]


def test_different_images_are_not_near_duplicates() -> None:
    colours = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", (250, 0, 0))]
    half = colour_patches().convert("RGBA")
    half.paste((0, 0, 0, 0), (0, 0, 48, 96))
    for images in (colours, [colour_patches(), half], [colour_patches(), colour_patches().rotate(90)]):
        assert list(group_near_duplicates([make_thumbnail(image) for image in images])) == []
    assert list(group_near_duplicates([])) == list(group_near_duplicates([make_thumbnail(colour_patches())])) == []


@pytest.mark.parametrize("name", ["subject", "person", "style"])
def test_the_built_in_images_have_no_duplicates(name: str) -> None:
    assert load_dataset(resolve_images_path(f"builtin:{name}"))[1] == []


def test_each_group_of_near_duplicates_is_reported_once(tmp_path: Path) -> None:
    colour_patches().save(tmp_path / "a.png")
    colour_patches(side=80).save(tmp_path / "b.png")
    ImageOps.mirror(colour_patches()).save(tmp_path / "c.png")
    colour_patches(1).save(tmp_path / "d.png")
    [problem] = load_dataset(tmp_path)[1]
    assert (problem.path.name, problem.code) == ("a.png", "W4156")
    assert (problem.reason.values["files"], problem.reason.values["total"]) == ("b.png, c.png", 3)
