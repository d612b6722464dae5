"""`--continue-from` a run's folder: its result, whatever its name; for an unfinished one `resume` is what is meant."""

import json
import re
from pathlib import Path

import pytest

from tetrad.errors import TetradError
from tetrad.run.continuation import locate_start
from tetrad.settings import build_recipe


def make_run(folder: Path, *files: str, complete: bool = False) -> Path:
    """The folder of a run with these files, which has ended or was killed."""
    (folder / "resume").mkdir(parents=True)
    (folder / "recipe.toml").touch()
    (folder / "metrics.jsonl").write_text(json.dumps({"event": "trained", "step": 3, "steps": 9}) + "\n")
    (folder / "events.jsonl").write_text(json.dumps({"event": "finished", "complete": complete}) + "\n")
    for name in files:
        (folder / name).touch()
    return folder


def start_of(folder: Path) -> str:
    return Path(
        locate_start(build_recipe({"continue_from": str(folder), "method": {"kind": "lora"}})).continue_from
    ).name


@pytest.mark.parametrize("name", ["two-step", "zkr", "zkr-step00000009", "a-step1"])
def test_the_result_is_taken_whatever_the_run_is_called(name: str, tmp_path: Path) -> None:
    files = (f"{name}-step00000003.safetensors", f"{name}-step00000006.safetensors", f"{name}.safetensors")
    assert start_of(make_run(tmp_path / name, *files, complete=True)) == f"{name}.safetensors"


@pytest.mark.parametrize("files", [(), ("zkr-step00000003.safetensors",)])
def test_an_unfinished_run_is_to_be_resumed(files: tuple[str, ...], tmp_path: Path) -> None:
    """Also one that was killed while it loaded the model, and has no file at all."""
    folder = make_run(tmp_path / "zkr", *files)
    with pytest.raises(TetradError) as caught:
        start_of(folder)
    assert caught.value.code == "E5166" and f"tetrad resume {folder};" in str(caught.value)


def test_the_command_can_be_pasted_whatever_the_run_is_called(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "my cat")
    with pytest.raises(TetradError, match=re.escape(f"tetrad resume '{folder}'")):
        start_of(folder)


def test_a_file_of_an_unfinished_run_can_be_given(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "zkr", "zkr-step00000003.safetensors")
    assert start_of(folder / "zkr-step00000003.safetensors") == "zkr-step00000003.safetensors"
