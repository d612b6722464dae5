"""Pictures that are nearly the same are told, whatever was done to one of them; those that only look alike are not."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps

from tetrad.builtin import samples_path
from tetrad.data.folder import photos
from tetrad.data.similar import alike, look


def picture(seed: int = 0, side: int = 96) -> Image.Image:
    """Patches of colour, with an edge that transparency can be put on."""
    patches = torch.randint(256, (6, 6, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.frombytes("RGB", (6, 6), patches.numpy().tobytes()).resize((side, side))


def saved_again(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=40)
    return Image.open(content)


@pytest.mark.parametrize("what", ["smaller", "larger", "saved again", "mirrored", "of another mode"])
def test_a_picture_is_known_again(what: str) -> None:
    image = picture()
    other = {
        "smaller": image.resize((50, 50)),
        "larger": image.resize((1000, 1000)),
        "saved again": saved_again(image),
        "mirrored": ImageOps.mirror(image),
        "of another mode": image.convert("RGBA"),
    }[what]
    assert list(alike([look(picture(1)), look(image), look(other)])) == [[1, 2]]


def test_other_pictures_are_others() -> None:
    colours = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", (250, 0, 0))]
    half = picture().convert("RGBA")
    half.paste((0, 0, 0, 0), (0, 0, 48, 96))
    for images in (colours, [picture(), half], [picture(), picture().rotate(90)]):
        assert list(alike([look(image) for image in images])) == []
    assert list(alike([])) == list(alike([look(picture())])) == []


@pytest.mark.parametrize("name", ["subject", "person", "style"])
def test_the_samples_are_different_pictures(name: str) -> None:
    assert photos(samples_path(f"builtin:{name}"))[1] == []


def test_each_group_is_told_once(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    picture(side=80).save(tmp_path / "b.png")
    ImageOps.mirror(picture()).save(tmp_path / "c.png")
    picture(1).save(tmp_path / "d.png")
    [told] = photos(tmp_path)[1]
    assert (told.path.name, told.code) == ("a.png", "W4156")
    assert told.reason == "b.png and c.png are nearly the same picture, which so counts 3 times"
