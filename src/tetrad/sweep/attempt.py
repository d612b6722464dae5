"""Train one run of a sweep in a process of its own, or go on with it; the run's folder says what is there already."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tetrad.judging.scores import read_scores
from tetrad.run.own_process import is_own_process_alive, is_training, start_own_process, stop_own_process
from tetrad.run.resume.start import START_FILE
from tetrad.run.status import read_status

_LOOK_SECONDS = 0.5
_LOGS, _RECIPES = "logs", "recipes"


@dataclass(frozen=True)
class Attempt:
    """A run of a sweep, to be trained until its scores of step `until`, or to its end for 0."""

    folder: Path  # of the sweep
    name: str
    until: int = 0

    @property
    def run(self) -> Path:
        return self.folder / self.name

    @property
    def recipe(self) -> Path:
        return self.folder / _RECIPES / f"{self.name}.toml"

    @property
    def log(self) -> Path:
        """What the process of the run prints."""
        return self.folder / _LOGS / f"{self.name}.log"

    def is_done(self) -> bool:
        """Whether the run has ended, or has the scores that it is to be trained until."""
        if not (self.run / "recipe.toml").exists():
            return False
        return read_status(self.run).state == "finished" or (self.until > 0 and self.has_scores())

    @property
    def mark(self) -> Path:
        """By which its process is known before the run shows signs of life."""
        return self.recipe.with_suffix(".process")

    def is_alive(self) -> bool:
        """Whether a process trains it, or will, such as that of a sweep that was killed."""
        return is_training(self.run) or is_own_process_alive(self.mark)

    def has_scores(self) -> bool:
        return any(row.step >= self.until for row in read_scores(self.run)[0])

    def list_arguments(self) -> list[str]:
        """The command: a new run, or the one that is there, where its process has ended."""
        if (self.run / START_FILE).exists():
            return ["resume", str(self.run)]
        return ["train", "--recipe", str(self.recipe)]

    def train(self, is_stopped: Callable[[], bool], environment: Mapping[str, str] | None = None) -> int:
        """Train, and wait for the end; returns the exit code.  A run that still trains elsewhere is waited for."""
        self._wait(self.is_alive, is_stopped)
        if self.is_done() or is_stopped():
            return 0
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            process = start_own_process(self.list_arguments(), log, self.mark, {**os.environ, **(environment or {})})
        self._wait(lambda: process.poll() is None, is_stopped)
        return process.wait()

    def _wait(self, is_alive: Callable[[], bool], is_stopped: Callable[[], bool]) -> None:
        """Wait until the run has ended; it is told to end where the sweep does, or where it has the scores."""
        is_told = False
        while is_alive():
            if not is_told and (is_stopped() or (self.until and self.has_scores())):
                is_told = stop_own_process(self.run)
            time.sleep(_LOOK_SECONDS)
