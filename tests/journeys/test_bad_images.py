"""Unusable images and unwritable folders: one sentence, and no half-written file."""

import io
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from workspace import Workspace

from tetrad.diffusion.randomness import generator


def make_jpeg(side: int = 64) -> bytes:
    buffer = io.BytesIO()
    noise = torch.randint(256, (side * side * 3,), generator=generator(0, 0, "jpeg"), dtype=torch.uint8)
    Image.frombytes("RGB", (side, side), noise.numpy().tobytes()).save(buffer, "JPEG")
    return buffer.getvalue()


BAD_IMAGES = {
    "cut.jpg": (make_jpeg()[: len(make_jpeg()) // 2], "E4102"),
    "empty.jpg": (b"", "E4101"),
    "page.jpg": (b"<!DOCTYPE html><html>Sign in</html>", "E4104"),
    "phone.heic": (b"\0\0\0\x18ftypheic", "E4107"),
    "words.png": (b"this is a text, not an image", "E4103"),
}


def test_a_good_folder_trains(workspace: Workspace) -> None:
    """The tests below change one thing each, so each error has the reason that the test names."""
    outcome = workspace.train("--name", "zkr")
    assert outcome.exit_code == 0, outcome.err
    result = workspace.runs / "zkr" / "zkr.safetensors"
    assert Path(outcome.out.strip()) == result and result.is_file()


@pytest.mark.usefixtures("without_plugins")
def test_bad_files_among_good_ones_are_skipped_with_a_warning(workspace: Workspace) -> None:
    folder = workspace.make_photos()
    for name, (content, _code) in BAD_IMAGES.items():
        (folder / name).write_bytes(content)
    outcome = workspace.train("--name", "zkr")
    assert outcome.exit_code == 0, outcome.err
    assert "Traceback" not in outcome.err
    lines = outcome.err.splitlines()
    for name, (_content, code) in BAD_IMAGES.items():
        assert len([line for line in lines if line.startswith(f"{code} ") and name in line]) == 1, outcome.err
    assert any(line.startswith("2 images") for line in lines), outcome.err
    assert (workspace.runs / "zkr" / "zkr.safetensors").is_file()


@pytest.mark.usefixtures("without_plugins")
@pytest.mark.parametrize("name", list(BAD_IMAGES))
def test_a_folder_of_one_unreadable_image_is_refused(name: str, workspace: Workspace) -> None:
    content, code = BAD_IMAGES[name]
    folder = workspace.inputs / "photos"
    folder.mkdir()
    (folder / name).write_bytes(content)
    workspace.assert_refused(workspace.train(images=folder), "E4003", name, code)


def test_a_missing_folder_is_refused_with_the_nearest_name(workspace: Workspace) -> None:
    workspace.make_photos()
    workspace.assert_refused(workspace.train(images=workspace.inputs / "fotos"), "E4001", "fotos", "photos")


def test_training_without_a_folder_is_refused(workspace: Workspace) -> None:
    workspace.assert_refused(workspace.train(images=""), "E4001")


def test_an_empty_folder_is_refused(workspace: Workspace) -> None:
    (workspace.inputs / "empty").mkdir()
    workspace.assert_refused(workspace.train(images=workspace.inputs / "empty"), "E4002", "empty")


def test_a_folder_without_images_is_refused(workspace: Workspace) -> None:
    (workspace.inputs / "notes").mkdir()
    (workspace.inputs / "notes" / "list.txt").write_text("a list")
    workspace.assert_refused(workspace.train(images=workspace.inputs / "notes"), "E4002", ".txt")


def test_an_unknown_sample_set_is_refused(workspace: Workspace) -> None:
    workspace.assert_refused(workspace.train(images="builtin:subjekt"), "E4001", "builtin:subject")


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_output_folder_that_is_a_file_is_refused(out: str, workspace: Workspace) -> None:
    (workspace.inputs / "file").write_text("not a folder")
    workspace.assert_refused(workspace.train("--out", workspace.inputs / out), "E4202", "--out")


@pytest.mark.parametrize("out", ["missing/image.png", "file/image.png"])
def test_an_output_file_in_no_folder_is_refused(out: str, workspace: Workspace) -> None:
    (workspace.inputs / "file").write_text("not a folder")
    workspace.assert_refused(workspace.generate("a cat", "--out", workspace.inputs / out), "E4202", "--out")


def test_a_full_disk_leaves_no_half_written_weights(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run has trained by then, so its folder stays with the log; no part of the weights file does."""

    flush = os.fsync

    def raise_disk_full(descriptor: int) -> None:
        if ".safetensors" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise OSError(28, "No space left on device")
        flush(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("tetrad.formats.atomic_write.os.fsync", raise_disk_full)
        outcome = workspace.train("--name", "zkr", "--no-wait")
    assert outcome.exit_code == 4
    assert outcome.err.splitlines()[-1].startswith("E4202 ") and "No space left" in outcome.err
    assert {path.name for path in (workspace.runs / "zkr").iterdir()} == {
        "recipe.toml",
        "plan.toml",
        "events.jsonl",
        "metrics.jsonl",
        "error.json",
        "resume",
        "samples",
    }
