"""Tar shards are read like a folder, in place; what is missing or damaged is named with its shard."""

import io
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from photos import load_dataset
from PIL import Image

from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.shards.member_path import MemberPath
from tetrad.errors import TetradError


@cache
def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 40 + seed).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def pack(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return path


def pack_shards(folder: Path, count: int = 2) -> Path:
    """Shards of two images each: the first with a text, the second with a JSON file."""
    for shard in range(count):
        members = {
            "0001.png": png(2 * shard),
            "0001.txt": f"zkr {shard}".encode(),
            "0002.png": png(2 * shard + 1),
            "0002.json": f'{{"caption": "a cat {shard}"}}'.encode(),
        }
        pack(folder / f"shard-{shard:03}.tar", members)
    return folder


@pytest.mark.parametrize("pattern", ["", "*.tar", "shard-{000..001}.tar", "shard-{000,001}.tar"])
def test_a_folder_and_patterns_name_the_same_images_and_captions(tmp_path: Path, pattern: str) -> None:
    photos, problems = load_dataset(pack_shards(tmp_path) / pattern)
    assert not problems
    assert [(photo.path.shown_name, photo.caption, photo.caption_source) for photo in photos] == [
        (f"shard-{shard:03}.tar/{name}", text.format(shard), source)
        for shard in (0, 1)
        for name, text, source in (("0001.png", "zkr {}", ".txt"), ("0002.png", "a cat {}", ".json"))
    ]
    assert list(tmp_path.glob("**/*.png")) == []


def test_parts_of_an_image_and_its_mask_are_no_images(tmp_path: Path) -> None:
    names = ["a/1.png", "a/1.seg.png", "a/1-masklabel.png", "b.v2.png", ".hidden.png"]
    path = pack(tmp_path / "one.tar", {name: png() for name in names})
    assert [entry.path.shown_name for entry in list_dataset(path).entries] == ["one.tar/a/1.png", "one.tar/b.v2.png"]


def test_paths_beside_a_member_lead_into_the_shard(tmp_path: Path) -> None:
    image = MemberPath(pack(tmp_path / "one.tar", {"a/1.png": png(), "a/1.txt": b"zkr"}), "a/1.png")
    assert image.with_suffix(".txt").read_bytes() == b"zkr"
    assert image.is_file() and image.stat().st_size == len(png())
    assert not image.with_suffix(".caption").is_file()
    assert {path.name for path in image.parent.iterdir()} == {"1.png", "1.txt"}


@pytest.mark.parametrize("pattern", ["shard-{000..003}.tar", "other-*.tar"])
def test_missing_shards_are_refused_and_named(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(TetradError) as caught:
        list_dataset(pack_shards(tmp_path) / pattern)
    assert caught.value.code == "E4182"
    assert ("shard-002.tar, shard-003.tar" in str(caught.value)) == (pattern[0] == "s")


def cut(content: bytes) -> bytes:
    return content[: content.rindex(b"0002.png") + 700]


def damage_header(content: bytes) -> bytes:
    place = content.rindex(b"0002.png")
    return content[:place] + bytes([7]) * 512 + content[place + 512 :]


@pytest.mark.parametrize(
    ("change", "left", "reason"),
    [
        (cut, 1, "it ends in the middle of 0002.png"),
        (damage_header, 1, "it is damaged after 0001.txt"),
        (lambda content: content[: content.rindex(b"0002.png")], 1, "it has no end after 0001.txt"),
        (lambda content: b"no tar" * 2000, 0, "it is not a tar file"),
        (lambda content: b"\x1f\x8b" + content, 0, "it is compressed"),
    ],
)
def test_a_damaged_shard_is_named_and_all_else_is_used(tmp_path: Path, change, left: int, reason: str) -> None:  # type: ignore[no-untyped-def]
    first = pack_shards(tmp_path) / "shard-000.tar"
    first.write_bytes(change(first.read_bytes()))
    photos, [problem] = load_dataset(tmp_path)
    assert len(photos) == left + 2
    assert (problem.code, problem.path) == ("E4123", first) and str(problem.reason).startswith(reason)


def test_an_image_that_cannot_be_decoded_is_named_with_its_shard(tmp_path: Path) -> None:
    path = pack(tmp_path / "one.tar", {"a.png": png()[:90], "b.png": png(1), "../c.png": png(2), "b.txt": b"zkr"})
    photos, problems = load_dataset(path)
    assert [photo.path.name for photo in photos] == ["b.png"]
    assert [(problem.path.name, problem.code) for problem in problems] == [
        ("one.tar", "W4166"),
        ("a.png", "E4102"),
        ("c.png", "E4122"),
    ]
    with pytest.raises(TetradError, match=r"one\.tar/a\.png"):
        load_dataset(pack(tmp_path / "one.tar", {"a.png": png()[:90]}))
