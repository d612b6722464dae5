"""The list of images says what becomes of each; crops and masks are files that training reads."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from PIL import Image

from tetrad.data.discover.image_files import get_mask_path
from tetrad.errors import TetradError
from tetrad.web.data_sets import DataSet, DataSets
from tetrad.web.image_list import ImageList, ImageRow, Progress, SetReport
from tetrad.web.resident import Resident


@pytest.fixture
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    return DataSets(tmp_path / "data").create("dogs")


def with_list(data_set: DataSet, use: Callable[[ImageList], Awaitable[None]]) -> None:
    async def run() -> None:
        images = Resident("tetrad.web.images_child")
        try:
            await use(ImageList(data_set, images))
        finally:
            await images.end()

    asyncio.run(run())


def patches(seed: int, side: int = 600) -> Image.Image:
    """A sharp image that is like no other."""
    return Image.effect_noise((side // 10, side // 10), 60 + seed).convert("RGB").resize((side, side), 0)


async def scan(images: ImageList) -> tuple[dict[str, ImageRow], SetReport]:
    found = [each async for each in images.scan()]
    assert isinstance(found[-1], SetReport)
    return {each.path.name: each for each in found if isinstance(each, ImageRow)}, found[-1]


def test_each_image_has_a_verdict_with_a_reason(data_set: DataSet) -> None:
    folder = data_set.folder
    patches(1).save(folder / "good.png")
    (folder / "good.txt").write_text("zkr dog")
    patches(2).convert("CMYK").save(folder / "cmyk.jpg")
    patches(3).save(folder / "first.png")
    (folder / "second.png").write_bytes((folder / "first.png").read_bytes())
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    (folder / "movie.psd").write_bytes(b"8BPS")

    async def use(images: ImageList) -> None:
        found = [each async for each in images.scan()]
        assert [each.done for each in found if isinstance(each, Progress)] == [1, 2, 3, 4, 5]
        rows, report = await scan(images)
        verdicts = {name: row.verdict for name, row in rows.items()}
        assert verdicts["good.png"] == "ready" and verdicts["cmyk.jpg"] == "fixed"
        assert verdicts["first.png"] == "ready" and verdicts["second.png"] == "look"  # the second is the copy
        assert verdicts["broken.jpg"] == verdicts["movie.psd"] == "unused"
        assert all(rows[name].reasons[0].code.startswith("E41") for name in ("broken.jpg", "movie.psd"))
        assert rows["good.png"].caption == "zkr dog" and rows["good.png"].width == 600
        assert [len(group) for group in report.copies] == [2] and rows["first.png"].id in report.copies[0]
        assert report.counts == {"used": 4, "fixed": 1, "skipped": 2}

    with_list(data_set, use)


def test_an_image_that_ends_the_process_is_named_and_the_others_are_looked_at(
    data_set: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        patches(number).save(data_set.folder / f"{number}.png")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))

    async def run() -> None:
        child = Resident("images_child_that_dies", ["1.png"])
        try:
            rows, report = await scan(ImageList(data_set, child))
        finally:
            await child.end()
        assert set(rows) == {"0.png", "2.png"}
        assert [(row.path.name, row.verdict, row.reasons[0].code) for row in report.culprits] == [
            ("1.png", "unused", "E6201")
        ]

    asyncio.run(run())


def test_a_crop_and_a_mask_are_written_and_taken_back(data_set: DataSet, tmp_path: Path) -> None:
    path = data_set.folder / "a.jpg"
    patches(1).resize((600, 300)).save(path)
    original = path.read_bytes()
    Image.new("L", (60, 30), 255).save(tmp_path / "mask.png")

    async def use(images: ImageList) -> None:
        image = data_set.id_of(path)
        assert await images.write_mask(image, tmp_path / "mask.png") == get_mask_path(path)
        with pytest.raises(TetradError, match="E4306"):
            await images.crop(image, (0, 0, 601, 10))
        assert not (await scan(images))[0]["a.jpg"].is_edited and path.read_bytes() == original
        assert await images.crop(image, (100, 50, 400, 250)) == path
        with Image.open(path) as cropped, Image.open(get_mask_path(path)) as mask:
            assert cropped.size == mask.size == (300, 200)
        rows, _report = await scan(images)
        assert list(rows) == ["a.jpg"] and rows["a.jpg"].has_mask and rows["a.jpg"].is_edited
        await images.rotate(image, is_clockwise=True)
        with Image.open(path) as rotated, Image.open(get_mask_path(path)) as mask:
            assert rotated.size == mask.size == (200, 300)
        with pytest.raises(TetradError, match="E4306"):
            await images.crop(image, (0, 0, 201, 10))  # of the image as it is now
        images.restore(image)
        assert path.read_bytes() == original
        with Image.open(get_mask_path(path)) as mask:
            assert mask.size == (600, 300)
        images.remove_mask(image)
        rows, _report = await scan(images)
        assert not rows["a.jpg"].has_mask and not rows["a.jpg"].is_edited

    with_list(data_set, use)


@pytest.mark.parametrize("suffix", ["png", "bmp"])  # a format that is saved as it is, and one that becomes PNG
def test_an_image_is_rotated_and_a_mask_of_the_rotated_one_goes_with_the_undo(
    suffix: str, data_set: DataSet, tmp_path: Path
) -> None:
    path = data_set.folder / f"a.{suffix}"
    image = patches(1).resize((60, 30))
    image.paste("red", (0, 0, 30, 30))
    image.save(path)
    Image.new("L", (60, 30), 255).save(tmp_path / "mask.png")

    async def use(images: ImageList) -> None:
        rotated = await images.rotate(data_set.id_of(path), is_clockwise=True)
        with Image.open(rotated) as found:
            assert found.size == (30, 60) and found.getpixel((15, 5)) == (255, 0, 0)
        await images.write_mask(data_set.id_of(rotated), tmp_path / "mask.png")
        rotated = await images.rotate(data_set.id_of(rotated), is_clockwise=False)
        with Image.open(rotated) as found, Image.open(get_mask_path(rotated)) as mask:
            assert found.size == mask.size == (60, 30) and found.getpixel((5, 15)) == (255, 0, 0)
        assert images.restore(data_set.id_of(rotated)) == path and not get_mask_path(path).exists()
        with pytest.raises(TetradError, match="E4306"):
            images.restore(data_set.id_of(path))

    with_list(data_set, use)
