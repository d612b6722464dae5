"""`tetrad recommend` and `tetrad probe`."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
import typer.main
from PIL import Image

from tetrad.cli import recommend, train
from tetrad.errors import TetradError
from tetrad.estimate.speed import DeviceSpeed
from tetrad.estimate.step_cost import StepCost
from tetrad.methods import METHODS


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    tiny.save_shallow_checkpoint(path)
    return str(path)


@pytest.fixture
def image_folder(tmp_path: Path) -> str:
    """A kohya folder of two images with the words "zkr dog"."""
    folder = tmp_path / "5_zkr dog"
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64)).save(folder / f"{number}.png")
    return str(tmp_path)


@pytest.fixture(autouse=True)
def fixed_step_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of a known cost, so that nothing has to be measured."""
    step = StepCost(10**9, 10**8, (torch.Size([1000, 1000]),), 10**7, 10**6, 10**12)
    monkeypatch.setattr("tetrad.estimate.recommend.recall_step_cost", lambda *given: step)
    monkeypatch.setattr("tetrad.estimate.recommend.measure_device_speed", lambda *given: DeviceSpeed(1e9, 1e9))


def test_json_has_every_method_and_a_command_with_the_words_of_the_data_set(
    model: str, image_folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TETRAD_LANG", "zh_CN")
    recommend.recommend(image_folder, "object", model, memory="64GB", as_json=True)
    *estimates, best = map(json.loads, capsys.readouterr().out.splitlines())
    assert [estimate["method"] for estimate in estimates] == list(METHODS)
    assert all(text.isascii() for text in (best["why"], *(estimate["settings"] for estimate in estimates)))
    assert shlex.split(best["look_first"])[:3] == ["tetrad", "probe", "a photo of a dog"]
    arguments = shlex.split(best["command"])
    assert arguments[:4] == ["tetrad", "train", best["recommended"], image_folder]
    assert arguments[arguments.index("--trigger-word") + 1] == "zkr"
    assert arguments[arguments.index("--class-word") + 1] == "dog"


@pytest.mark.parametrize("trigger_word", ["", "ohwx"])
def test_the_table_and_the_command_have_one_trigger_word(
    trigger_word: str, model: str, image_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recommend.recommend(image_folder, "object", model, memory="64GB", trigger_word=trigger_word, as_json=True)
    *estimates, best = map(json.loads, capsys.readouterr().out.splitlines())
    arguments = shlex.split(best["command"])
    word = arguments[arguments.index("--trigger-word") + 1]
    assert word == trigger_word or not trigger_word
    assert [each["settings"].split()[0] for each in estimates if each["method"] == "textual-inversion"] == [word]


def test_what_the_model_predicts_is_in_both_commands(
    model: str, image_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recommend.recommend(image_folder, "object", model, "v_prediction", memory="64GB", as_json=True)
    best = json.loads(capsys.readouterr().out.splitlines()[-1])
    for command in (best["command"], best["look_first"]):
        assert "--prediction-type v " in f"{command} " and f"--model {model}" in command
    with pytest.raises(TetradError, match="E5013"):
        recommend.recommend(image_folder, "object", model, prediction_type="x")


@pytest.mark.parametrize("arguments", [("--goal", "nosuch"), ("--goal", "face", "--device", "quantum")])
def test_a_wrong_goal_or_device_is_refused_before_torch_is_loaded(arguments: tuple[str, ...]) -> None:
    program = "import sys; from tetrad.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", program, "recommend", "builtin:subject", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (3, 8) and done.stderr.count("\n") == 1, done.stderr


def test_the_table_has_every_row_and_column(model: str, image_folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    recommend.recommend(image_folder, "style", model, memory="64GB")
    shown = capsys.readouterr()
    for row in (
        "steps",
        "steps per image",
        "learning rate",
        "vectors",
        "time",
        "memory",
        "file size",
        "good for",
        "limits",
    ):
        assert row in shown.out
    for method in METHODS:
        assert method in shown.out
    assert shown.err.startswith("First see what the model knows without training: tetrad probe 'a painting of a dog'")
    assert "train nothing" in shown.err.splitlines()[0]
    assert "2 images" in shown.err and "memory limit: 64 GiB" in shown.err
    assert shown.out.splitlines()[-1].startswith("tetrad train lora") and "--template style" in shown.out


def test_both_commands_can_be_pasted_and_steps_are_written_out(
    model: str, image_folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/opt/tools/tetrad"])  # not on PATH
    monkeypatch.setenv("PATH", "")
    (Path(image_folder) / "5_zkr dog" / "0.png").unlink()
    recommend.recommend(image_folder, "style", model, memory="64GB")
    shown = capsys.readouterr()
    assert ": /opt/tools/tetrad probe " in shown.err.splitlines()[0]
    assert shown.out.splitlines()[-1].startswith("/opt/tools/tetrad train ")
    row = next(line for line in shown.out.splitlines() if "steps per image" in line)
    assert "30000" in row and "e+" not in row


def test_a_method_that_does_not_fit_is_marked_and_no_cell_is_cut(
    model: str, image_folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recommend.recommend(image_folder, "style", model, memory="4MB")
    table = capsys.readouterr().out
    assert "does not" in table
    assert "…" not in table


def test_the_options_that_each_method_advises_are_flags_of_its_command() -> None:
    commands = typer.main.get_command(train.app).commands  # type: ignore[attr-defined]
    for kind, method in METHODS.items():
        flags = {flag for parameter in commands[kind].params for flag in parameter.opts}
        advised = {f"--{key}" for settings in method.advice.settings.values() for key in settings}
        assert advised | {"--template", "--trigger-word", "--class-word", "--model", "--set"} <= flags


@pytest.mark.parametrize(
    "seconds,text",
    [
        (1, "1 second"),
        (30, "30 seconds"),
        (120, "2 minutes"),
        (600, "10 minutes"),
        (32739, "9 hours"),
        (2_835_924, "33 days"),
    ],
)
def test_a_duration_is_in_its_largest_unit(seconds: float, text: str) -> None:
    assert recommend.format_rough_duration(seconds) == text


def test_probe_writes_one_sheet_and_explains_it(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "probe.png"
    for _ in range(2):
        recommend.probe("a photo of a fox", model, steps=1, out=path)
    shown = capsys.readouterr()
    assert "W3205" not in shown.err  # only the built-in model has a list of words
    first, second = map(Path, shown.out.splitlines())
    assert first == path and second == tmp_path / "probe-2.png"
    assert first.read_bytes()[:8] == second.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "train nothing" in shown.err


def test_probe_says_that_the_builtin_model_does_not_know_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recommend.probe("a photo of a castle", steps=1, out=tmp_path / "probe.png")
    (warning,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("W3205"))
    assert "does not know 'castle'" in warning


@pytest.mark.usefixtures("without_plugins")
def test_images_that_cannot_be_read_are_named_and_none_left_is_an_error(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(TetradError, match=r"phone\.heic.*pillow-heif") as error:
        recommend.recommend(str(tmp_path), "object", model, memory="64GB")
    assert error.value.code == "E4003"
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    recommend.recommend(str(tmp_path), "object", model, memory="64GB")
    assert "E4107 phone.heic" in capsys.readouterr().err
