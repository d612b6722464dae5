"""Pictures that cannot be used, and places that cannot be written: one sentence, and nothing half-written."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from places import Place

from tetrad.diffusion.randomness import generator


def jpeg(side: int = 64) -> bytes:
    made = io.BytesIO()
    noise = torch.randint(256, (side * side * 3,), generator=generator(0, 0, "jpeg"), dtype=torch.uint8)
    Image.frombytes("RGB", (side, side), noise.numpy().tobytes()).save(made, "JPEG")
    return made.getvalue()


BAD_PICTURES = {
    "cut.jpg": (jpeg()[: len(jpeg()) // 2], "E4102"),
    "empty.jpg": (b"", "E4101"),
    "page.jpg": (b"<!DOCTYPE html><html>Sign in</html>", "E4104"),
    "phone.heic": (b"\0\0\0\x18ftypheic", "E4107"),
    "words.png": (b"this is a text, and no picture", "E4103"),
}


def test_a_good_folder_trains(place: Place) -> None:
    """So that what is refused below is refused for its own reason."""
    outcome = place.train("--name", "zkr")
    assert outcome.exit_code == 0, outcome.err
    result = place.runs / "zkr" / "zkr.safetensors"
    assert Path(outcome.out.strip()) == result and result.is_file()


def test_bad_files_among_good_ones_are_named_and_skipped(place: Place) -> None:
    folder = place.photos()
    for name, (content, _) in BAD_PICTURES.items():
        (folder / name).write_bytes(content)
    outcome = place.train("--name", "zkr")
    assert outcome.exit_code == 0, outcome.err
    assert "Traceback" not in outcome.err
    lines = outcome.err.splitlines()
    for name, (_, code) in BAD_PICTURES.items():
        assert len([line for line in lines if line.startswith(f"{code} ") and name in line]) == 1, outcome.err
    assert any(line.startswith("2 pictures, ") for line in lines), outcome.err
    assert (place.runs / "zkr" / "zkr.safetensors").is_file()


@pytest.mark.parametrize("name", list(BAD_PICTURES))
def test_a_folder_of_one_unreadable_picture_is_refused(name: str, place: Place) -> None:
    content, code = BAD_PICTURES[name]
    folder = place.inputs / "photos"
    folder.mkdir()
    (folder / name).write_bytes(content)
    place.refused(place.train(images=folder), "E4003", name, code)


def test_a_missing_folder_is_refused_with_its_neighbours(place: Place) -> None:
    place.photos()
    place.refused(place.train(images=place.inputs / "fotos"), "E4001", "fotos", "photos")


def test_no_folder_is_refused(place: Place) -> None:
    place.refused(place.train(images=""), "E4001")


def test_an_empty_folder_is_refused(place: Place) -> None:
    (place.inputs / "empty").mkdir()
    place.refused(place.train(images=place.inputs / "empty"), "E4002", "it is empty")


def test_a_folder_without_pictures_is_refused(place: Place) -> None:
    (place.inputs / "notes").mkdir()
    (place.inputs / "notes" / "list.txt").write_text("a list")
    place.refused(place.train(images=place.inputs / "notes"), "E4002", "1 .txt")


def test_an_unknown_sample_set_is_refused(place: Place) -> None:
    place.refused(place.train(images="builtin:subjekt"), "E4001", "did you mean builtin:subject?")


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_the_place_of_the_output_folder_is_refused(out: str, place: Place) -> None:
    (place.inputs / "file").write_text("not a folder")
    place.refused(place.train("--out", place.inputs / out), "E4202", "--out")


@pytest.mark.parametrize("out", ["missing/picture.png", "file/picture.png"])
def test_a_picture_without_a_folder_is_refused(out: str, place: Place) -> None:
    (place.inputs / "file").write_text("not a folder")
    place.refused(place.generate("a cat", "--out", place.inputs / out), "E4202", "--out")


def test_a_full_disk_leaves_no_half_written_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then something was learned, so the run's folder stays: it tells what happened. No part of the file does."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tetrad.formats.files.os.fsync", full)
        outcome = place.train("--name", "zkr")
    assert outcome.exit_code == 4
    assert outcome.err.splitlines()[-1].startswith("E4202 ") and "No space left" in outcome.err
    assert {path.name for path in (place.runs / "zkr").iterdir()} == {
        "recipe.toml",
        "events.jsonl",
        "metrics.jsonl",
        "samples",
    }
