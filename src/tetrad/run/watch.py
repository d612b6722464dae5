"""What happens around a run while it trains: its folder is locked, it gives signs of life, and it obeys commands."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tetrad.run.control import Command, Control
from tetrad.run.events import Controlled, Event
from tetrad.run.folder import RunFolder
from tetrad.run.full_disk import DiskGuard
from tetrad.run.heartbeat import Heartbeat, lock_folder

Stop = Callable[[], bool]  # called after every unit of work; True ends the run
_PAUSE_SECONDS = 0.1  # between two looks while a run is paused


class StoppedBeforeStart(Exception):
    """The run was told to stop before it had a folder, so nothing is left to go on with."""


class StoppedWhileGenerating(Exception):
    """The run was told to stop between two steps of the sampler."""


def stop_between_steps(stop: Stop, step: int, steps: int) -> None:
    """Called before each step of a sampler.  StoppedWhileGenerating where `stop` returns True."""
    if stop():
        raise StoppedWhileGenerating


def never_stop() -> bool:
    return False


class Watch:
    """To be called after every unit of work: True ends the run.  It waits while the run is paused."""

    def __init__(self, folder: RunFolder, stop: Stop, waits_for_space: bool = True) -> None:
        self.disk = DiskGuard(self, waits_for_space)
        self.heartbeat = Heartbeat(folder.path)
        self.control = Control(folder.path, self._acknowledge)
        self._events: list[Event] = []
        self._stop = stop

    def __call__(self) -> bool:
        self.control.look()
        while self.control.is_paused and not self._stop():
            self._show_pause(True)
            time.sleep(_PAUSE_SECONDS)
            self.control.look()
        self._show_pause(False)
        return self._stop() or self.control.is_stopped

    def take(self, command: Command) -> bool:
        """Whether this was asked for since it was last taken."""
        return self.control.take(command)

    def take_events(self) -> list[Event]:
        """The acknowledgements since the last call."""
        taken = list(self._events)
        self._events.clear()
        return taken

    def note_step(self, step: int) -> None:
        self.heartbeat.step = step

    def _acknowledge(self, command: Command) -> None:
        self._events.append(Controlled(command, self.heartbeat.step))

    def _show_pause(self, is_paused: bool) -> None:
        if self.heartbeat.paused != is_paused:
            self.heartbeat.paused = is_paused
            self.heartbeat.beat()


@contextmanager
def watch_folder(folder: RunFolder, stop: Stop, waits_for_space: bool = True) -> Iterator[Watch]:
    """A watch over a run's folder for as long as the run trains.  E4203 where another process trains in it."""
    with lock_folder(folder.path):
        watch = Watch(folder, stop, waits_for_space)
        watch.control.clear()
        watch.heartbeat.start()
        try:
            yield watch
        finally:
            watch.heartbeat.stop()
