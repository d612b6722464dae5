"""Thumbnails are made once for each content, in bounded space, and bad images are errors that end nothing."""

import asyncio
import io
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from PIL import Image

from tetrad.errors import TetradError
from tetrad.web.images_child import ThumbnailFolder
from tetrad.web.resident import Resident
from tetrad.web.thumbnails import Thumbnails


def with_thumbnails(folder: Path, use: Callable[[Thumbnails], Awaitable[None]]) -> None:
    async def run() -> None:
        images = Resident("tetrad.web.images_child")
        try:
            await use(Thumbnails(folder / "thumbnails", images))
        finally:
            await images.end()

    asyncio.run(run())


def save_photo(path: Path, width: int = 600, height: int = 300, colour: str = "red") -> Path:
    image = Image.effect_mandelbrot((width, height), (-2, -1, 1, 1), 30).convert("RGB")
    image.paste(colour, (0, 0, width // 2, height // 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(path, exif=exif)
    return path


def test_a_thumbnail_is_upright_small_and_made_once(tmp_path: Path) -> None:
    photo = save_photo(tmp_path / "photo.jpg")
    (tmp_path / "copy.jpg").write_bytes(photo.read_bytes())

    async def use(thumbnails: Thumbnails) -> None:
        small = await thumbnails.find_or_make(photo)
        with Image.open(small) as image:
            assert image.format == "WEBP" and image.size == (128, 256) and not image.getexif()
        made = small.stat().st_mtime_ns
        assert await thumbnails.find_or_make(tmp_path / "copy.jpg") == small  # the same content
        with Image.open(await thumbnails.find_or_make(photo, 1024)) as image:
            assert image.size == (300, 600)  # never enlarged
        save_photo(photo, colour="blue")
        assert await thumbnails.find_or_make(photo) != small and small.stat().st_mtime_ns >= made

    with_thumbnails(tmp_path, use)


def test_a_bad_image_is_an_error_and_the_next_one_is_made(tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (64, 64)).save(png, "PNG")
    bomb = bytearray(png.getvalue())
    bomb[16:24] = (60_000).to_bytes(4) * 2  # its header says that it has 3.6 gigapixels
    (tmp_path / "bomb.png").write_bytes(bomb)
    (tmp_path / "text.png").write_text("<script>")

    async def use(thumbnails: Thumbnails) -> None:
        for name, code in (("bomb.png", "E41"), ("text.png", "E4103"), ("missing.png", "E4120")):
            for _again in range(2):
                with pytest.raises(TetradError, match=code):
                    await thumbnails.find_or_make(tmp_path / name)
        assert (await thumbnails.find_or_make(save_photo(tmp_path / "good.jpg"))).exists()

    with_thumbnails(tmp_path, use)


@pytest.mark.skipif(os.name == "nt", reason="needs signals")
def test_an_image_that_ends_the_child_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo = tmp_path / "endless.jpg"
    os.mkfifo(fifo)  # opening it never returns
    monkeypatch.setattr("tetrad.web.thumbnails._SECONDS", 3.0)

    async def use(thumbnails: Thumbnails) -> None:
        good = save_photo(tmp_path / "good.jpg")
        bad, fine = await asyncio.gather(
            thumbnails.find_or_make(fifo), thumbnails.find_or_make(good), return_exceptions=True
        )
        assert isinstance(bad, TetradError) and bad.code == "E6202" and isinstance(fine, Path)

    with_thumbnails(tmp_path, use)


def test_the_thumbnails_that_nobody_looked_at_go_first(tmp_path: Path) -> None:
    folder = ThumbnailFolder(tmp_path / "thumbnails", max_bytes=3000)
    photos = [tmp_path / f"{number}.png" for number in range(4)]
    for number, photo in enumerate(photos):
        Image.effect_noise((64, 64), 40 + number).convert("RGB").save(photo)
    made = [folder.find_or_make(photo, 64) for photo in photos]
    for number, path in enumerate(made):
        os.utime(path, (number, number))
    folder.find_or_make(photos[0], 64)  # looked at again
    folder.sweep()
    assert [path.exists() for path in made][:2] == [True, False]
    assert sum(path.stat().st_size for path in made if path.exists()) <= 3000
