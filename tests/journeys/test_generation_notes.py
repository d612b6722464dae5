"""What `generate`, `grid` and `probe` say at their start, and the prediction type that is stored in their images."""

import shutil
from pathlib import Path

import pytest
import tiny
from PIL import Image
from workspace import Workspace

from tetrad.generation import infotext
from tetrad.images import png
from tetrad.images.infotext import parse_infotext

COMMANDS = {
    "generate": ("--width", "32", "--height", "32"),
    "grid": ("--x", "seed: 1, 2", "--width", "32", "--height", "32"),
    "probe": (),
}


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


def prediction_in(path: Path) -> str:
    return infotext.read_prediction_type(parse_infotext(png.read_infotext(path)))


@pytest.fixture
def small_model(workspace: Workspace) -> Path:
    """The tiny model with metadata that says ε."""
    return Path(shutil.copy(workspace.model, workspace.inputs / "small.safetensors"))


@pytest.mark.parametrize("command", list(COMMANDS))
def test_the_device_is_said_once(command: str, workspace: Workspace, small_model: Path) -> None:
    options = ("--steps", "1", "--device", "cpu", "--model", small_model, *COMMANDS[command])
    outcome = workspace.run(command, "a cat", *options, "--out", "x.png")
    assert outcome.exit_code == 0, outcome.err
    assert outcome.err.count("device: cpu in float32") == 1
    assert "device:" not in outcome.out and "knows nothing else" not in outcome.err


@pytest.mark.parametrize("command", ["generate", "grid"])
def test_the_built_in_model_is_explained_unless_it_is_asked_for(command: str, workspace: Workspace) -> None:
    options = ("a cat", "--steps", "1", *COMMANDS[command], "--out", "x.png")
    assert "small cartoon images and knows nothing else" in workspace.run(command, *options).err
    assert "knows nothing else" not in workspace.run(command, *options, "--model", "builtin").err


@pytest.mark.parametrize("command", list(COMMANDS))
@pytest.mark.parametrize("given,stored", [("", ""), ("v", "v"), ("eps", "epsilon")])
def test_a_prediction_type_given_by_hand_is_stored(
    command: str, given: str, stored: str, workspace: Workspace, small_model: Path
) -> None:
    options = ("--steps", "1", "--model", small_model, *COMMANDS[command])
    outcome = workspace.run(command, "a cat", *options, "--prediction-type", given, "--out", "x.png")
    assert outcome.exit_code == 0, outcome.err
    assert prediction_in(Path("x.png")) == stored


def test_an_image_is_repeated_with_the_prediction_type_that_it_was_made_with(
    workspace: Workspace, small_model: Path
) -> None:
    options = ("--steps", "2", *COMMANDS["generate"], "--model", small_model)
    for name, prediction in (("plain.png", ""), ("v.png", "v")):
        workspace.run("generate", "a cat", *options, "--prediction-type", prediction, "--out", name)
    repeat = ("generate", "--png-info", "v.png", "--model", small_model)
    repeated = workspace.run(*repeat, "--out", "again.png")
    assert "not reproduced" not in repeated.err and "reproduced exactly" not in repeated.err
    workspace.run(*repeat, "--prediction-type", "epsilon", "--out", "other.png")
    assert pixels(Path("again.png")) == pixels(Path("v.png")) != pixels(Path("plain.png"))
    assert pixels(Path("other.png")) == pixels(Path("plain.png"))


def test_the_prediction_type_of_an_image_is_not_used_for_another_model(workspace: Workspace, small_model: Path) -> None:
    options = ("--steps", "1", *COMMANDS["generate"])
    workspace.run("generate", "a cat", *options, "--model", small_model, "--prediction-type", "v", "--out", "v.png")
    other = workspace.inputs / "other.safetensors"
    tiny.save_checkpoint(
        other, tiny.build_model(is_shallow=True), {**tiny.build_weights().metadata, "modelspec.title": "other"}
    )
    workspace.run("generate", "--png-info", "v.png", "--model", other, "--out", "again.png")
    assert prediction_in(Path("again.png")) == ""


def test_an_unknown_prediction_type_in_an_image_is_an_error(workspace: Workspace, small_model: Path) -> None:
    options = ("--steps", "1", *COMMANDS["generate"], "--model", small_model)
    workspace.run("generate", "a cat", *options, "--prediction-type", "v", "--out", "v.png")
    text = png.read_infotext(Path("v.png")).replace("Prediction type: v", "Prediction type: x0")
    png.save_png(Path("x0.png"), Image.new("RGB", (32, 32)), text)
    outcome = workspace.run("generate", "--png-info", "x0.png", "--model", small_model, "--out", "again.png")
    assert outcome.exit_code == 3 and "E3205" in outcome.err and "x0" in outcome.err
