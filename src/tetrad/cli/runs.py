"""Shared by the commands that train: settings from a recipe file and flags, showing the events, and stopping."""

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from tetrad.cli import terminal
from tetrad.errors import INTERRUPTED, INTERRUPTED_BUT_SAVED
from tetrad.locales import _
from tetrad.run.processes.world import read_world
from tetrad.run.saving import is_saving
from tetrad.settings.field import Setting
from tetrad.settings.toml import assign, put, read_values

_SECOND_SIGNAL_SECONDS = 2.0
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help=_("TOML file with any settings; flags override it"))]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help=_("Any setting: section.key=value, like save.every=100"), metavar="KEY=VALUE"),
]
AsJson = Annotated[bool, typer.Option("--json", help=_("Print one JSON object per line, for programs"))]


def collect_values(
    recipe: Path | None,
    flags: Mapping[str, Setting],
    given: Mapping[str, Any],
    assignments: list[str] | None,
    arguments: Mapping[str, Any],
    imported: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The values of a recipe file, or imported settings, overridden by the command line: arguments, flags, --set."""
    values = read_values(recipe) if recipe else {}
    for key, value in imported.items():
        put(values, key, value)
    for key, argument in arguments.items():
        if argument not in ("", None):
            put(values, key, argument)
    for name, value in given.items():
        if value is not None:
            put(values, flags[name].key, value)
    for assignment in assignments or []:
        assign(values, assignment)
    return values


def follow(events: Iterator[Any], as_json: bool, shows_next_steps: bool = True) -> Any:
    """Show a run's events to the end; exits with another code than 0 where the run was interrupted."""
    from tetrad.run.watch import StoppedBeforeStart

    try:
        finished = terminal.show_events(events, as_json, shows_next_steps)
    except StoppedBeforeStart:
        terminal.print_note(_("stopped before the run had a folder: nothing was written"))
        sys.exit(INTERRUPTED)
    if finished is None and read_world().is_follower:
        return None
    if finished is None or not finished.complete:
        sys.exit(INTERRUPTED_BUT_SAVED)
    return finished


class StopRequest:
    """True after Ctrl-C, Ctrl-Break or SIGTERM.  A second signal ends the program at once, but never while it saves.

    A closed terminal (SIGHUP) or lost output does not end a run: it writes its folder until it is complete.
    """

    def __init__(self) -> None:
        self.requested_at: float | None = None
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            if number := getattr(signal, name, None):
                signal.signal(number, self.handle_signal)
        if hangup := getattr(signal, "SIGHUP", None):
            signal.signal(hangup, signal.SIG_IGN)

    def handle_signal(self, signal_number: int, frame: object) -> None:
        """A second signal counts after two seconds, since programs and impatient fingers send two at once."""
        if self.requested_at is None:
            self.requested_at = time.monotonic()
            with suppress(OSError, RuntimeError):  # a lost terminal, or a signal in the middle of another print
                terminal.print_note("")
                terminal.print_note(_("stopping after this step and saving the result; press Ctrl-C again to exit"))
        elif time.monotonic() - self.requested_at >= _SECOND_SIGNAL_SECONDS and not is_saving():
            sys.exit(INTERRUPTED)

    def __call__(self) -> bool:
        return self.requested_at is not None
