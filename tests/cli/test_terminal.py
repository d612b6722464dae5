"""Progress of a run where stderr is not a terminal."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tetrad.cli import terminal
from tetrad.errors import TetradError
from tetrad.locales import Message
from tetrad.run.events import Event, Finished, Note, Phase, Progress, Saved, Trained


def show_progress(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of a phase with three progress events."""
    display = terminal.PlainLines()
    for event in (Phase("reading the images", 3), Progress(1), Progress(2), Progress(3)):
        display(event)
    return capsys.readouterr().err.splitlines()


def test_progress_is_shown_when_a_line_is_due(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert show_progress(capsys) == ["reading the images"]
    monkeypatch.setattr(terminal, "LINE_INTERVAL_SECONDS", 0.0)
    lines = [f"reading the images {done}/3" for done in (1, 2, 3)]
    assert show_progress(capsys) == ["reading the images", *lines]


RESULT, CHECKPOINT, START = Path("runs/x.safetensors"), Path("runs/x-1.safetensors"), Path("old.safetensors")


def test_the_path_of_the_result_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = [
        Trained(1, 2, 0.1, 0.1, 0.1),
        Saved(1, CHECKPOINT),
        Trained(2, 2, 0.1, 0.1, 0.1),
        Saved(2, RESULT),
        Note(Message("a note"), "W3172"),
        Saved(2, START),
        Finished(RESULT, RESULT.parent, 2, 1.0, True),
    ]
    terminal.show_events(events, as_json=False, shows_next_steps=False)
    shown = capsys.readouterr()
    assert shown.out == f"{RESULT}\n" and str(RESULT) not in shown.err
    for text in (CHECKPOINT, START, "W3172 a note"):
        assert shown.err.count(str(text)) == 1


def test_what_was_saved_before_an_error_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    def events() -> Iterator[Event]:
        yield Saved(1, CHECKPOINT)
        raise TetradError("E7001", "an error")

    with pytest.raises(TetradError):
        terminal.show_events(events(), as_json=False)
    assert str(CHECKPOINT) in capsys.readouterr().err


def test_json_has_null_where_a_number_is_not_finite(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_json({"loss": float("nan"), "layers": [{"norm": float("inf")}, (1.5,)]})
    assert capsys.readouterr().out == '{"loss": null, "layers": [{"norm": null}, [1.5]]}\n'
