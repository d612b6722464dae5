"""Every folder gives its photos in a fixed order, and every file that is left out is reported with a code."""

import hashlib
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from photos import load_dataset
from PIL import Image, ImageFile

from tetrad.data.latent_cache import LatentCache
from tetrad.errors import TetradError
from tetrad.images import decoders
from tetrad.images.bands import UprightImage
from tetrad.images.examine import ImageInfo, examine_image
from tetrad.images.tensors import to_image


def image_bytes(file_format: str, width: int = 96, height: int = 64) -> bytes:
    """The bytes of a valid image of random pixels."""
    buffer = BytesIO()
    pixels = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    to_image(pixels).save(buffer, format=file_format)
    return buffer.getvalue()


def header_only_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def truncated(file_format: str, share: float) -> bytes:
    whole = image_bytes(file_format)
    return whole[: int(len(whole) * share)]


def damaged(file_format: str) -> bytes:
    whole = bytearray(image_bytes(file_format))
    whole[len(whole) // 2] ^= 0xFF
    return bytes(whole)


BAD_FILES = {
    "empty.jpg": (b"", "E4101"),
    "half.jpg": (truncated("JPEG", 0.5), "E4102"),
    "without_its_end.jpg": (image_bytes("JPEG")[:-2], "E4102"),
    "header.jpg": (image_bytes("JPEG")[:20], "E4102"),
    "header.png": (image_bytes("PNG")[:8], "E4102"),
    "header.gif": (image_bytes("GIF")[:8], "E4102"),
    "half.png": (truncated("PNG", 0.5), "E4102"),
    "half.webp": (truncated("WEBP", 0.5), "E4102"),
    "half.gif": (truncated("GIF", 0.5), "E4102"),
    "half.bmp": (truncated("BMP", 0.5), "E4102"),
    "half.tif": (truncated("TIFF", 0.5), "E4102"),
    "half.avif": (truncated("AVIF", 0.5), "E4102"),
    "one_byte.png": (b"\xff", "E4103"),
    "text.jpg": (b"just some words\n", "E4103"),
    "chinese_text.jpg": ("你好，世界".encode() * 400, "E4103"),
    "bytes.png": (bytes(range(256)), "E4103"),
    "sound.jpg": (b"RIFF\x24\x10\0\0WAVEfmt ", "E4103"),
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
    "camera.dng": (image_bytes("TIFF"), "E4109"),
    "one_pixel.png": (image_bytes("PNG", 1, 1), "E4110"),
    "small.png": (image_bytes("PNG", 64, 63), "E4110"),
    "strip.png": (image_bytes("PNG", 700, 69), "E4111"),
    "bomb.png": (header_only_png(10_000, 10_000), "E4112"),
    "larger_bomb.png": (header_only_png(20_000, 20_000), "E4112"),
}


def write_images(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image_bytes("PNG", 96 + number))
    return folder


def list_photo_names(folder: Path) -> list[str]:
    return [photo.path.relative_to(folder).as_posix() for photo in load_dataset(folder)[0]]


@pytest.mark.usefixtures("without_plugins")
@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_reported_and_the_good_one_is_used(tmp_path: Path, name: str) -> None:
    write_images(tmp_path, "good.png")
    (tmp_path / name).write_bytes(BAD_FILES[name][0])
    good, [skipped] = load_dataset(tmp_path)
    assert [photo.path.name for photo in good] == ["good.png"]
    assert (skipped.path.name, skipped.code) == (name, BAD_FILES[name][1])
    assert re.search(r"\w+ \w+ .*; \w+", str(skipped.reason)), "what is wrong; what would work"


@pytest.mark.parametrize(
    ("name", "extra", "code"), [("phone.HEIC", "heic", "E4107"), ("new.jxl", "jxl", "E4108"), ("net.avif", "", "")]
)
def test_heic_and_jpeg_xl_need_a_plugin_whose_extra_the_error_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, extra: str, code: str
) -> None:
    decoders.list_formats()  # registers the plugins, so that Pillow can write the file
    write_images(tmp_path, "good.png")
    Image.effect_noise((80, 64), 50).convert("RGB").save(tmp_path / name.lower())
    (tmp_path / name.lower()).rename(tmp_path / name)
    good, problems = load_dataset(tmp_path)
    assert {photo.path.name: (photo.width, photo.height) for photo in good}[name] == (80, 64) and not problems
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert {problem.code for problem in load_dataset(tmp_path)[1]} <= {"E4102", "E4106"}, "the plugin is there"
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(decoders, "_PLUGINS", ())
    decoders.list_formats.cache_clear()
    skipped = {problem.code: str(problem.reason) for problem in load_dataset(tmp_path)[1]}
    decoders.list_formats.cache_clear()
    assert set(skipped) == ({code} if code else set())
    assert not code or f'".[{extra}]"' in skipped[code]


def test_a_text_file_is_reported_as_text(tmp_path: Path) -> None:
    write_images(tmp_path, "good.png")
    for name in ("text.jpg", "chinese_text.jpg", "bytes.png"):
        (tmp_path / name).write_bytes(BAD_FILES[name][0])
    is_called_text = {skipped.path.name: "text" in str(skipped.reason) for skipped in load_dataset(tmp_path)[1]}
    assert is_called_text == {"text.jpg": True, "chinese_text.jpg": True, "bytes.png": False}


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "good.png")
    (tmp_path / "bomb.png").write_bytes(BAD_FILES["bomb.png"][0])
    loaded = []
    load = ImageFile.ImageFile.load

    def record_size(image: ImageFile.ImageFile) -> object:
        loaded.append(image.size)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", record_size)
    load_dataset(tmp_path)
    assert set(loaded) == {(96, 64)}


def test_a_photo_has_the_upright_size_and_the_hash_of_its_file(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (120, 70), "red").save(tmp_path / "side.jpg", exif=exif)
    [photo], _ = load_dataset(tmp_path)
    assert (photo.width, photo.height) == (70, 120)
    assert photo.file_hash == hashlib.sha256((tmp_path / "side.jpg").read_bytes()).hexdigest()


def test_photos_of_all_subfolders_are_sorted_by_name(tmp_path: Path) -> None:
    write_images(tmp_path, "b.PNG", "a.png", "10/x.jpeg", "10/deep/er/y.WebP", "ten.TIFF")
    assert list_photo_names(tmp_path) == ["10/deep/er/y.WebP", "10/x.jpeg", "a.png", "b.PNG", "ten.TIFF"]


def test_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", ".hidden.png", "._a.png", ".cache/b.png", "__MACOSX/c.png")
    for name in ("notes.md", "a.log", "plain"):
        (tmp_path / name).write_bytes(b"some text")
    assert list_photo_names(tmp_path) == ["a.png"]
    assert load_dataset(tmp_path)[1] == []


@pytest.mark.parametrize("name", [
    "emoji 🐱.png", "数据集/猫.png", "cafe\u0301.png", "caf\u00e9.png", "right\u200f.png", "n" * 251 + ".png",
    " space .png", "dots...png", "/".join(["long" * 20] * 5) + "/a.png",
])  # fmt: skip
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    assert list_photo_names(write_images(tmp_path, name)) == [name]


def test_a_file_name_may_be_invalid_unicode(tmp_path: Path) -> None:
    write_images(tmp_path, os.fsdecode(b"caf\xe9.png"))
    [photo], _ = load_dataset(tmp_path)
    assert photo.caption == "caf"


def test_links_to_folders_are_reported_and_not_followed(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "below/b.png")
    (tmp_path / "below" / "loop").symlink_to(tmp_path)
    good, [skipped] = load_dataset(tmp_path)
    assert [photo.path.name for photo in good] == ["a.png", "b.png"]
    assert (skipped.path.name, skipped.code) == ("loop", "E4121")


def test_links_to_images_are_followed_and_broken_links_are_reported(tmp_path: Path) -> None:
    write_images(tmp_path, "elsewhere/a.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "good.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "set" / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "linked_set").symlink_to(tmp_path / "set")
    good, [skipped] = load_dataset(tmp_path / "linked_set")
    assert (good[0].path.name, skipped.path.name, skipped.code) == ("good.png", "gone.png", "E4120")


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait forever
    for name in ("a.txt", "metadata.jsonl", "plain"):
        os.mkfifo(tmp_path / name)
    good, problems = load_dataset(tmp_path)
    named = [("a.txt", "E4152"), ("metadata.jsonl", "E4152"), ("pipe.png", "E4120")]
    assert len(good) == 1 and [(problem.path.name, problem.code) for problem in problems] == named


@pytest.mark.parametrize("name", ["photo", "a.jpg_large", "a.png.part", "a.jpg~", "a.jpg.bak"])
def test_an_image_that_is_not_named_like_one_is_named(tmp_path: Path, name: str) -> None:
    write_images(tmp_path, "good.png")
    shutil.copy(tmp_path / "good.png", tmp_path / name)
    good, [skipped] = load_dataset(tmp_path)
    assert (len(good), skipped.path.name, skipped.code) == (1, name, "E4113")


def test_a_download_that_is_not_complete_is_not_to_be_renamed(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    (tmp_path / "b.jpg.crdownload").write_bytes(image_bytes("JPEG", 100, 100)[:300])
    _good, [skipped] = load_dataset(tmp_path)
    assert skipped.code == "E4113" and "download it again" in str(skipped.reason)


def test_a_pipe_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    for name in ("pipe", "pipe.zip", "pipe.toml"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(TetradError, match=r"E4001.*neither a folder nor a file"):
            load_dataset(tmp_path / name)


def test_captions_of_no_image_videos_and_archives_are_named(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    for name in ("a.txt", "b.png.txt", "c.MOV", "d.zip"):
        (tmp_path / name).write_bytes(b"a cat")
    problems = {problem.code: str(problem.reason) for problem in load_dataset(tmp_path)[1] if problem.code != "W4156"}
    assert set(problems) == {"W4162", "W4163", "W4164"}
    assert "b.png.txt" in problems["W4162"] and "c.MOV" in problems["W4163"] and "d.zip" in problems["W4164"]


def test_a_file_without_read_permission_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "a.png", "locked.png")
    original_open = Path.open

    def refuse(path: Path, *arguments: Any) -> object:  # a mode of 000 would not stop root
        if path.name == "locked.png":
            raise PermissionError(13, "Permission denied", str(path))
        return original_open(path, *arguments)

    monkeypatch.setattr(Path, "open", refuse)
    good, [skipped] = load_dataset(tmp_path)
    assert (len(good), skipped.path.name, skipped.code) == (1, "locked.png", "E4120")


def test_a_folder_without_permission_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "a.png", "locked/b.png")
    original_scandir = os.scandir

    def refuse(folder: Path) -> object:
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied", str(folder))
        return original_scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    good, [skipped] = load_dataset(tmp_path)
    assert (len(good), skipped.path.name, skipped.code) == (1, "locked", "E4120")


def test_files_of_a_folder_that_may_be_listed_but_not_entered_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, "a.png", "locked/b.png")
    (tmp_path / "locked" / "b.txt").write_text("a red hat")
    original_stat = Path.stat

    def refuse(path: Path, **options: Any) -> os.stat_result:
        if path.parent.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return original_stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    good, [skipped] = load_dataset(tmp_path)
    assert (len(good), skipped.path.name, skipped.code) == (1, "b.png", "E4120")
    assert "Permission denied" in str(skipped.reason)


def test_a_path_inside_the_folder_that_is_too_long_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "a.png")
    with monkeypatch.context() as change:
        change.chdir(tmp_path)
        for _level in range(24):
            length = min(200, 4090 - len(str(Path.cwd())))  # at 4096 bytes the system refuses
            if length > 0:
                Path("d" * length).mkdir()
                change.chdir("d" * length)
        write_images(Path(), "too_long.png")
        Path("too_long.txt").write_text("a red hat")
        Path("below").mkdir()
    good, skipped = load_dataset(tmp_path)
    assert [photo.path.name for photo in good] == ["a.png"]
    assert {(each.path.name, each.code) for each in skipped} == {("too_long.png", "E4120"), ("below", "E4120")}
    assert all("too long" in str(each.reason) for each in skipped)


def test_the_path_may_be_a_single_image(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png")
    (tmp_path / "a.txt").write_text("a red hat")
    [photo], skipped = load_dataset(tmp_path / "a.png")
    assert (photo.path.name, photo.caption, skipped) == ("a.png", "a red hat", [])


def load_error(folder: Path) -> TetradError:
    with pytest.raises(TetradError) as caught:
        load_dataset(folder)
    assert "\n" not in caught.value.message and str(folder) in caught.value.message
    return caught.value


def test_the_error_for_a_missing_folder_lists_its_siblings(tmp_path: Path) -> None:
    write_images(tmp_path, "my_dog/a.png")
    error = load_error(tmp_path / "my_dogs")
    assert (error.code, error.sentence.values["folders"]) == ("E4001", "my_dog")


def test_the_error_for_a_folder_without_images_says_what_is_in_it(tmp_path: Path) -> None:
    assert (load_error(tmp_path).code, "is empty" in load_error(tmp_path).message) == ("E4002", True)
    for name in ("a.txt", "b.txt", "set.zip", "plain"):
        (tmp_path / name).write_bytes(b"some text")
    error = load_error(tmp_path)
    assert error.code == "E4002"
    assert str(error.sentence.values["files"]) == "2 .txt, 1 file without an extension, 1 .zip"
    assert load_error(tmp_path / "a.txt").code == "E4002"


def test_the_error_for_a_folder_of_bad_images_has_their_number_and_the_first_reason(tmp_path: Path) -> None:
    for name in ("b.heic", "a.jpg", "c.png"):
        (tmp_path / name).write_bytes(b"")
    error = load_error(tmp_path)
    values = error.sentence.values
    assert (error.code, values["count"], values["file"], values["code"]) == ("E4003", 3, "a.jpg", "E4101")
    assert "a.jpg: the file is empty" in error.message


def test_an_image_is_used_even_if_its_caption_file_is_bad(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    (tmp_path / "a.txt").write_text("word " * 30_000)
    [photo], [skipped] = load_dataset(tmp_path, trigger_word="zkr")
    assert (photo.caption, photo.caption_source) == ("a photo of zkr", "trigger word")
    assert (skipped.path.name, skipped.code) == ("a.txt", "E4151")


def test_a_cached_image_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "set/a.png")
    (tmp_path / "set" / "b.jpg").write_bytes(image_bytes("JPEG", 140, 100))
    (tmp_path / "set" / "bad.jpg").write_bytes(truncated("JPEG", 0.5))
    decoded = []

    def record_name(path: Path, use_whole: Callable[[UprightImage], object]) -> ImageInfo:
        decoded.append(path.name)
        return examine_image(path, use_whole)

    monkeypatch.setattr("tetrad.data.dataset.examine_image", record_name)
    first = load_dataset(tmp_path / "set", cache=LatentCache(tmp_path / "cache"))
    assert sorted(decoded) == ["a.png", "b.jpg", "bad.jpg"]
    assert load_dataset(tmp_path / "set", cache=LatentCache(tmp_path / "cache")) == first
    assert sorted(decoded[3:]) == ["bad.jpg"], "bad files are not cached"

    (tmp_path / "set" / "a.png").write_bytes(image_bytes("PNG", 180, 70))
    good, _ = load_dataset(tmp_path / "set", cache=LatentCache(tmp_path / "cache"))
    assert (good[0].width, good[0].height) == (180, 70)
