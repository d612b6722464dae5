"""`tetrad runs` and `tetrad resume`: which run is meant, what is said of it, and commands to a running one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tetrad import cli
from tetrad.run.folder import RunFolder
from tetrad.run.watch import never_stop, watch_folder


def make_run(out: Path, name: str, step: int, complete: bool = False, error: str = "") -> Path:
    """A run of ten steps that has come to a step."""
    path = out / name
    (path / "resume" / f"step-{step:08d}").mkdir(parents=True)
    (path / "recipe.toml").write_text('[method]\nkind = "lora"\n')
    (path / "plan.toml").write_text('[train]\nsteps = 10\n[method]\nkind = "lora"\n')
    (path / "metrics.jsonl").write_text(json.dumps({"event": "trained", "step": step, "steps": 10}) + "\n")
    last = {"event": "finished", "complete": True} if complete else {"event": "phase", "name": "training"}
    (path / "events.jsonl").write_text(json.dumps(last | {"time": 0.0}) + "\n")
    if error:
        (path / "error.json").write_text(json.dumps({"code": error[:5], "text": error}))
    return path


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs", "done", 10, complete=True)
    make_run(tmp_path / "runs", "bad", 4, error="E7001 the loss is NaN")
    make_run(tmp_path / "runs", "zkr", 7)
    (tmp_path / "runs" / "photos").mkdir()
    return tmp_path / "runs"


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[object, str, str]:
    monkeypatch.setattr("sys.argv", ["tetrad", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def test_the_list_has_a_line_for_each_run(out: Path, capsys: Capture, monkeypatch: Patch) -> None:
    code, text, _err = run(capsys, monkeypatch, "runs")
    rows = {line.split()[0]: line.split()[1:4] for line in text.splitlines()}
    assert not code and len(text.splitlines()) == 4
    assert rows["done"] == ["finished", "10/10", "lora"]
    assert rows["bad"] == ["failed", "4/10", "lora"] and rows["zkr"] == ["interrupted", "7/10", "lora"]


def test_programs_get_a_json_object_for_each_run(out: Path, capsys: Capture, monkeypatch: Patch) -> None:
    _code, text, _err = run(capsys, monkeypatch, "runs", "--json")
    records = [json.loads(line) for line in text.splitlines()]
    assert {record["path"].split("/")[-1]: record["state"] for record in records} == {
        "done": "finished",
        "bad": "failed",
        "zkr": "interrupted",
    }


def test_a_run_is_shown_with_its_error_and_the_step_to_resume(out: Path, capsys: Capture, monkeypatch: Patch) -> None:
    _code, text, _err = run(capsys, monkeypatch, "runs", "show", "bad")
    assert "bad: failed" in text and "step 4 of 10, lora" in text
    assert "resumed from step 4" in text and "E7001 the loss is NaN" in text


@pytest.mark.parametrize("command", ["stop", "pause", "continue", "save", "sample"])
def test_a_command_reaches_only_a_running_run(command: str, out: Path, capsys: Capture, monkeypatch: Patch) -> None:
    code, _out, err = run(capsys, monkeypatch, "runs", command, "zkr")
    assert code == 5 and err.startswith("E5165") and "tetrad resume zkr" in err
    with watch_folder(RunFolder(out / "zkr", "zkr"), never_stop):
        code, _out, _err = run(capsys, monkeypatch, "runs", command, "zkr")
        assert not code and (out / "zkr" / "control" / command).exists()
        code, _out, err = run(capsys, monkeypatch, "runs", "rm", "zkr")
        assert code == 4 and err.startswith("E4203") and "tetrad runs stop zkr" in err
    assert (out / "zkr" / "metrics.jsonl").exists()


def test_removing_keeps_the_trained_file_and_says_what_goes(out: Path, capsys: Capture, monkeypatch: Patch) -> None:
    (out / "zkr" / "zkr.safetensors").touch()
    _code, text, _err = run(capsys, monkeypatch, "runs", "rm", "zkr")
    assert "runs/zkr/resume" in text and (out / "zkr" / "zkr.safetensors").exists()
    assert not (out / "zkr" / "resume").exists()


def test_the_log_is_readable_and_also_json(out: Path, capsys: Capture, monkeypatch: Patch) -> None:
    assert "phase: training" in run(capsys, monkeypatch, "runs", "log", "zkr")[1]
    assert json.loads(run(capsys, monkeypatch, "runs", "log", "zkr", "--json")[1])["name"] == "training"


@pytest.mark.parametrize("arguments", [["resume", "nothing"], ["runs", "show", "nothing"]])
def test_an_unknown_run_is_one_sentence(arguments: list[str], out: Path, capsys: Capture, monkeypatch: Patch) -> None:
    code, _out, err = run(capsys, monkeypatch, *arguments)
    assert code == 5 and err.startswith("E5162") and "zkr" in err and err.count("\n") == 1


def test_without_a_name_the_newest_unfinished_run_is_resumed(out: Path, capsys: Capture, monkeypatch: Patch) -> None:
    code, _out, err = run(capsys, monkeypatch, "resume")
    assert code == 5 and "the newest unfinished run is runs/zkr: step 7 of 10" in err  # and this one has no start.json
    code, _out, err = run(capsys, monkeypatch, "resume", "--out", "elsewhere")
    assert code == 5 and err.startswith("E5162 elsewhere has no unfinished run")


def test_the_list_needs_no_torch(out: Path) -> None:
    code = (
        "import sys; sys.argv = ['tetrad', 'runs']; from tetrad.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    )
    code += "sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=out.parent, capture_output=True)
