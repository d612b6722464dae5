"""Uploads are streamed into a set, under safe names, within limits; what is refused leaves nothing behind."""

import asyncio
import io
import json
import os
import stat
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image
from test_data_sets import TRAVERSALS

from tetrad.errors import TetradError
from tetrad.web import uploads
from tetrad.web.data_sets import DataSet, DataSets
from tetrad.web.uploads import Received, receive


@pytest.fixture
def data_set(tmp_path: Path) -> DataSet:
    return DataSets(tmp_path / "data").create("dogs")


def upload(data_set: DataSet, name: str, content: bytes) -> Received:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    return asyncio.run(receive(data_set, name, pieces()))


def png(colour: str = "red") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(content, "PNG")
    return content.getvalue()


def zipped(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def visible(data_set: DataSet) -> list[str]:
    return sorted(path.name for path in data_set.folder.rglob("*") if path.is_file() and ".tetrad" not in path.parts)


def leftovers(data_set: DataSet) -> list[Path]:
    return list((data_set.hidden / "incoming").glob("*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_of_a_file_that_a_full_disk_refuses_nothing_is_left(data_set: DataSet) -> None:
    upload(data_set, "a.png", png())
    (data_set.hidden / "incoming/half").write_bytes(b"of a killed server")
    os.utime(data_set.hidden / "incoming/half", (0, 0))
    known, data_set.names.path = data_set.names.path, Path("/dev/full")
    with pytest.raises(TetradError, match="No space left") as caught:
        upload(data_set, "b.png", png("blue"))
    assert caught.value.code == "E4202" and visible(data_set) == ["a.png"] and not leftovers(data_set)
    data_set.names.path = known
    assert upload(data_set, "b.png", png("blue")).stored == [data_set.folder / "b.png"]


def test_an_image_its_caption_and_its_mask_are_stored(data_set: DataSet) -> None:
    for name, content in (("a b.PNG", png()), ("a b.txt", b"a dog"), ("a b-masklabel.png", png("white"))):
        upload(data_set, name, content)
    assert visible(data_set) == ["a-b-masklabel.png", "a-b.png", "a-b.txt"] and not leftovers(data_set)
    assert data_set.name_of(data_set.folder / "a-b.png") == "a b.PNG"


def test_another_image_of_the_same_name_gets_a_name_of_its_own(data_set: DataSet) -> None:
    for content in (png(), png("blue"), png()):
        upload(data_set, "IMG_1.png", content)
    assert visible(data_set) == ["IMG_1-2.png", "IMG_1.png"]
    upload(data_set, "IMG_1.txt", b"first")
    upload(data_set, "IMG_1.txt", b"second")
    assert (data_set.folder / "IMG_1.txt").read_text() == "second"


@pytest.mark.parametrize("name", [name for name in TRAVERSALS if "\0" not in name])
def test_nothing_is_written_outside_the_set(tmp_path: Path, data_set: DataSet, name: str) -> None:
    upload(data_set, name, png())
    upload(data_set, "photos.zip", zipped({name: png("blue"), "b.jpg": png("green")}))
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.is_relative_to(data_set.folder) for path in written) and len(visible(data_set)) >= 2
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("name", ["page.html", "run.py", "noextension", "a.jpg.exe", "model.safetensors"])
def test_a_file_of_another_type_is_refused(data_set: DataSet, name: str) -> None:
    with pytest.raises(TetradError, match="E4312"):
        upload(data_set, name, b"content")
    assert not visible(data_set) and not leftovers(data_set)


def test_a_large_file_is_refused_while_it_comes(data_set: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_IMAGE_BYTES", 5000)
    with pytest.raises(TetradError, match="E4312"):
        upload(data_set, "large.jpg", b"x" * 6000)
    assert not visible(data_set) and not leftovers(data_set)
    received = upload(data_set, "some.zip", zipped({"large.jpg": bytes(range(256)) * 40, "small.jpg": b"y"}, 0))
    assert visible(data_set) == ["small.jpg"] and [each.code for each in received.refused] == ["E4312"]


def test_a_full_set_takes_no_more(data_set: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_IMAGES", 2)
    with pytest.raises(TetradError, match="E4313"):
        upload(data_set, "many.zip", zipped({f"{number}.jpg": b"x" for number in range(5)}))
    assert len(visible(data_set)) == 2 and not leftovers(data_set)


def test_a_zip_is_flattened_with_its_captions_and_its_metadata(data_set: DataSet) -> None:
    metadata = "\n".join(json.dumps({"file_name": f"{name}.png", "text": f"caption {name}"}) for name in ("a", "b"))
    files = {
        "set/metadata.jsonl": metadata.encode(),
        "set/a.png": png(),
        "set/b.png": png("blue"),
        "other/a.png": png("green"),
        "other/a.txt": "绿".encode(),
        "__MACOSX/a.png": b"",
        ".hidden.png": b"",
        "readme.md": b"no image",
    }
    received = upload(data_set, "photos.zip", zipped(files))
    assert visible(data_set) == ["a-2.png", "a-2.txt", "a.png", "a.txt", "b.png", "b.txt"]
    assert (data_set.folder / "a.txt").read_text() == "caption a"
    assert (data_set.folder / "a-2.txt").read_text("utf-8") == "绿"
    assert [each.name for each in received.refused] == ["readme.md"] and not leftovers(data_set)


def test_a_zip_bomb_is_refused(data_set: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped({"good.jpg": png(), "bomb.jpg": bytes(30_000_000)})
    assert len(bomb) < 40_000
    with pytest.raises(TetradError, match=r"E4311 bomb\.jpg"):
        upload(data_set, "bomb.zip", bomb)
    assert visible(data_set) == ["good.jpg"] and not leftovers(data_set)
    monkeypatch.setattr("tetrad.web.archives.MAX_EXPANDED_BYTES", 1000)
    with pytest.raises(TetradError, match="E4311"):
        upload(data_set, "many.zip", zipped({f"{number}.jpg": bytes(range(256)) for number in range(9)}, 0))


def forge_directory(content: bytes, count: int) -> bytes:
    """A zip whose end says that it has so many members."""
    end = content.rfind(b"PK\x05\x06")
    return content[: end + 10] + count.to_bytes(2, "little") + content[end + 12 :]


def locked() -> bytes:
    """A zip whose only member says that it is encrypted, in both places."""
    content = bytearray(zipped({"a.jpg": b"x"}))
    content[6] |= 1
    content[content.find(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def linked() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        info = zipfile.ZipInfo("link.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"no zip at all",
        zipped({"a.jpg": b"x" * 1000})[:-10],
        forge_directory(zipped({"a.jpg": b"x"}), 30_000),
        forge_directory(zipped({"a.jpg": b"x"}), 0xFFFF),
        locked(),
        zipped({"a.jpg": b"0123456789" * 50}, 0).replace(b"0123456789", b"9876543210"),  # its checksum is wrong
    ],
)
def test_a_bad_zip_is_refused(data_set: DataSet, content: bytes) -> None:
    with pytest.raises(TetradError, match="E4311"):
        upload(data_set, "bad.zip", content)
    assert not visible(data_set) and not leftovers(data_set)


def test_a_chinese_name_from_windows_is_read(data_set: DataSet) -> None:
    content = zipped({"AABBCC.txt": "红色的狗".encode(), "AABBCC.png": png()})
    upload(data_set, "photos.zip", content.replace(b"AABBCC", "我的狗".encode("gb18030")))
    assert visible(data_set) == ["我的狗.png", "我的狗.txt"]


def test_a_link_in_a_zip_is_left_out(data_set: DataSet) -> None:
    assert upload(data_set, "link.zip", linked()) == Received() and not visible(data_set)


def test_a_folder_of_ones_own_that_captions_are_written_into_takes_no_uploads(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    with pytest.raises(TetradError, match="E4313"):
        upload(DataSets(tmp_path / "data").create("own", own, writes_beside=True), "a.png", png())
    upload(data_set := DataSets(tmp_path / "data").create("copy", own), "a.png", png())
    assert visible(data_set) == ["a.png"] and not list(own.iterdir())
