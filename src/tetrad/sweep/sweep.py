"""A sweep: all runs of a grid, so many at a time, with its table after each; weak runs may be stopped early."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tetrad.documents import parse_toml, read_stored_values
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import write_atomically
from tetrad.judging.scores import read_scores
from tetrad.locales import _
from tetrad.run.heartbeat import hold_lock
from tetrad.settings.field import replace
from tetrad.settings.toml import dump_recipe
from tetrad.sweep.attempt import Attempt
from tetrad.sweep.grid import Cell, make_grid
from tetrad.sweep.results import Row, compare_with_start, read_rows, write_results

_LOOK_SECONDS = 0.5
HALVINGS = 2  # before the last round: a quarter of the steps, a half, and all


class Place(Protocol):
    """Where runs are trained."""

    def submit(self, attempt: Attempt) -> "Future[int]":
        """Train a run until it is done; the result is its exit code."""

    def stop(self) -> None:
        """Tell all runs to stop, and start no other."""


@dataclass
class Sweep:
    """The runs of a grid in one folder; every run is a normal run folder."""

    folder: Path
    over: Sequence[str]
    cells: Sequence[Cell]
    halves: bool = False
    stopped_early: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, base: Mapping[str, Any], over: Sequence[str], folder: Path, halves: bool = False) -> "Sweep":
        """The sweep in this folder, new or to go on with.

        E3192 where a run there has another recipe, or where weak runs cannot be stopped since the length is not given.
        """
        fixed = {"save.out": str(folder.absolute()), "judge.scores": "on"}
        cells = make_grid(base, over, fixed)
        if halves:
            cells = [_save_for_halving(cell) for cell in cells]
        sweep = cls(folder, over, cells, halves)
        for cell in cells:
            sweep._write_recipe(cell)
        return sweep

    def _write_recipe(self, cell: Cell) -> None:
        path = Attempt(self.folder, cell.name).recipe
        text = dump_recipe(cell.recipe)
        if path.exists() and read_stored_values(path) != _plain(cell):
            template = _(
                "{folder} has a run {name} with another recipe ({file}); choose another folder with --out, or remove it"
            )
            raise TetradError("E3192", template, folder=self.folder, name=cell.name, file=path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())

    def train(self, place: Place, is_stopped: Callable[[], bool]) -> Iterator[list[Row]]:
        """Train all runs; yields the table, the best run first, whenever one has ended.

        E4203 where another process trains the sweep.
        """
        template = _("another process trains the sweep in {folder}; wait until it has ended, or choose another --out")
        with hold_lock(self.folder / ".sweeping", lambda: TetradError("E4203", template, folder=self.folder)):
            try:
                yield from self._train_rounds(place, is_stopped)
            except BaseException:  # what still trains saves and ends too
                place.stop()
                raise

    def _train_rounds(self, place: Place, is_stopped: Callable[[], bool]) -> Iterator[list[Row]]:
        yield self._report()
        alive = list(self.cells)
        for number in range(HALVINGS + 1 if self.halves else 1):
            is_last = not self.halves or number == HALVINGS
            attempts = [Attempt(self.folder, cell.name, 0 if is_last else _step_of(cell, number)) for cell in alive]
            waiting = {place.submit(attempt) for attempt in attempts}
            while waiting:
                ended, waiting = wait(waiting, _LOOK_SECONDS, FIRST_COMPLETED)
                if is_stopped():
                    place.stop()
                for each in ended:
                    each.result()
                if ended:
                    yield self._report()
            if is_stopped() or is_last:
                return
            alive = self._keep_better_half(attempts, alive)
            yield self._report()

    def _keep_better_half(self, attempts: Sequence[Attempt], cells: Sequence[Cell]) -> list[Cell]:
        """The runs to go on with: the half whose loss has fallen most, at the first scores of this round."""

        def change_of(attempt: Attempt) -> float:
            rows, _problems = read_scores(attempt.run)
            row = next((row for row in rows if row.step >= attempt.until), None)
            change = compare_with_start(rows, row)[1]
            return float("inf") if change is None else change

        order = sorted(zip(attempts, cells, strict=True), key=lambda pair: change_of(pair[0]))
        kept = {cell.name for _attempt, cell in order[: -(-len(order) // 2)]}
        self.stopped_early += [cell.name for cell in cells if cell.name not in kept]
        return [cell for cell in cells if cell.name in kept]

    def _report(self) -> list[Row]:
        rows = read_rows(self.folder, self.cells, self.stopped_early)
        write_results(self.folder, self.over, rows)
        return rows


def _step_of(cell: Cell, number: int) -> int:
    """The step after which a round compares the runs."""
    parts: int = 2 ** (HALVINGS - number)
    return -(-cell.recipe.train.steps // parts)


def _save_for_halving(cell: Cell) -> Cell:
    """The run with scores at the steps that are compared.  E3192 where its length is not given."""
    recipe = cell.recipe
    if not recipe.train.steps:
        raise TetradError("E3192", _("--halve compares runs at a quarter and a half of train.steps; set train.steps"))
    every = recipe.save.every or _step_of(cell, 0)
    return Cell(cell.name, cell.values, replace(recipe, save=replace(recipe.save, every=every)))


def _plain(cell: Cell) -> dict[str, Any]:
    """The recipe as it is read back from its file."""
    return parse_toml(dump_recipe(cell.recipe))
