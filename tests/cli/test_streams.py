"""Output that is closed, full or no longer read ends a command without a traceback, and a run with its result saved."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tetrad
from tetrad.cli import exit_with_error, runs, streams, terminal
from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.run.events import Event, Finished, Trained


def run_in_shell(command: str) -> subprocess.CompletedProcess[str]:
    """A shell command in which `tetrad` is this program."""
    tetrad_command = f"{sys.executable} -m tetrad"
    return subprocess.run(command.replace("tetrad", tetrad_command, 1), shell=True, capture_output=True, text=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_the_output_is_one_sentence() -> None:
    done = run_in_shell("tetrad --help > /dev/full")
    assert done.returncode == 4
    assert done.stderr.startswith("E4202 the output cannot be written (No space left on device); ")
    assert done.stderr.count("\n") == 1


def test_a_closed_stderr_stops_nothing() -> None:
    done = run_in_shell("tetrad --version 2>&-")
    assert (done.returncode, done.stderr) == (0, "") and tetrad.__version__ in done.stdout


def test_a_sentence_for_a_closed_stderr_is_not_printed_on_stdout() -> None:
    done = run_in_shell("tetrad nothing 2>&-")
    assert (done.returncode, done.stdout) == (2, "")


class Unwritable:
    """A display whose reader has ended."""

    def __call__(self, event: Event) -> None:
        raise BrokenPipeError

    def close(self) -> None: ...


def test_a_run_whose_output_nobody_reads_goes_on_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[int] = []
    monkeypatch.setattr(terminal, "JsonLines", Unwritable)
    monkeypatch.setattr(terminal, "drop_lost_streams", lambda error: lost.append(1) or True)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)  # Ctrl-C still ends the tests
    stop = runs.StopRequest()

    def train() -> Iterator[Event]:
        for step in range(1, 100):
            yield Trained(step, 99, 0.1, 0.1, 0.1)
            assert not stop()
        yield Finished(Path("saved"), Path(), 99, 1.0, complete=True)

    assert runs.follow(train(), as_json=True).complete and len(lost) == 100


def test_an_error_that_is_not_about_the_output_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "JsonLines", Unwritable)
    with pytest.raises(BrokenPipeError):
        terminal.show_events([Trained(1, 2, 0.1, 0.1, 0.1)], as_json=True)
    assert not streams._lost_streams


def test_an_error_is_also_a_json_object_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TETRAD_LANG", "zh_CN")
    monkeypatch.setattr(sys, "argv", ["tetrad", "train", "lora", "x", "--json"])
    template = _("{file}: {reason}")
    reason = Message(_("the file does not exist"))
    with pytest.raises(SystemExit) as caught:
        exit_with_error(TetradError("E5001", template, file="猫.pt", reason=reason))
    printed = capsys.readouterr()
    record = json.loads(printed.out.splitlines()[-1])
    assert caught.value.code == 5
    assert (record["event"], record["code"], record["template"]) == ("error", "E5001", template)
    assert record["text"] == "猫.pt: the file does not exist" and record["values"]["file"] == "猫.pt"
    assert record["values"]["reason"]["text"] == "the file does not exist"
    assert printed.err.startswith("E5001 猫.pt") and "exist" not in printed.err
