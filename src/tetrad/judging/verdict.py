"""The verdict on a run: one word, the figures behind it, the checkpoint to use, and the one setting to change."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tetrad.judging.scores import SCORES, CheckpointScores, Score
from tetrad.judging.thresholds import THRESHOLDS
from tetrad.locales import Message, _

Word = Literal["under-trained", "good", "over-trained", "leaks", "copies", "collapsed", "changed nothing", "unknown"]
VERDICTS: Mapping[Word, str] = {  # what each is called, for `Message`
    "good": _("good"),
    "under-trained": _("under-trained"),
    "over-trained": _("over-trained"),
    "leaks": _("leaks"),
    "copies": _("copies"),
    "collapsed": _("collapsed"),
    "changed nothing": _("changed nothing"),
    "unknown": _("unclear"),
}

_LATE = 0.75  # share of a run; the fall after it decides whether the loss is still falling
_MIN_MEASUREMENTS = 3  # after the start, to tell whether a loss has stopped falling


@dataclass(frozen=True)
class Verdict:
    """What the scores of a run say; `best` is None where no checkpoint can be recommended."""

    word: Word
    best: CheckpointScores | None
    reasons: tuple[Message, ...]  # the figures behind the word
    change: Message | None = None  # the one setting to change; None where none is
    unknown: tuple[Message, ...] = ()  # what is not known, and why

    @property
    def title(self) -> Message:
        return Message(VERDICTS[self.word])


@dataclass(frozen=True)
class _Run:
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

    def list_progress(self, rows: Sequence[CheckpointScores]) -> list[float]:
        """How far the run was at each row: by the learning rates of its steps if they are known, else by the steps."""
        every = (self.start, *rows)
        sums = [row.learning_rate_sum for row in every if row.learning_rate_sum is not None]
        start, *now = sums if len(sums) == len(every) else [float(row.step) for row in every]
        return [each - start for each in now]

    def with_score(self, name: str) -> list[CheckpointScores]:
        return [row for row in self.rows if name in row.scores]


def judge_run(rows: Iterable[CheckpointScores]) -> Verdict:
    """The verdict on a run by its scores, whichever of them there are."""
    run = _arrange(rows)
    if run is None:
        return Verdict("unknown", None, (), unknown=(Message(_("no checkpoint of this run has scores")),))
    verdicts = (check(run) for check in _CHECKS)
    word, reason, change = next((found for found in verdicts if found), ("unknown", None, None))
    reasons = (reason,) if reason else ()
    return Verdict(word, find_best(run.rows), reasons, change, tuple(_list_unknown(run, word)))


def find_best(rows: Sequence[CheckpointScores]) -> CheckpointScores | None:
    """The checkpoint to use: that of the lowest held-out loss, or else of the best likeness, or else the last one.

    Only a row with a file can be used.
    """
    rows = [row for row in rows if row.file and row.strength == 1]
    if with_loss := [row for row in rows if "held_out_loss" in row.scores]:
        return min(with_loss, key=lambda row: row.scores["held_out_loss"].value)
    if with_likeness := [row for row in rows if "likeness" in row.scores]:
        return max(with_likeness, key=lambda row: row.scores["likeness"].value)
    return rows[-1] if rows else None


def _arrange(rows: Iterable[CheckpointScores]) -> _Run | None:
    """The rows of a run in order; None where nothing after its start was measured."""
    ordered = sorted(rows, key=lambda row: row.step)
    full = [row for row in ordered if row.strength == 1]
    base = next((row for row in ordered if row.strength == 0), None)
    start = full[0] if full and not full[0].file else base
    after = [row for row in full if row is not start]
    return _Run(start or CheckpointScores(0, strength=0.0), after, base) if after else None


_Finding = tuple[Word, Message | None, Message | None]  # the word, the figures behind it, and what to change


def _limit(name: str) -> float:
    return THRESHOLDS[name].value


def _is_nothing(run: _Run) -> _Finding | None:
    losses = [run.change(name, run.last) for name in ("training_loss", "held_out_loss") if run.compares(name)]
    drift = run.last.scores.get("drift")
    if not losses or any(abs(loss.value) >= _limit("no change of loss") for loss in losses):
        return None
    if drift and drift.value >= _limit("no drift"):
        return None
    template = _("the loss has changed by {change:.1%} only")
    reason = Message(template, change=max((loss.value for loss in losses), key=abs))
    return "changed nothing", reason, Message(_("raise train.learning_rate, for example to three times"))


def _is_collapsed(run: _Run) -> _Finding | None:
    change = Message(_("lower train.learning_rate, for example to a third"))
    for name in ("training_loss", "held_out_loss"):
        if run.compares(name):
            loss = run.change(name, run.last)
            if loss.value > _limit("diverged") + _limit("errors") * (loss.error or 0.0):
                template = _("the {score} has risen by {change:.0%} since the start")
                return "collapsed", Message(template, score=_title(name), change=loss.value), change
    spread = run.last.scores.get("spread")
    if spread and spread.value < _limit("spread"):
        template = _(
            "generated images are nearly the same: their spread is {value:.0%} of the training images', below"
            " {limit:.0%}"
        )
        return "collapsed", Message(template, value=spread.value, limit=_limit("spread")), change
    return None


def _copies(run: _Run) -> _Finding | None:
    copying = run.last.scores.get("copying")
    if not copying or copying.value < _limit("copying"):
        return None
    template = _("{share:.0%} of the generated images are as near to a training image as a copy")
    return "copies", Message(template, share=copying.value), Message(_("lower train.steps, or add other images"))


def _leaks(run: _Run) -> _Finding | None:
    change = Message(_("add class images: data.class_images.count = 100"))
    kept = run.last.scores.get("kept")
    before = run.base.scores.get("kept") if run.base else None
    if kept and before and before.value - kept.value > _limit("kept") + _limit("errors") * (kept.error or 0.0):
        template = _(
            "without the trigger word only {kept:.0%} of the images are still the base model's, of {before:.0%}"
        )
        return "leaks", Message(template, kept=kept.value, before=before.value), change
    drift = run.last.scores.get("drift")
    if drift and drift.value > _limit("drift"):
        template = _("without the trigger word predictions have changed by {value:.0%}, above {limit:.0%}")
        return "leaks", Message(template, value=drift.value, limit=_limit("drift")), change
    return None


def _is_over_trained(run: _Run) -> _Finding | None:
    rows = run.with_score("held_out_loss") if run.compares("held_out_loss") else []
    if len(rows) < 2:
        return None
    best = min(rows, key=lambda row: row.scores["held_out_loss"].value)
    lowest, last = run.change("held_out_loss", best), run.change("held_out_loss", rows[-1])
    rise, error = last.value - lowest.value, math.hypot(last.error or 0.0, lowest.error or 0.0)
    if rise <= max(_limit("errors") * error, -_limit("rise") * min(lowest.value, 0.0)):
        return None
    template = _("the held-out loss was lowest at step {best} ({lowest:+.1%}) and is {last:+.1%} at step {step}")
    reason = Message(template, best=best.step, lowest=lowest.value, last=last.value, step=rows[-1].step)
    return "over-trained", reason, Message(_("train.steps = {steps}"), steps=best.step)


def _ignores_prompts(run: _Run) -> _Finding | None:
    """Images with the trigger word show what was trained, but no longer what else is asked for, as the base model's do.

    Images that show neither are of a training that has not learned.
    """
    likeness = run.last.scores.get("likeness")
    if likeness is None or likeness.value <= _limit("errors") * (likeness.error or 0.0):
        return None
    for name in ("sanity", "obedience"):
        now, before = run.last.scores.get(name), run.base.scores.get(name) if run.base else None
        if now is None or before is None:
            continue
        error = math.hypot(now.error or 0.0, before.error or 0.0)
        if before.value - now.value > max(_limit("ignored"), _limit("errors") * error):
            template = _(
                "images with the trigger word no longer show what else they are asked for: {score} {value:.0%}, the"
                " base model's {before:.0%}"
            )
            reason = Message(template, score=_title(name), value=now.value, before=before.value)
            return "over-trained", reason, Message(_("train for fewer steps, or use a lower strength"))
    return None


def _is_under_trained(run: _Run) -> _Finding | None:
    name = "held_out_loss" if run.compares("held_out_loss") else "training_loss"
    rows = run.with_score(name) if run.compares(name) else []
    if not rows:
        return None
    last = run.change(name, rows[-1])
    if last.value + _limit("errors") * (last.error or 0.0) > 0:
        template = _("the {score} has not fallen: {change:+.1%} since the start, with a standard error of {error:.1%}")
        reason = Message(template, score=_title(name), change=last.value, error=last.error or 0.0)
        return "under-trained", reason, _train_longer(run)
    progress = run.list_progress(rows)
    earlier = [number for number, each in enumerate(progress) if each <= _LATE * progress[-1]]
    if not earlier or not progress[-1]:
        return None
    before = rows[earlier[-1]]
    share = (last.value - run.change(name, before).value) / last.value
    rates = 1 - progress[earlier[-1]] / progress[-1]
    if share <= _limit("still falling") * rates:
        return None
    template = _(
        "the {score} is still falling: {change:+.1%} since the start, {share:.0%} of it after step {step}, where the"
        " learning rates add up to {rates:.0%} of the whole run's"
    )
    values = {"change": last.value, "share": share, "step": before.step, "rates": rates}
    return "under-trained", Message(template, score=_title(name), **values), _train_longer(run)


def _train_longer(run: _Run) -> Message:
    return Message(_("train.steps = {steps}"), steps=2 * run.last.step)


def _is_good(run: _Run) -> _Finding | None:
    if not run.compares("held_out_loss") or len(run.with_score("held_out_loss")) < _MIN_MEASUREMENTS:
        return None
    loss = run.change("held_out_loss", run.last)
    template = _("the held-out loss has fallen by {change:.1%} since the start, and falls more slowly at the end")
    return "good", Message(template, change=-loss.value), None


def _is_unlike(run: _Run) -> _Finding | None:
    """By images alone, where no loss was measured."""
    likeness = run.last.scores.get("likeness")
    if likeness is None or run.compares("held_out_loss") or run.compares("training_loss"):
        return None
    values = {"likeness": likeness.value, "error": likeness.error or 0.0}
    if likeness.value <= _limit("errors") * (likeness.error or 0.0):
        template = _(
            "generated images are no nearer to the training images than the base model's: likeness {likeness:.0%}, with"
            " a standard error of {error:.0%}"
        )
        change = Message(_("train for more steps, or with a higher learning rate"))
        return "under-trained", Message(template, **values), change
    template = _(
        "generated images are nearer to the training images than the base model's: likeness {likeness:.0%}, with a"
        " standard error of {error:.0%}"
    )
    return "good", Message(template, **values), None


# The first that finds something decides.
_CHECKS: Sequence[Callable[[_Run], _Finding | None]] = (
    _is_nothing,
    _is_collapsed,
    _copies,
    _leaks,
    _is_over_trained,
    _ignores_prompts,
    _is_under_trained,
    _is_good,
    _is_unlike,
)


def _list_unknown(run: _Run, word: Word) -> Iterable[Message]:
    if word != "over-trained" and not run.compares("held_out_loss"):
        yield Message(_("whether it is over-trained: no image is held out (judge.held_out)"))
    if len(run.rows) < _MIN_MEASUREMENTS:
        yield Message(_("whether it is still learning: it was measured too seldom"))
    if not run.has("copying") and not run.has("likeness"):
        yield Message(_("whether it copies training images: no images were generated for it"))


def _title(name: str) -> Message:
    return Message(SCORES[name].title)
