"""Trains what a comparison still lacks: each method in a process of its own, so that its memory is its own too.

A run that has ended is kept, one that was interrupted goes on, and one that another process trains is waited for.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from tetrad.contest.figures import title_of
from tetrad.documents import read_stored_values
from tetrad.locales import Message, _
from tetrad.run.events import Event, Note, Phase, Progress
from tetrad.run.own_process import is_own_process_alive, is_training, start_own_process, stop_own_process
from tetrad.run.resume.start import START_FILE
from tetrad.run.status import RunStatus, read_status
from tetrad.run.watch import Stop

_LOOK_SECONDS = 0.5
_MESSAGE_BYTES = 4_000  # at the end of what a process printed, where its last sentence is
_GOOD_CODES = (0, 75)  # 75: stopped, and saved


class Process(Protocol):
    """A process that trains, as `subprocess.Popen` gives it."""

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...


@dataclass(frozen=True)
class Trainings:
    """The runs of a comparison in the folder `out`; `on_event` is called with what happens."""

    out: Path
    recipes: Mapping[str, Path]  # files by method
    stop: Stop
    on_event: Callable[[Event], Any]

    def train_missing(self) -> dict[str, Path]:
        """Train what has not ended yet, one method after the other; the folders of the runs that have, by method."""
        for number, method in enumerate(self.recipes, start=1):
            if self.stop():
                break
            status = self.find(method)
            if status is None or status.state != "finished":
                values = {"method": title_of(method), "number": number, "count": len(self.recipes)}
                self._train(method, status, Message(_("training with {method} ({number} of {count})"), **values))
        found = {method: self.find(method) for method in self.recipes}
        return {method: status.path for method, status in found.items() if status and status.state == "finished"}

    def find(self, method: str) -> RunStatus | None:
        """The run of a method's recipe: one that has ended, or else the newest that can go on.

        Other runs in the folder are left alone, whatever they are called.
        """
        recipe = read_stored_values(self.recipes[method])
        folders = [path for path in self.out.iterdir() if path.name.startswith(recipe["save"]["name"])]
        own = [read_status(path) for path in folders if read_stored_values(path / "recipe.toml") == recipe]
        own.sort(key=lambda status: status.changed, reverse=True)
        whole = [each for each in own if each.state == "finished"]
        return next(iter(whole or [each for each in own if (each.path / START_FILE).is_file()]), None)

    def _train(self, method: str, status: RunStatus | None, title: Message) -> None:
        """Begin or go on with a run, and follow it to its end; a failure is a note, and the other methods go on."""
        with tempfile.TemporaryFile() as log:
            process = None
            if not self._is_alive(method):
                arguments = ["resume", str(status.path)] if status else ["train", "--recipe", str(self.recipes[method])]
                process = start_own_process(arguments, log, self._mark(method))
            self._follow(method, process, title)
            code = process.poll() if process else 0
            if code not in _GOOD_CODES:
                template = _("{method} has failed, and the others continue: {reason}")
                note = Message(template, method=title_of(method), reason=self._explain(method, log, code))
                self.on_event(Note(note, "W5503"))

    def _follow(self, method: str, process: Process | None, title: Message) -> None:
        """Wait for the end of a run; without a process of ours for that of another one."""
        steps = step = is_told = 0
        self.on_event(Phase(title))
        while process.poll() is None if process else self._is_alive(method):
            status = self.find(method)
            if status and status.steps != steps:
                steps = status.steps
                self.on_event(Phase(title, steps))
            if status and status.step != step:
                step = status.step
                self.on_event(Progress(step))
            if self.stop() and not is_told:
                is_told = self._end(process, status)
            time.sleep(_LOOK_SECONDS)

    def _mark(self, method: str) -> Path:
        """By which a process is known before its run shows signs of life."""
        return self.recipes[method].with_suffix(".process")

    def _is_alive(self, method: str) -> bool:
        """Whether a process trains with the method, or will, such as that of a comparison that was killed."""
        status = self.find(method)
        return (status is not None and is_training(status.path)) or is_own_process_alive(self._mark(method))

    @staticmethod
    def _end(process: Process | None, status: RunStatus | None) -> bool:
        """Tell a run to save and end; before it has a folder there is nothing to save.  False where it did not work."""
        if status is not None:
            return stop_own_process(status.path)
        if process:
            process.terminate()
        return process is not None

    def _explain(self, method: str, log: IO[bytes], code: int | None) -> Message | str:
        """Why a run has failed: as its folder says, or the last line that it printed."""
        status = self.find(method)
        if status and status.state == "failed" and status.error:
            return status.error
        log.seek(max(0, log.seek(0, 2) - _MESSAGE_BYTES))
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else Message(_("its process ended with code {code}"), code=code)
