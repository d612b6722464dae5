"""What a person sees of a run where there is no terminal."""

import pytest

from tetrad.cli import terminal
from tetrad.training.events import Phase, Progress


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    show = terminal.Lines()
    for event in (Phase("reading the pictures", 3), Progress(1), Progress(2), Progress(3)):
        show(event)
    return capsys.readouterr().err.splitlines()


def test_what_takes_long_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(capsys) == ["reading the pictures"]
    monkeypatch.setattr(terminal, "LINE_EVERY", 0.0)
    assert told(capsys) == ["reading the pictures", *(f"reading the pictures {done}/3" for done in (1, 2, 3))]
