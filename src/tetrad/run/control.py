"""Commands to a running process through files in its folder `control`: stop, pause, continue, save, sample."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

Command = Literal["stop", "pause", "continue", "save", "sample"]
COMMANDS: tuple[Command, ...] = get_args(Command)
_FOLDER = "control"
_LOOK_SECONDS = 0.2


def send_command(folder: Path, command: Command) -> None:
    """Tell the process that trains in a run's folder to do something.  Raises OSError."""
    (folder / _FOLDER).mkdir(exist_ok=True)
    (folder / _FOLDER / command).touch()


class Control:
    """Takes the commands out of the folder; `acknowledge` is called with each."""

    def __init__(self, folder: Path, acknowledge: Callable[[Command], None]) -> None:
        self.folder = folder / _FOLDER
        self.acknowledge = acknowledge
        self.is_stopped = self.is_paused = False
        self.requests: set[Command] = set()
        self.last_look = 0.0

    def look(self) -> None:
        """Take what has come since the last look, at most a few times a second."""
        if time.monotonic() - self.last_look < _LOOK_SECONDS:
            return
        self.last_look = time.monotonic()
        for command in COMMANDS:
            if self._remove(command):
                self._apply(command)
                self.acknowledge(command)

    def take(self, command: Command) -> bool:
        """Whether this was asked for since it was last taken."""
        found = command in self.requests
        self.requests.discard(command)
        return found

    def clear(self) -> None:
        """Remove commands that were meant for an earlier process."""
        for command in COMMANDS:
            self._remove(command)

    def _apply(self, command: Command) -> None:
        if command == "stop":
            self.is_stopped, self.is_paused = True, False
        elif command == "pause":
            self.is_paused = True
        elif command == "continue":
            self.is_paused = False
        else:
            self.requests.add(command)

    def _remove(self, command: Command) -> bool:
        with suppress(OSError):
            (self.folder / command).unlink()
            return True
        return False
