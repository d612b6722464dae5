"""A zip archive of images is read like a folder; no member is written outside, and bombs are not unpacked."""

import io
import os
import stat
import time
import zipfile
from pathlib import Path

import pytest
from photos import load_dataset
from PIL import Image

from tetrad.data.dataset import collect_photos, inspect_photos
from tetrad.data.discover import zip_archives
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.errors import TetradError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 40 + seed).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def pack(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return path


def refusal(path: Path) -> TetradError:
    with pytest.raises(TetradError) as caught:
        load_dataset(path)
    return caught.value


def test_images_captions_and_kohya_folders_are_read(tmp_path: Path) -> None:
    members = {"set/10_zkr dog/a.png": png(), "set/10_zkr dog/a.txt": b"zkr dog, asleep", "set/reg/1_dog/b.png": png(1)}
    members |= {"__MACOSX/set/._a.png": b"x", "set/readme.exe": b"MZ"}
    photos, problems = load_dataset(pack(tmp_path / "set.zip", members))
    assert [(photo.path.name, photo.caption, photo.subset.repeats) for photo in photos] == [
        ("a.png", "zkr dog, asleep", 10),
        ("b.png", "dog", 1),
    ]
    assert not problems


def test_an_archive_is_unpacked_once_until_it_changes(tmp_path: Path, cache: Path) -> None:
    path = pack(tmp_path / "set.zip", {"a.png": png()})
    first = load_dataset(path)[0][0].path
    written = first.stat().st_mtime_ns
    assert load_dataset(path)[0][0].path == first and first.stat().st_mtime_ns == written
    pack(path, {"a.png": png(1)})
    assert load_dataset(path)[0][0].path != first
    unused = cache / "archives" / "old"
    unused.mkdir()
    os.utime(unused, (time.time() - 40 * 86400,) * 2)
    load_dataset(path)
    assert not unused.exists() and first.exists()


# Rows 73 to 81 of the corpus of bad inputs: the name of a member, and what is said about it.
BAD_MEMBERS = {
    "../evil.png": "leads out",
    "/etc/evil.png": "leads out",
    "..\\evil.png": "leads out",
    "C:\\evil.png": "leads out",
    "evil\0.png": "control characters",
    "evil.png\0.txt": "control characters",
    "e" * 240 + ".png": "too long",
    "/".join(["n" * 190] * 20) + "/evil.png": "too long",
    "inner.zip": "not unpacked",
}


@pytest.mark.parametrize("name", BAD_MEMBERS)
def test_a_bad_name_is_left_out_and_nothing_is_written_outside(tmp_path: Path, cache: Path, name: str) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.png", png())
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, png(1))
    photos, [problem] = load_dataset(path)
    assert [photo.path.name for photo in photos] == ["good.png"]
    assert problem.code == "E4122" and problem.is_skipped_image and BAD_MEMBERS[name] in str(problem.reason)
    written = {each for each in tmp_path.rglob("*.png")}
    assert {each.name for each in written} == {"good.png"} and all(each.is_relative_to(cache) for each in written)


def test_misnamed_images_and_videos_are_named_as_in_a_folder(tmp_path: Path) -> None:
    others = {"b.jpg_large": png(1), "c.png ": png(2), "clip.mp4": b"x", ".hidden": png(3), "notes.md": b"x"}
    path = pack(tmp_path / "set.zip", {"a.png": png()} | others)
    photos, problems = load_dataset(path)
    assert [photo.path.name for photo in photos] == ["a.png"]
    assert [(problem.code, problem.path.name) for problem in problems] == [
        ("W4163", "set.zip"),
        ("E4113", "b.jpg_large"),
        ("E4113", "c.png "),
    ]


def test_two_members_of_one_name_are_one_file_and_a_report(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for name in ("a.png", "a.png", "A.PNG"):
            archive.writestr(name, png())
    photos, problems = load_dataset(path)
    assert len(photos) == 1 and [problem.code for problem in problems] == ["E4122", "E4122"]


def test_links_and_encrypted_members_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.png", png())
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("secret.png", png())
    content = bytearray(path.read_bytes())
    start = content.rindex(b"PK\x01\x02")  # the entry of the last member in the directory
    content[start + 8] |= 1
    path.write_bytes(content)
    photos, problems = load_dataset(path)
    assert [photo.path.name for photo in photos] == ["good.png"]
    assert ["link" in str(problems[0].reason), "password" in str(problems[1].reason)] == [True, True]


def test_a_damaged_member_is_reported_on_every_use(tmp_path: Path) -> None:
    path = pack(tmp_path / "set.zip", {"good.png": png(), "bad.png": png(1)}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"bad.png") + 500] ^= 0xFF
    path.write_bytes(content)
    for _use in range(2):
        photos, [problem] = load_dataset(path)
        assert len(photos) == 1 and (problem.path.name, problem.code) == ("bad.png", "E4122")


def change_entry(path: Path, offset: int, value: bytes) -> None:
    """Overwrite a field of the last member's entry in the directory of an archive."""
    content = bytearray(path.read_bytes())
    start = content.rindex(b"PK\x01\x02") + offset
    content[start : start + len(value)] = value
    path.write_bytes(content)


def test_a_member_that_python_cannot_decompress_is_left_out(tmp_path: Path) -> None:
    path = pack(tmp_path / "set.zip", {"good.png": png(), "zstd.png": png(1)})
    change_entry(path, 10, b"\x5d")
    photos, [problem] = load_dataset(path)
    assert len(photos) == 1 and problem.code == "E4122" and "compressed in a way" in str(problem.reason)


def test_a_member_of_damaged_bz2_data_is_left_out(tmp_path: Path) -> None:
    path = pack(tmp_path / "set.zip", {"good.png": png(), "bad.png": png(1)}, zipfile.ZIP_BZIP2)
    content = bytearray(path.read_bytes())
    place = content.rindex(b"BZh")
    content[place : place + 3] = b"xxx"
    path.write_bytes(content)
    photos, [problem] = load_dataset(path)
    assert len(photos) == 1 and problem.code == "E4122" and "damaged" in str(problem.reason)


def test_an_archive_whose_directory_is_said_to_be_elsewhere_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "set.zip", {"a.png": png()})
    content = bytearray(path.read_bytes())
    content[-6:-2] = (2**31).to_bytes(4, "little")
    path.write_bytes(content)
    assert refusal(path).code == "E4180"


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, cache: Path) -> None:
    error = refusal(pack(tmp_path / "bomb.zip", {"a.png": bytes(20_000_000)}))
    assert error.code == "E4181" and not list(cache.rglob("a.png"))


def test_too_many_or_too_large_members_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "set.zip", {f"{number}.png": png() for number in range(4)})
    for name, limit in (("_MAX_MEMBERS", 3), ("_MAX_BYTES", 5000)):
        with monkeypatch.context() as patch:
            patch.setattr(zip_archives, name, limit)
            assert refusal(path).code == "E4181"
    assert len(load_dataset(path)[0]) == 4


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "E4180"), (b"PK\x03\x04 and no more", "E4180"), (b"<!doctype html>", "E4180")]
)
def test_what_is_no_whole_archive_is_refused(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "set.zip").write_bytes(content)
    assert refusal(tmp_path / "set.zip").code == code
    whole = pack(tmp_path / "whole.zip", {"a.png": png()}).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) - 30])
    assert refusal(tmp_path / "cut.zip").code == "E4180"


def test_other_archives_and_archives_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set.rar").write_bytes(b"Rar!")
    assert refusal(tmp_path / "set.rar").code == "E4180"
    error = refusal(pack(tmp_path / "set.zip", {"a.txt": b"no image"}))
    assert error.code == "E4002" and "set.zip" in error.message
    nested = pack(tmp_path / "nested.zip", {"inner.zip": b"PK"})
    assert refusal(nested).code == "E4003" and "inner.zip" in refusal(nested).message


def test_chinese_names_of_old_archives_are_read(tmp_path: Path) -> None:
    path = pack(tmp_path / "set.zip", {"mao01.png": png()})
    name = "猫图".encode("gb18030")
    path.write_bytes(path.read_bytes().replace(b"mao01.png", name + b"1.png"))
    [photo], _problems = load_dataset(path)
    assert photo.path.name == "猫图1.png"


def test_names_that_disagree_between_the_two_directories_are_left_out(tmp_path: Path) -> None:
    path = pack(tmp_path / "set.zip", {"good.png": png(), "evil1.png": png(1)})
    content = path.read_bytes()
    first = content.index(b"evil1.png")
    path.write_bytes(content[:first] + b"evil2.png" + content[first + 9 :])
    photos, [problem] = load_dataset(path)
    assert [photo.path.name for photo in photos] == ["good.png"] and problem.code == "E4122"


def test_a_listing_knows_its_archive(tmp_path: Path) -> None:
    path = pack(tmp_path / "set.zip", {"a.png": png()})
    listing = list_dataset(path)
    assert listing.archive == path and collect_photos(listing, inspect_photos(listing))[0]
