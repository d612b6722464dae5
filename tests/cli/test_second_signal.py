"""The first Ctrl-C asks a run to stop; a second one ends the program, but not at once, and never while it saves."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tetrad.cli import runs
from tetrad.run.saving import saving


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """What `StopRequest` sets, without setting it: Ctrl-C still ends the tests."""
    found: dict[int, Any] = {}
    monkeypatch.setattr(signal, "signal", found.__setitem__)
    return found


def send(handler: Callable[[int, object], None]) -> None:
    handler(signal.SIGINT, None)


def test_two_signals_at_once_count_as_one(clock: list[float], handlers: dict[int, Any]) -> None:
    """A terminal sends SIGINT to every program in it, and some programs pass it on: both arrive within milliseconds."""
    stop = runs.StopRequest()
    assert not stop()
    for _ in range(3):
        send(handlers[signal.SIGINT])
        clock[0] += 0.005
        assert stop()
    send(handlers[signal.SIGTERM])
    clock[0] += 1.9
    send(handlers[signal.SIGTERM])


def test_a_second_signal_after_two_seconds_ends_the_program_unless_it_saves(
    clock: list[float], handlers: dict[int, Any]
) -> None:
    runs.StopRequest()
    send(handlers[signal.SIGINT])
    clock[0] += 2.0
    with saving():
        send(handlers[signal.SIGINT])
        with saving():
            pass
        send(handlers[signal.SIGINT])
    with pytest.raises(SystemExit) as caught:
        send(handlers[signal.SIGINT])
    assert caught.value.code == runs.INTERRUPTED


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_closed_terminal_is_ignored(handlers: dict[int, Any]) -> None:
    runs.StopRequest()
    assert handlers[signal.SIGHUP] is signal.SIG_IGN
