"""Any folder gives its photos in a fixed order, and every file that is left out is named with a code."""

import hashlib
import os
import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageFile

from tetrad.data.cache import Cache
from tetrad.data.folder import photos
from tetrad.data.images import to_image, upright
from tetrad.errors import TetradError


def content(kind: str, width: int = 48, height: int = 32) -> bytes:
    """The bytes of a good picture with much detail."""
    written = BytesIO()
    pixels = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    to_image(pixels).save(written, format=kind)
    return written.getvalue()


def header_only_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def part(kind: str, share: float) -> bytes:
    return content(kind)[: int(len(content(kind)) * share)]


def damaged(kind: str) -> bytes:
    whole = bytearray(content(kind))
    whole[len(whole) // 2] ^= 0xFF
    return bytes(whole)


BAD = {
    "empty.jpg": (b"", "E4101"),
    "half.jpg": (part("JPEG", 0.5), "E4102"),
    "without_its_end.jpg": (content("JPEG")[:-2], "E4102"),
    "header.jpg": (content("JPEG")[:20], "E4102"),
    "header.png": (content("PNG")[:8], "E4102"),
    "header.gif": (content("GIF")[:8], "E4102"),
    "half.png": (part("PNG", 0.5), "E4102"),
    "half.webp": (part("WEBP", 0.5), "E4102"),
    "half.gif": (part("GIF", 0.5), "E4102"),
    "half.bmp": (part("BMP", 0.5), "E4102"),
    "half.tif": (part("TIFF", 0.5), "E4102"),
    "half.avif": (part("AVIF", 0.5), "E4102"),
    "one_byte.png": (b"\xff", "E4103"),
    "text.jpg": (b"just some words\n", "E4103"),
    "chinese_text.jpg": ("你好，世界".encode() * 400, "E4103"),
    "bytes.png": (bytes(range(256)), "E4103"),
    "no_size.png": (header_only_png(0, 0), "E4103"),
    "page.png": (b"\n<!DOCTYPE html><html><body>404</body></html>", "E4104"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "E4105"),
    "one_wrong_byte.png": (damaged("PNG"), "E4106"),
    "really_heic.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "E4107"),
    "phone.HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "E4107"),
    "new.jxl": (b"\xff\x0a\0\0", "E4108"),
    "script.svg": (b"<svg onload='alert(1)'></svg>", "E4109"),
    "really_svg.png": (b"<?xml version='1.0'?>\n<svg></svg>", "E4109"),
    "layers.psd": (b"8BPS\0\x01", "E4109"),
    "really_psd.jpg": (b"8BPS\0\x01", "E4109"),
    "paper.pdf": (b"%PDF-1.7", "E4109"),
    "really_eps.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0", "E4109"),
    "camera.dng": (content("TIFF"), "E4109"),
    "one_pixel.png": (content("PNG", 1, 1), "E4110"),
    "strip.png": (content("PNG", 400, 15), "E4110"),
    "bomb.png": (header_only_png(10_000, 10_000), "E4112"),
    "larger_bomb.png": (header_only_png(20_000, 20_000), "E4112"),
}


def filled(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content("PNG", 48 + number))
    return folder


def names(folder: Path) -> list[str]:
    return [photo.path.relative_to(folder).as_posix() for photo in photos(folder)[0]]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named_and_the_good_one_is_used(tmp_path: Path, name: str) -> None:
    filled(tmp_path, "good.png")
    (tmp_path / name).write_bytes(BAD[name][0])
    good, [skipped] = photos(tmp_path)
    assert [photo.path.name for photo in good] == ["good.png"]
    assert (skipped.path.name, skipped.code) == (name, BAD[name][1])
    assert re.search(r"\w+ \w+ .*(; | (so|which) )", skipped.reason), "a clause, and what would work"


def test_text_and_pictures_from_elsewhere_are_told_apart(tmp_path: Path) -> None:
    filled(tmp_path, "good.png")
    for name in ("text.jpg", "chinese_text.jpg", "bytes.png"):
        (tmp_path / name).write_bytes(BAD[name][0])
    reasons = {skipped.path.name: "looks like text" in skipped.reason for skipped in photos(tmp_path)[1]}
    assert reasons == {"text.jpg": True, "chinese_text.jpg": True, "bytes.png": False}


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, "good.png")
    (tmp_path / "bomb.png").write_bytes(BAD["bomb.png"][0])
    loaded = []
    load = ImageFile.ImageFile.load

    def counted(image: ImageFile.ImageFile) -> object:
        loaded.append(image.size)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counted)
    photos(tmp_path)
    assert set(loaded) == {(48, 32)}


def test_a_photo_is_what_its_file_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 20), "red").save(tmp_path / "side.jpg", exif=exif)
    [photo], _ = photos(tmp_path)
    assert (photo.width, photo.height) == (20, 60)
    assert photo.digest == hashlib.sha256((tmp_path / "side.jpg").read_bytes()).hexdigest()


def test_photos_come_by_name_from_every_folder_below(tmp_path: Path) -> None:
    filled(tmp_path, "b.PNG", "a.png", "10/x.jpeg", "10/deep/er/y.WebP", "ten.TIFF")
    assert names(tmp_path) == ["10/deep/er/y.WebP", "10/x.jpeg", "a.png", "b.PNG", "ten.TIFF"]


def test_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    filled(tmp_path, "a.png", ".hidden.png", "._a.png", ".cache/b.png", "__MACOSX/c.png", "notes.md", "a.zip", "plain")
    assert names(tmp_path) == ["a.png"]
    assert photos(tmp_path)[1] == []


@pytest.mark.parametrize("name", [
    "emoji 🐱.png", "数据集/猫.png", "cafe\u0301.png", "caf\u00e9.png", "right\u200f.png", "n" * 251 + ".png",
    " space .png", "dots...png", "/".join(["long" * 20] * 5) + "/a.png",
])  # fmt: skip
def test_any_name_is_a_name(tmp_path: Path, name: str) -> None:
    assert names(filled(tmp_path, name)) == [name]


def test_a_name_that_is_not_unicode_is_a_name(tmp_path: Path) -> None:
    filled(tmp_path, os.fsdecode(b"caf\xe9.png"))
    [photo], _ = photos(tmp_path)
    assert photo.caption == "caf"


def test_links_to_folders_are_named_and_not_followed(tmp_path: Path) -> None:
    filled(tmp_path, "a.png", "below/b.png")
    (tmp_path / "below" / "loop").symlink_to(tmp_path)
    good, [skipped] = photos(tmp_path)
    assert [photo.path.name for photo in good] == ["a.png", "b.png"]
    assert (skipped.path.name, skipped.code) == ("loop", "E4121")


def test_a_link_to_a_picture_is_that_picture_and_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    filled(tmp_path, "elsewhere/a.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "good.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "set" / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "linked_set").symlink_to(tmp_path / "set")
    good, [skipped] = photos(tmp_path / "linked_set")
    assert (good[0].path.name, skipped.path.name, skipped.code) == ("good.png", "gone.png", "E4120")


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    filled(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait forever
    os.mkfifo(tmp_path / "a.txt")
    good, [skipped] = photos(tmp_path)
    assert (len(good), skipped.path.name, skipped.code) == (1, "pipe.png", "E4120")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, "a.png", "locked.png")
    opening = Path.open

    def refuse(path: Path, *arguments: Any) -> object:  # a mode of 000 would not stop root
        if path.name == "locked.png":
            raise PermissionError(13, "Permission denied", str(path))
        return opening(path, *arguments)

    monkeypatch.setattr(Path, "open", refuse)
    good, [skipped] = photos(tmp_path)
    assert (len(good), skipped.path.name, skipped.code) == (1, "locked.png", "E4120")


def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, "a.png", "locked/b.png")
    scanning = os.scandir

    def refuse(place: Path) -> object:
        if Path(place).name == "locked":
            raise PermissionError(13, "Permission denied", str(place))
        return scanning(place)

    monkeypatch.setattr(os, "scandir", refuse)
    good, [skipped] = photos(tmp_path)
    assert (len(good), skipped.path.name, skipped.code) == (1, "locked", "E4120")


def test_a_single_picture_is_enough(tmp_path: Path) -> None:
    filled(tmp_path, "a.png", "b.png")
    (tmp_path / "a.txt").write_text("a red hat")
    [photo], skipped = photos(tmp_path / "a.png")
    assert (photo.path.name, photo.caption, skipped) == ("a.png", "a red hat", [])


def refusal(folder: Path) -> TetradError:
    with pytest.raises(TetradError) as caught:
        photos(folder)
    assert "\n" not in caught.value.message and str(folder) in caught.value.message
    return caught.value


def test_a_missing_folder_is_refused_with_its_neighbours(tmp_path: Path) -> None:
    filled(tmp_path, "my_dog/a.png")
    error = refusal(tmp_path / "my_dogs")
    assert error.code == "E4001" and "my_dog;" in error.message.replace(")", "")


def test_a_folder_without_pictures_says_what_is_in_it(tmp_path: Path) -> None:
    assert (refusal(tmp_path).code, "it is empty" in refusal(tmp_path).message) == ("E4002", True)
    filled(tmp_path, "a.txt", "b.txt", "set.zip")
    assert (refusal(tmp_path).code, "2 .txt, 1 .zip" in refusal(tmp_path).message) == ("E4002", True)
    assert refusal(tmp_path / "a.txt").code == "E4002"


def test_a_folder_of_bad_pictures_names_the_first_and_how_many(tmp_path: Path) -> None:
    for name in ("b.heic", "a.jpg", "c.png"):
        (tmp_path / name).write_bytes(b"")
    error = refusal(tmp_path)
    assert error.code == "E4003"
    assert "none of the 3 pictures" in error.message and "a.jpg: the file is empty" in error.message


def test_a_caption_that_cannot_be_used_does_not_lose_its_picture(tmp_path: Path) -> None:
    filled(tmp_path, "a.png")
    (tmp_path / "a.txt").write_text("word " * 30_000)
    [photo], [skipped] = photos(tmp_path, word="zkr")
    assert (photo.caption, photo.caption_source) == ("a photo of zkr", "word")
    assert (skipped.path.name, skipped.code) == ("a.txt", "E4151")


def test_a_picture_is_decoded_once_in_its_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, "set/a.png")
    (tmp_path / "set" / "b.jpg").write_bytes(content("JPEG", 70, 50))
    (tmp_path / "set" / "bad.jpg").write_bytes(part("JPEG", 0.5))
    decoded = []

    def counted(path: Path) -> Image.Image:
        decoded.append(path.name)
        return upright(path)

    monkeypatch.setattr("tetrad.data.folder.upright", counted)
    first = photos(tmp_path / "set", cache=Cache(tmp_path / "cache"))
    assert sorted(decoded) == ["a.png", "b.jpg", "bad.jpg"]
    assert photos(tmp_path / "set", cache=Cache(tmp_path / "cache")) == first
    assert sorted(decoded[3:]) == ["bad.jpg"], "what is bad is looked at anew"

    (tmp_path / "set" / "a.png").write_bytes(content("PNG", 90, 30))
    good, _ = photos(tmp_path / "set", cache=Cache(tmp_path / "cache"))
    assert (good[0].width, good[0].height) == (90, 30)
