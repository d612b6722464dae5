"""A run that continues from a file keeps the file's word, name and format, and writes over it only if asked to."""

from pathlib import Path
from typing import Any

import pytest
import tiny
from PIL import Image

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file
from tetrad.methods import DreamBooth, Lora, TextualInversion
from tetrad.run.continuation import check_replaceable, name_of, write_over_start
from tetrad.run.events import Event, Finished, Note, Saved
from tetrad.run.train import train
from tetrad.settings import build_recipe
from tetrad.settings.toml import put


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, an image, and an embedding and a LoRA that are trained for a step."""
    path = tmp_path_factory.mktemp("continuation")
    tiny.save_shallow_checkpoint(path / "tiny.safetensors")
    (path / "photos").mkdir()
    Image.effect_noise((64, 64), 40).convert("RGB").save(path / "photos" / "0.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TETRAD_CACHE", str(path / "cache"))
        for kind, file_format in (("textual-inversion", "pt"), ("lora", "diffusers")):
            run(path, kind, "first", data__trigger_word="zkr", save__format=file_format)
    return path


@pytest.fixture(autouse=True)
def cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))


def run(place: Path, kind: str, out: str, steps: int = 1, **settings: Any) -> tuple[list[Event], Path]:
    values: dict[str, Any] = {
        "model": str(place / "tiny.safetensors"),
        "data": {"images": str(place / "photos")},
        "method": {"kind": kind},
        "train": {"steps": steps, "batch_size": 1},
        "sample": {"every": -1},
        "save": {"out": str(place / out / kind)},
    }
    for key, value in settings.items():
        put(values, key.replace("__", "."), value)
    events = list(train(build_recipe(values)))
    assert isinstance(events[-1], Finished)
    return events, events[-1].path


def steps_of(path: Path) -> str:
    return read_weight_file(path).metadata["step"]


@pytest.mark.parametrize("kind,name", [("textual-inversion", "zkr.pt"), ("lora", "zkr.safetensors")])
def test_two_continuations_leave_one_word_one_name_and_one_format(place: Path, kind: str, name: str) -> None:
    path, first = place / "first" / kind / "zkr" / name, read_weight_file(place / "first" / kind / "zkr" / name)
    for steps in (2, 3):
        events, path = run(place, kind, "second", steps, continue_from=str(path))
        assert any("zkr is that of the file" in str(event.message) for event in events if isinstance(event, Note))
    assert (path.name, path.parent.name) == (name, "zkr-2")
    assert read_weight_file(path).tensors.keys() == first.tensors.keys()
    assert 'trigger_word = "zkr"' in (path.parent / "plan.toml").read_text("utf-8")


def test_replace_writes_over_the_file_and_keeps_the_old_ones(place: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.pt"
    file.write_bytes((place / "first/textual-inversion/zkr/zkr.pt").read_bytes())
    before = file.read_bytes()
    for steps in (2, 3):
        more = {"save__replace": True, "continue_from": str(file)}
        events, path = run(place, "textual-inversion", "replaced", steps, **more)
        assert path.name == "mine.pt" and path.read_bytes() == file.read_bytes()
        assert [event.path for event in events if isinstance(event, Saved)] == [path, file]
    assert {each.name for each in tmp_path.iterdir()} == {"mine.pt", "mine.pt.bak", "mine.pt.bak2"}
    assert (tmp_path / "mine.pt.bak").read_bytes() == before
    assert library.read_weights(file, tiny.build_model(is_shallow=True)).metadata["step"] == "3"


def test_without_replace_the_file_stays_as_it_is(place: Path) -> None:
    file = place / "first/lora/zkr/zkr.safetensors"
    before = file.read_bytes()
    run(place, "lora", "other", 2, continue_from=str(file))
    assert file.read_bytes() == before and not list(file.parent.glob("*.bak"))


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    events = list(write_over_start(str(tmp_path / "old"), tmp_path / "new", 3))
    assert events[0] == Saved(3, tmp_path / "old") and (tmp_path / "old" / "new").exists()
    assert {each.name for each in tmp_path.iterdir()} == {"old", "old.bak", "new"}
    assert (tmp_path / "old.bak" / "old").exists()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.pt").write_bytes(b"old")
    (tmp_path / "result.pt").write_bytes(b"new")
    (tmp_path / "link.pt").symlink_to("real.pt")
    list(write_over_start(str(tmp_path / "link.pt"), tmp_path / "result.pt", 1))
    assert (tmp_path / "link.pt").is_symlink() and (tmp_path / "real.pt").read_bytes() == b"new"


def test_a_file_that_cannot_be_replaced_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "result.pt").write_bytes(b"new")
    [note] = write_over_start(str(tmp_path / "gone" / "zkr.pt"), tmp_path / "result.pt", 1)
    assert isinstance(note, Note) and note.code == "W4202" and "result.pt" in str(note.message)


@pytest.mark.parametrize("path,method,file_format,fits", [
    ("a.pt", TextualInversion, "pt", True), ("a.PT", TextualInversion, "pt", True),
    ("a.pt", TextualInversion, "safetensors", False), ("a.bin", TextualInversion, "pt", False),
    ("a.safetensors", Lora, "kohya", True), ("a.ckpt", DreamBooth, "ldm", False),
    ("a.safetensors", DreamBooth, "diffusers", False),
])  # fmt: skip
def test_another_kind_of_file_is_not_written_over(path: str, method: Any, file_format: str, fits: bool) -> None:
    if fits:
        check_replaceable(path, method.artifact, file_format)
        return
    with pytest.raises(TetradError, match="--replace") as caught:
        check_replaceable(path, method.artifact, file_format)
    assert caught.value.code == "E3159"


def test_the_name_of_a_file_is_kept_without_the_step_it_was_saved_at() -> None:
    assert name_of("runs/zkr/zkr-step00000200.safetensors") == name_of("zkr.pt") == name_of("models/zkr") == "zkr"
    assert name_of("my.style-v1.5") == "my.style-v1.5" and name_of("two-step.pt") == "two-step"
