"""Captions of a folder are changed together, all or none, and the last change can be undone."""

import os
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from tetrad.data.captions.command import Command
from tetrad.data.captions.edits import add_tags, prepend_word, remove_tags
from tetrad.data.captions.folder import CaptionFolder
from tetrad.data.captions.translation import load_dictionary, translate_caption
from tetrad.errors import TetradError

CAPTIONS = {"a": b"zkr dog, red, sofa\r\n", "b": b"red, green", "c": "红色, 狗".encode("gb18030"), "d": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, caption in CAPTIONS.items():
        Image.new("RGB", (64, 64)).save(tmp_path / f"{name}.png")
        if caption is not None:
            (tmp_path / f"{name}.txt").write_bytes(caption)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | None]:
    files = {name: folder / f"{name}.txt" for name in CAPTIONS}
    return {name: file.read_bytes() if file.exists() else None for name, file in files.items()}


def test_every_change_is_written_in_utf8_and_undone_byte_for_byte(folder: Path) -> None:
    captions = CaptionFolder(folder)
    for edit, after in (
        (captions.replace("red", "blue"), {"a": b"zkr dog, blue, sofa", "b": b"blue, green"}),
        (captions.prepend("zkr"), {"b": b"zkr, red, green", "c": "zkr, 红色, 狗".encode()}),
        (captions.drop(["sofa"]), {"a": b"zkr dog, red"}),
        (captions.drop(above=0.6, trigger_word="zkr"), {"a": b"zkr dog, sofa", "b": b"green"}),
        (captions.translate(), {"c": b"red, dog"}),
    ):
        assert contents(folder) == CAPTIONS
        captions.write(edit)
        assert contents(folder) == CAPTIONS | after
        assert captions.undo().title == edit.title
    with pytest.raises(TetradError, match="E4305"):
        captions.undo()


def test_nothing_is_changed_where_one_file_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, done = os.replace, []

    def fail_second(source: Path, target: Path) -> None:
        done.append(target)
        if len(done) == 2:
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr("tetrad.formats.atomic_write.os.replace", fail_second)
    captions = CaptionFolder(folder)
    with pytest.raises(TetradError, match="E4202"):
        captions.write(captions.replace("red", "blue"))
    assert contents(folder) == CAPTIONS and not captions.journal.list_changes()


def test_undo_is_refused_where_a_file_was_changed_since(folder: Path) -> None:
    captions = CaptionFolder(folder)
    captions.write(captions.replace("red", "blue"))
    (folder / "a.txt").write_bytes(b"by hand")
    before = contents(folder)
    with pytest.raises(TetradError, match=r"E4191 .*a\.txt"):
        captions.undo()
    assert contents(folder) == before


def test_captions_of_a_metadata_file_go_to_files_and_class_images_are_left_alone(tmp_path: Path) -> None:
    for place in ("10_zkr dog/a.png", "10_zkr dog/b.png", "reg/1_dog/c.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64)).save(tmp_path / place)
    metadata = tmp_path / "10_zkr dog" / "metadata.jsonl"
    metadata.write_text('{"file_name": "a.png", "text": "zkr dog, sofa"}\n{"file_name": "b.png", "text": "zkr dog"}')
    text = metadata.read_text()
    (tmp_path / "reg/1_dog/c.txt").write_text("zkr dog, sofa")
    captions = CaptionFolder(tmp_path)
    edit = captions.drop(["sofa"], above=0.5)  # the trigger word is that of the folder's name
    assert any("metadata file" in str(note) for note in edit.notes)
    captions.write(edit)
    assert [image.caption for image in captions.images] == ["zkr dog", "zkr dog"]
    assert metadata.read_text() == text and (tmp_path / "reg/1_dog/c.txt").read_text() == "zkr dog, sofa"
    captions.undo()
    assert not (tmp_path / "10_zkr dog" / "a.txt").exists()


def test_a_metadata_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "metadata.jsonl").write_text("{")
    first = CaptionFolder(folder).problems[0]
    assert (first.path.name, first.code) == ("metadata.jsonl", "E4153")


def test_a_guessed_encoding_is_named_with_the_caption_until_it_is_utf8(folder: Path) -> None:
    captions = CaptionFolder(folder)
    [problem] = captions.problems
    assert (problem.path.name, problem.code) == ("c.png", "W4157")
    assert "GB18030" in str(problem.reason) and "'红色, 狗'" in str(problem.reason)
    captions.write(captions.prepend("zkr"))
    assert captions.problems == ()


def test_a_caption_file_that_cannot_be_used_stays_and_an_empty_caption_is_said(folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"\xff\xff\x00\x01red")
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "red dog"}')
    captions = CaptionFolder(folder)
    edit = captions.replace("red", "")
    assert [change.file.name for change in edit.changes] == ["b.txt"] and "a.txt" in str(edit.notes)
    assert "a.png" not in {image.path.name for image in captions.list_images_to_make(overwrite=True)}
    assert any("empty" in str(note) for note in captions.drop(["red", "green"]).notes)


def test_a_journal_reaches_no_file_but_captions_of_its_folder(folder: Path) -> None:
    captions = CaptionFolder(folder)
    captions.journal.path.parent.mkdir()
    for place in ("../x.txt", "/x.txt", "a.png"):
        captions.journal.path.write_text(f'{{"id": "1", "title": "", "time": 1, "files": {{"{place}": [null, null]}}}}')
        assert not captions.journal.list_changes()
    captions.journal.path.write_text("half a line that is no JSO")
    captions.write(captions.replace("red", "blue"))
    assert len(captions.journal.list_changes()) == 1


def test_tags_are_edited_line_by_line() -> None:
    assert remove_tags("red, a dog\ngreen，red\nred", ["red"]) == "a dog\ngreen"
    assert (
        add_tags("a\nb，c", ["a", "d"]) == "a\nb, c, d"
        and add_tags("", ["a"]) == "a"
        and add_tags("a，b", ["b"]) == "a，b"
    )
    assert prepend_word("Zkr dog", "zkr") == "Zkr dog" and prepend_word("zkrs", "zkr") == "zkr, zkrs"


def test_what_is_no_edit_is_refused(folder: Path) -> None:
    captions = CaptionFolder(folder)
    for edit in (
        lambda: captions.replace("", "x"),
        lambda: captions.prepend(" ,"),
        lambda: captions.drop(),
        lambda: captions.drop(["nothing"]),
    ):
        with pytest.raises(TetradError, match="E4305"):
            edit()
    with pytest.raises(TetradError, match="E4190"):
        CaptionFolder(folder / "a.png")
    with pytest.raises(TetradError, match="E4001"):
        CaptionFolder(folder / "none").undo()


def test_a_program_captions_the_images_that_have_no_caption(folder: Path, tmp_path: Path) -> None:
    captions = CaptionFolder(folder)
    script = tmp_path / "my caption.py"
    script.write_text("import sys; print(' a photo\\n', sys.argv[1][-5:], sys.argv[2])")
    program = shlex.join([sys.executable, str(script), "{image}", "$HOME; x"])
    captions.write(captions.make(Command(program)))
    assert contents(folder) == CAPTIONS | {"d": b"a photo\nd.png $HOME; x"}
    assert (
        not captions.make(Command(program)).changes
        and len(captions.make(Command(program), overwrite=True, limit=2).changes) == 2
    )
    for bad in ("caption", "caption '{image}", "no-such-program {image}", shlex.join([sys.executable, "{image}"])):
        with pytest.raises(TetradError, match="E4192"):
            captions.make(Command(bad), overwrite=True, limit=1)
    script.write_text("import sys; 'b.png' in sys.argv[1] and sys.exit('no b'); print('here')")
    edit = captions.make(Command(program), overwrite=True)
    assert len(edit.changes) == 3 and "b.png" in str(edit.notes[0]) and "no b" in str(edit.notes[0])
    script.write_text("while True: print('a' * 10_000)")
    with pytest.raises(TetradError, match="what the program printed is no caption"):
        captions.make(Command(program), overwrite=True, limit=1)


@pytest.mark.parametrize(
    ("caption", "english", "unknown"),
    [
        ("一个女孩，长发，红色连衣裙。坐在草地上", "1girl, long hair, red dress, sitting on grass", []),
        ("zkr, 白色的猫, 龘龘怪兽", "zkr, white cat, 龘龘 monster", ["龘龘"]),
        ("1个男孩穿白色T恤, 3只狗, zkr猫", "1boy wearing white t-shirt, 3 dog, zkr cat", []),
        ("赤い猫", "赤い cat", ["赤い"]),
        ("a cat, on a sofa", "a cat, on a sofa", []),
    ],
)
def test_chinese_tags_are_translated_by_their_longest_match(caption: str, english: str, unknown: list[str]) -> None:
    assert translate_caption(caption) == (english, unknown)


def test_the_dictionary_is_two_columns_and_translates_to_english() -> None:
    rows = load_dictionary()
    assert len(rows) > 1500 and all(english.isascii() and not chinese.isascii() for chinese, english in rows.items())


def test_what_is_not_listed_is_said(tmp_path: Path) -> None:
    images = tmp_path / "10_zkr dog"
    images.mkdir()
    for path in (images / "a.png", tmp_path / "b.png"):
        Image.new("RGB", (64, 64)).save(path)
    for name in (".c.jpg.icloud", ".a.txt.icloud", "metadata.parquet"):
        (images / name).write_bytes(b"x")
    (images / "a.txt").symlink_to("nowhere.txt")
    captions = CaptionFolder(tmp_path)
    said = {(problem.code, captions.name_of(problem.path)): str(problem.reason) for problem in captions.problems}
    assert set(said) == {
        ("E4113", "10_zkr dog/.c.jpg.icloud"),
        ("W4167", "10_zkr dog"),
        ("W4168", "10_zkr dog/metadata.parquet"),
        ("W4150", tmp_path.name),
    }
    assert "a.txt is in iCloud" in said["W4167", "10_zkr dog"]
    [image] = captions.images
    assert image.problem and "a link to a file that is not there" in str(image.problem.reason)
