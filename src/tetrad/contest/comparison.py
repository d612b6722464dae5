"""What a comparison has found, as one value, and as the plain values of comparison.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.contest.answer import RULE, Answer
from tetrad.contest.figures import Result, describe_figures, list_figures
from tetrad.contest.judge import Judged
from tetrad.contest.wish import Budget, Wish
from tetrad.judging.scores import Score
from tetrad.locales import Message, _, in_english, ngettext

SHEET, PAGE, RECORD = "comparison.webp", "comparison.html", "comparison.json"


@dataclass(frozen=True)
class Comparison:
    """The methods that were trained and judged, and which of them to use."""

    wish: Wish
    out: Path
    budget: Budget
    results: tuple[Result, ...]
    answer: Answer
    judged: Judged
    notes: tuple[Message, ...]  # which methods are missing, and why
    images: int
    count: int  # images with the trigger word that each method was judged by

    @property
    def sheet(self) -> Path:
        return self.out / SHEET

    @property
    def page(self) -> Path:
        return self.out / PAGE

    @property
    def base(self) -> Result:
        """The base model in the place of a method: its scores are what there is without a training."""
        return Result("", self.out, scores=self.judged.base_scores)

    def make_rows(self) -> list[tuple[str, list[str]]]:
        """The figures as a table: each with its name, and the texts of the base model and of the methods."""
        columns = [describe_figures(self.base), *map(describe_figures, self.results)]
        return [(name, [column.get(name, "–") for column in columns]) for name in list_figures(self.results)]

    def is_best(self, name: str, method: str) -> bool:
        """Whether a figure of a method is the best, or not clearly worse."""
        return method in self.answer.best.get(name, ())

    def describe_budget(self) -> Message:
        """What every training got, in a sentence."""
        if self.budget.seconds:
            template = _("Every method had the same time, {minutes:g} minutes of steps, at its own pace.")
            return Message(template, minutes=round(self.budget.seconds / 60, 1))
        template = _("Every method was trained for {steps:,} steps and so saw each image equally often.")
        return Message(template, steps=self.budget.steps)

    def describe_judging(self) -> Message:
        """By how many images, in a sentence."""
        template = _(
            "Scores ± standard error, of {count} images with the trigger word and {count} without, at the same prompts"
            " and seeds."
        )
        return Message(template, count=self.count)

    def describe_images(self) -> Message:
        return Message(ngettext("{count} image of {name}", "{count} images of {name}", self.images), name=self.name)

    @property
    def name(self) -> str:
        """What the images are called: their folder."""
        return self.wish.images if self.wish.is_builtin else Path(self.wish.images).name

    def as_record(self) -> dict[str, Any]:
        """Everything as plain values, its sentences in English."""
        pick = self.answer.pick
        record: dict[str, Any] = {
            "asked": self.wish.as_record(),
            "budget": vars(self.budget),
            "answer": {"method": pick.method if pick else None, "reason": self.answer.reason, "rule": Message(RULE)},
            "base": _describe_scores(self.judged.base_scores),
            "methods": {result.method: self._describe(result) for result in self.results},
            "notes": self.notes,
            "judged_by": self.count,
            "sheet": str(self.sheet),
            "page": str(self.page),
        }
        return dict(in_english(record))

    def _describe(self, result: Result) -> dict[str, Any]:
        return {
            "run": str(result.run),
            "file": str(result.file),
            "steps": result.step,
            "views_per_image": result.views,
            "seconds": result.seconds,
            "memory_bytes": result.memory,
            "file_bytes": result.size,
            "scores": _describe_scores(result.scores),
            "best_for": list(self.answer.best_for.get(result.method, ())),
        }


def _describe_scores(scores: Mapping[str, Score]) -> dict[str, Any]:
    return {name: {"value": score.value, "error": score.error} for name, score in scores.items()}
