"""What is said after a run can be pasted, and what is wrong is said before torch is loaded."""

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tetrad.cli import commands, next_steps
from tetrad.cli.training_speed import TrainingSpeed
from tetrad.methods import METHODS
from tetrad.run.events import Finished, Note, Phase, Trained


def finish(tmp_path: Path, kind: str, **values: Any) -> tuple[list[str], Path]:
    """What is said after a run of a method, and its file."""
    folder = tmp_path / "my runs" / "zkr"
    (folder / "samples").mkdir(parents=True)
    file = folder / f"{values.pop('stem', 'zkr')}.safetensors"
    file.touch()
    for step in (40, 80):
        (folder / "samples" / f"step{step:08d}-sheet.png").touch()
    plan = {
        "model": {"path": values.get("model", "models/sd 15.safetensors")},
        "method": {"kind": kind, **values.get("method", {})},
        "save": {"format": values.get("format", "")},
        "data": {"trigger_word": values.get("word", "zkr"), "class_word": values.get("class_word", "dog")},
        "sample": {"prompts": values.get("prompts", [])},
    }
    (folder / "plan.toml").write_text(tomli_w.dumps(plan))
    return list(map(str, next_steps.describe_next_steps(Finished(file, folder, 80, 1.0, True)))), file


# How a file of each method is used: in the prompt, and the option that leads to it.
USES = {
    "lora": ("a photo of zkr dog <lora:zkr:0.8>", "--lora-dir"),
    "hypernetwork": ("a photo of zkr dog <hypernet:zkr:1>", "--hypernetwork-dir"),
    "textual-inversion": ("a photo of zkr dog", "--embeddings-dir"),
    "dreambooth": ("a photo of zkr dog", "--model"),
}
WEB_UI_FOLDERS = {
    "lora": ("models/Lora", "models/loras"),
    "hypernetwork": ("models/hypernetworks", "models/hypernetworks"),
    "textual-inversion": ("embeddings", "models/embeddings"),
    "dreambooth": ("models/Stable-diffusion", "models/checkpoints"),
}


@pytest.mark.parametrize("kind", METHODS)
def test_after_a_run_the_next_steps_are_said(kind: str, tmp_path: Path) -> None:
    (generate, judge, previews, copy), file = finish(tmp_path, kind)
    tetrad, command, prompt, *options = shlex.split(generate.partition(": ")[2])
    expected_prompt, option = USES[kind]
    assert (tetrad, command, prompt) == ("tetrad", "generate", expected_prompt)
    assert options[options.index(option) + 1] == str(file if kind == "dreambooth" else file.parent)
    assert ("models/sd 15.safetensors" in options) == (kind != "dreambooth")
    assert shlex.split(judge.partition(": ")[2]) == ["tetrad", "judge", str(file.parent)]
    assert previews.endswith("step00000080-sheet.png")
    for folder in WEB_UI_FOLDERS[kind]:
        assert folder in copy


def test_the_prompt_is_worded_like_the_captions(tmp_path: Path) -> None:
    (generate, *_), _file = finish(tmp_path, "lora", model="builtin", prompts=["a zkr, on a blue background"])
    assert "'a zkr, on a blue background <lora:zkr:0.8>'" in generate and "--model" not in generate


def test_an_embedding_is_called_by_its_file_name(tmp_path: Path) -> None:
    (generate, *_), _file = finish(tmp_path, "textual-inversion", stem="zkr-2", prompts=["a zkr, gold style"])
    assert "'a zkr-2, gold style'" in generate


def test_a_run_without_a_plan_has_no_next_steps(tmp_path: Path) -> None:
    assert not list(next_steps.describe_next_steps(Finished(tmp_path / "vae.safetensors", tmp_path, 1, 1.0, True)))


def test_a_command_has_the_full_path_where_path_does_not_lead_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "my venv" / "bin" / "tetrad"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.argv", [str(program)])
    assert shlex.split(commands.format_command("generate", "a cat")) == [str(program), "generate", "a cat"]
    assert shlex.split(commands.with_program("tetrad train lora x"))[0] == str(program)
    monkeypatch.setenv("PATH", str(program.parent))
    assert commands.format_command("generate", "a cat") == "tetrad generate 'a cat'"
    monkeypatch.setattr("sys.argv", [str(tmp_path / "tetrad" / "__main__.py")])
    assert shlex.split(commands.format_command("demo")) == [sys.executable, "-m", "tetrad", "demo"]


@pytest.mark.parametrize(
    "arguments,code",
    [
        ("train lora nosuch", "E4001"),
        ("train lora builtin:subject --model nosuch.safetensors", "E5001"),
        ("train lora builtin:subject --continue-from runs/nosuch", "E5001"),
        ("train vae-decoder nosuch", "E4001"),
        ("recommend nosuch --goal object", "E4001"),
        ("recommend builtin:subject --goal object --model nosuch.safetensors", "E5001"),
        ("probe x --model nosuch.safetensors", "E5001"),
        ("probe x --out nosuch/x.png", "E4202"),
        ("generate x --model folder/nosuch.safetensors", "E5001"),
        ("generate x --sampler nosuch", "E3201"),
        ("generate x --init-image nosuch.png", "E3251"),
        ("grid x --sampler nosuch", "E3201"),
        ("vae encode nosuch.png", "E4001"),
        ("vae show folder/nosuch.safetensors", "E5001"),
        ("inspect nosuch.safetensors", "E5001"),
    ],
)
def test_paths_are_checked_before_torch_is_loaded(
    arguments: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`announce_loading` stands before the first import of torch in every command, so it must not be reached."""
    from tetrad import cli
    from tetrad.cli import generate, grid, inspect, recommend, train, vae, vae_decoder

    def fail() -> None:
        raise AssertionError("torch is loaded before the path is checked")

    for module in (generate, grid, recommend, train, vae, vae_decoder):
        monkeypatch.setattr(module, "announce_loading", fail)
    monkeypatch.setattr(inspect, "announce_late_loading", fail)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["tetrad", *arguments.split()])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"{code} ")


def test_a_wrong_path_needs_no_torch_and_little_time() -> None:
    code = "import sys; sys.argv = ['tetrad', 'train', 'lora', 'nosuch']\nfrom tetrad.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\nassert not {'torch', 'diffusers', 'numpy'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "E4001" in done.stderr


def test_the_built_in_model_is_warned_of_before_anything_starts(tmp_path: Path) -> None:
    from tetrad.run.train import train
    from tetrad.settings import build_recipe

    recipe = build_recipe({"data": {"images": str(tmp_path)}})
    first = next(train(recipe))
    assert isinstance(first, Note) and first.code == "W5202" and "--model" in str(first.message)
    assert not isinstance(next(train(build_recipe({"data": {"images": "builtin:subject"}}))), Note)


def test_the_loss_is_smoothed_across_previews_and_the_speed_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    speed = TrainingSpeed()
    texts = []
    for number in range(1, 9):
        if number == 5:  # previews that take long
            clock[0] += 1000
            speed.restart()
        clock[0] += 0.5
        texts.append(speed.format_step(Trained(number, 8, 1.0 if number < 5 else 0.0, 0.0, 0.1)))
    assert "2.0 steps/s" in texts[3] and "2.0 steps/s" in texts[7]
    assert 0.4 < float(texts[7].split()[1]) < 0.6


def test_the_phase_of_training_goes_on_after_previews() -> None:
    from tetrad.run.session import _resume_phase

    training, previews = Phase("training", 8), Phase("generating previews", 4)
    assert list(_resume_phase(training, iter([previews]), True)) == [previews, training]
    assert list(_resume_phase(training, iter([previews]), False)) == [previews]
    assert list(_resume_phase(training, iter([]), True)) == []


@pytest.mark.parametrize(
    ("kind", "save_format", "method", "expected"),
    [
        ("lora", "kohya", {"dora": True}, ["models/Lora", "models/loras"]),
        ("lora", "lycoris", {}, ["models/Lora", "models/loras"]),
        ("lora", "diffusers", {}, ["models/loras", "A1111 and Forge do not read it"]),
        ("lora", "lycoris", {"dora": True}, []),
        ("hypernetwork", "pt", {"activation": "gelu"}, ["models/hypernetworks", "ComfyUI does not read it correctly"]),
    ],
)
def test_no_web_ui_is_named_that_cannot_read_the_file(
    kind: str, save_format: str, method: dict[str, object], expected: list[str], tmp_path: Path
) -> None:
    (_generate, _judge, _previews, *copy), _file = finish(tmp_path, kind, format=save_format, method=method)
    assert len(copy) == bool(expected)
    assert all(text in copy[0] for text in expected)
    assert ("models/Lora" in "".join(copy)) == ("models/Lora" in expected)
