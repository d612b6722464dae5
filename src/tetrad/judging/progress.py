"""The scores of a run in the order of its steps, and which of its checkpoints is the one to use."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tetrad.judging.scores import CheckpointScores, Score
from tetrad.judging.thresholds import THRESHOLDS


@dataclass(frozen=True)
class Progress:
    """The rows at full strength, the first of them from before the first step, and the untouched base model's."""

    start: CheckpointScores
    rows: Sequence[CheckpointScores]  # without the start, by step
    base: CheckpointScores | None

    @property
    def last(self) -> CheckpointScores:
        return self.rows[-1]

    def has(self, name: str) -> bool:
        return name in self.last.scores

    def compares(self, name: str) -> bool:
        """Whether the last row and the start both have this score."""
        return self.has(name) and name in self.start.scores

    def change(self, name: str, row: CheckpointScores) -> Score:
        """The change of a score since the start, relative to it, with its error."""
        start, now = self.start.scores[name].value, row.scores[name]
        scale = abs(start) or 1.0
        return Score((now.value - start) / scale, (now.error or 0.0) / scale)

    def find_best(self) -> CheckpointScores | None:
        """The checkpoint to use: the last one, or that of the lowest cost where this is clearly better.

        Without losses it is that of the best likeness. Only a row with a file can be used.
        """
        rows = [row for row in self.rows if row.file]
        if with_cost := [row for row in rows if self.has_cost(row)]:
            best, last = min(with_cost, key=self.cost), with_cost[-1]
            return best if self.cost(last) - self.cost(best) > THRESHOLDS["worse"].value else last
        if with_likeness := [row for row in rows if "likeness" in row.scores]:
            return max(with_likeness, key=lambda row: row.scores["likeness"].value)
        return rows[-1] if rows else None

    def has_cost(self, row: CheckpointScores) -> bool:
        return "training_loss" in self.start.scores and "training_loss" in row.scores

    def cost(self, row: CheckpointScores) -> float:
        """The relative change of the training loss since the start, and a part of the drift.

        Held-out images have no part in it: the loss of the few there are rises long before images get worse
        (docs/judging.md).
        """
        drift = row.scores["drift"].value if "drift" in row.scores else 0.0
        return self.change("training_loss", row).value + THRESHOLDS["weight of drift"].value * drift

    def with_score(self, name: str) -> list[CheckpointScores]:
        return [row for row in self.rows if name in row.scores]


def find_best(rows: Iterable[CheckpointScores]) -> CheckpointScores | None:
    """The checkpoint to use of those that have a file."""
    run = arrange_rows(rows)
    return run.find_best() if run else None


def arrange_rows(rows: Iterable[CheckpointScores]) -> Progress | None:
    """The rows of a run in order; None where nothing after its start was measured."""
    ordered = sorted(rows, key=lambda row: row.step)
    full = [row for row in ordered if row.strength == 1]
    base = next((row for row in ordered if row.strength == 0), None)
    start = full[0] if full and not full[0].file else base
    after = [row for row in full if row is not start]
    return Progress(start or CheckpointScores(0, strength=0.0), after, base) if after else None
