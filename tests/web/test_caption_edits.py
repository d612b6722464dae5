"""Captions are edited one by one or together, each change can be undone, and a person's own folder stays as it is."""

from pathlib import Path

import pytest
from PIL import Image

from tetrad.errors import TetradError
from tetrad.web.caption_edits import CaptionEdits
from tetrad.web.data_sets import DataSet, DataSets

CAPTIONS = {"a": "zkr dog, red, sofa", "b": "zkr dog，green", "c": ""}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    for name, caption in CAPTIONS.items():
        Image.new("RGB", (64, 64)).save(folder / f"{name}.png")
        if caption:
            (folder / f"{name}.txt").write_text(caption, "utf-8")
    return folder


@pytest.fixture
def edits(tmp_path: Path, own: Path) -> CaptionEdits:
    return CaptionEdits(DataSets(tmp_path / "data").create("dogs", own))


def by_name(edits: CaptionEdits) -> dict[str, str]:
    return {path.stem: edits.read_text(image) for image, path in edits.list_images().items()}


def id_of(edits: CaptionEdits, name: str) -> str:
    return next(image for image, path in edits.list_images().items() if path.stem == name)


def test_a_caption_is_written_and_undone(edits: CaptionEdits, own: Path) -> None:
    assert by_name(edits) == CAPTIONS
    assert edits.write({id_of(edits, "a"): " zkr dog,\n red ", id_of(edits, "b"): "zkr dog，green"}) == [
        id_of(edits, "a")
    ]
    assert by_name(edits)["a"] == "zkr dog\nred" and (own / "a.txt").read_text() == CAPTIONS["a"]
    edits.write({id_of(edits, "a"): "new", id_of(edits, "c"): "something"})
    again = CaptionEdits(edits.data_set)
    assert again.undo()[1] == [] and by_name(again)["a"] == "zkr dog\nred" and by_name(again)["c"] == ""
    again.undo()
    assert by_name(again) == CAPTIONS
    with pytest.raises(TetradError, match="E4305"):
        again.undo()


def test_tags_are_added_removed_replaced_and_counted(edits: CaptionEdits) -> None:
    assert edits.count_tags() == {"zkr dog": 2, "red": 1, "sofa": 1, "green": 1}
    assert len(edits.change_tags(["photo"], True)) == 3 and edits.change_tags(["photo"], True) == []
    edits.change_tags(["best", "photo"], True, [id_of(edits, "a")])
    edits.change_tags(["sofa", "nothing"], False)
    edits.replace("zkr dog", "abc cat")
    assert by_name(edits) == {"a": "abc cat, red, photo, best", "b": "abc cat, green, photo", "c": "photo"}
    for _change in edits.journal.list_changes():
        edits.undo()
    assert by_name(edits) == CAPTIONS


def test_undo_keeps_what_was_changed_since_by_another_program(edits: CaptionEdits) -> None:
    edits.change_tags(["photo"], True)
    path = edits.data_set.path_of(id_of(edits, "a")).with_suffix(".txt")
    path.unlink()
    path.write_text("by hand")
    assert edits.undo()[1] == [path]
    assert by_name(edits) == {**CAPTIONS, "a": "by hand"}


def test_captions_are_written_beside_the_images_when_asked(tmp_path: Path, own: Path) -> None:
    edits = CaptionEdits(DataSets(tmp_path / "data").create("dogs", own, writes_beside=True))
    edits.write({id_of(edits, "c"): "here"})
    assert (own / "c.txt").read_text() == "here" and by_name(edits)["c"] == "here"


def test_bad_edits_change_nothing(edits: CaptionEdits) -> None:
    for texts in ({"nothing": "x"}, {id_of(edits, "a"): "x" * 30_000}):
        with pytest.raises(TetradError, match="E430"):
            edits.write({id_of(edits, "b"): "changed", **texts})
    with pytest.raises(TetradError, match="E4305"):
        edits.replace("", "x")
    assert by_name(edits) == CAPTIONS


def test_another_caption_file_is_written_where_that_is_the_one_in_use(tmp_path: Path) -> None:
    data_set: DataSet = DataSets(tmp_path / "data").create("dogs")
    Image.new("RGB", (64, 64)).save(data_set.folder / "a.png")
    (data_set.folder / "a.caption").write_text("old")
    edits = CaptionEdits(data_set)
    edits.write({id_of(edits, "a"): ""})
    assert edits.read_text(id_of(edits, "a")) == "" and not (data_set.folder / "a.txt").exists()
