"""A data set has safe names for its files, and a person's own folder stays as it is."""

import os
from pathlib import Path

import pytest
from PIL import Image

from tetrad.errors import TetradError
from tetrad.web.data_sets import DataSets
from tetrad.web.file_names import FileNames, make_safe_stem

TRAVERSALS = [
    "../evil.jpg",
    "..\\evil.jpg",
    "/etc/passwd.jpg",
    "C:\\win.jpg",
    "a/../../evil.jpg",
    "..%2fevil.jpg",
    "....//evil.jpg",
    "evil\0.jpg",
    ".htaccess.jpg",
    "con.jpg",
    "a" * 400 + ".jpg",
    "\u202egpj.exe.jpg",
    "<img src=x onerror=alert(1)>.jpg",
    "|rm -rf.jpg",
]


@pytest.mark.parametrize("name", TRAVERSALS)
def test_no_name_leads_out_of_the_set(tmp_path: Path, name: str) -> None:
    names = FileNames(tmp_path / ".tetrad" / "originals.jsonl")
    stem = names.choose_stem(name)
    path = tmp_path / f"{stem}.jpg"
    assert path.resolve().parent == tmp_path.resolve() and len(path.name.encode()) < 250
    assert not set(stem) & set('/\\:*?"<>|\0.') and stem.isprintable() and not stem.startswith(".")
    path.write_bytes(b"")  # the system takes it


def test_files_that_belong_together_keep_one_stem(tmp_path: Path) -> None:
    names = FileNames(tmp_path / "originals.jsonl")
    for place, original in (("beach.jpg", "a/beach.jpg"), ("beach-2.jpg", "b/Beach.jpg")):
        assert f"{names.choose_stem(original)}.jpg".casefold() == place
        names.add(place, original)
    assert names.choose_stem("b/Beach.txt") == "beach-2"
    assert names.choose_stem("a/beach-masklabel.png") == "beach-masklabel"
    assert FileNames(tmp_path / "originals.jsonl").choose_stem("b/Beach.txt") == "beach-2"
    assert names.images == 2 and make_safe_stem("???") == "image"
    assert make_safe_stem("CON") == "image-CON"  # Windows has no such file


def test_sets_are_made_found_and_removed(tmp_path: Path) -> None:
    sets = DataSets(tmp_path / "data")
    first, second = sets.create("My dog / 狗"), sets.create("My dog / 狗")
    assert first.id != second.id and {each.id for each in DataSets(tmp_path / "data").list()} == {first.id, second.id}
    assert DataSets(tmp_path / "data").open(first.id).name == "My dog / 狗"
    for id in ("..", ".", "", "nothing", f"../data/{first.id}", str(tmp_path)):
        with pytest.raises(TetradError, match="E4304"):
            sets.open(id)
    sets.remove(first.id)
    assert not first.folder.exists() and second.folder.exists()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "10_zkr dog").mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(folder / "10_zkr dog" / "a.png")
    (folder / "10_zkr dog" / "a.txt").write_text("red")
    return folder


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_ones_own_is_read_and_copied_before_the_first_edit(tmp_path: Path, photos: Path) -> None:
    before = contents(photos)
    data_set = DataSets(tmp_path / "data").create("dogs", photos)
    assert data_set.images == photos and len(data_set.list_paths()) == 2
    image = data_set.id_of(photos / "10_zkr dog" / "a.png")
    data_set.prepare_edit()
    assert (
        data_set.images == data_set.folder
        and data_set.path_of(image).read_bytes() == before[str(photos / "10_zkr dog" / "a.png")][0]
    )
    assert contents(photos) == before and DataSets(tmp_path / "data").open(data_set.id).source is None


def test_a_copy_is_made_where_files_cannot_be_linked(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(18, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    data_set = DataSets(tmp_path / "data").create("dogs", photos)
    data_set.prepare_edit()
    assert (data_set.folder / "10_zkr dog" / "a.txt").read_text() == "red"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TetradError, match="E4304"):
        DataSets(tmp_path / "data").create("dogs", tmp_path / "nothing")
