"""The verdict on a run: one word, the figures behind it, the checkpoint to use, and the one setting to change."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tetrad.judging.progress import Progress, arrange_rows
from tetrad.judging.scores import SCORES, CheckpointScores
from tetrad.judging.thresholds import THRESHOLDS
from tetrad.locales import Message, _

Word = Literal[
    "good", "no fault", "under-trained", "over-trained", "leaks", "copies", "collapsed", "changed nothing", "unknown"
]
VERDICTS: Mapping[Word, str] = {  # what each is called, for `Message`
    "good": _("good"),
    "no fault": _("no fault found"),
    "under-trained": _("under-trained"),
    "over-trained": _("over-trained"),
    "leaks": _("leaks"),
    "copies": _("copies"),
    "collapsed": _("collapsed"),
    "changed nothing": _("changed nothing"),
    "unknown": _("unclear"),
}

_MIN_MEASUREMENTS = 3  # after the start, to tell whether an earlier checkpoint was better


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


def judge_run(rows: Iterable[CheckpointScores]) -> Verdict:
    """The verdict on a run by its scores, whichever of them there are."""
    run = arrange_rows(rows)
    if run is None:
        return Verdict("unknown", None, (), unknown=(Message(_("no checkpoint of this run has scores")),))
    verdicts = (check(run) for check in _CHECKS)
    word, reason, change = next((found for found in verdicts if found), ("unknown", None, None))
    reasons = (reason,) if reason else ()
    return Verdict(word, run.find_best(), reasons, change, tuple(_list_unknown(run, word)))


_Finding = tuple[Word, Message | None, Message | None]  # the word, the figures behind it, and what to change


def _limit(name: str) -> float:
    return THRESHOLDS[name].value


def _is_nothing(run: Progress) -> _Finding | None:
    losses = [run.change(name, run.last) for name in ("training_loss", "held_out_loss") if run.compares(name)]
    drift = run.last.scores.get("drift")
    if not losses or any(abs(loss.value) >= _limit("no change of loss") for loss in losses):
        return None
    if drift and drift.value >= _limit("no drift"):
        return None
    template = _("the loss has changed by {change:.1%} only")
    reason = Message(template, change=max((loss.value for loss in losses), key=abs))
    return "changed nothing", reason, Message(_("raise train.learning_rate, for example to three times"))


def _is_collapsed(run: Progress) -> _Finding | None:
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


def _copies(run: Progress) -> _Finding | None:
    copying = run.last.scores.get("copying")
    if not copying or copying.value < _limit("copying"):
        return None
    template = _("{share:.0%} of the generated images are as near to a training image as a copy")
    return "copies", Message(template, share=copying.value), Message(_("lower train.steps, or add other images"))


def _leaks(run: Progress) -> _Finding | None:
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


def _is_over_trained(run: Progress) -> _Finding | None:
    best = run.find_best()
    if best is None or best.step >= run.last.step or not (run.has_cost(best) and run.has_cost(run.last)):
        return None
    template = _(
        "step {best} was better than step {step}: since the start, the training loss had changed by {lowest:+.1%} (now"
        " {last:+.1%}), and drift was {before:.0%} (now {now:.0%})"
    )
    losses = {"lowest": run.change("training_loss", best).value, "last": run.change("training_loss", run.last).value}
    before, now = (row.scores["drift"].value if "drift" in row.scores else 0.0 for row in (best, run.last))
    reason = Message(template, best=best.step, step=run.last.step, before=before, now=now, **losses)
    return "over-trained", reason, Message(_("train.steps = {steps}"), steps=best.step)


def _ignores_prompts(run: Progress) -> _Finding | None:
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


def _is_under_trained(run: Progress) -> _Finding | None:
    likeness = run.last.scores.get("likeness")
    if likeness and likeness.value <= _limit("errors") * (likeness.error or 0.0):
        template = _(
            "generated images are no nearer to the training images than the base model's: likeness {likeness:.0%}, with"
            " a standard error of {error:.0%}"
        )
        change = Message(_("train for more steps, or with a higher learning rate"))
        reason = Message(template, likeness=likeness.value, error=likeness.error or 0.0)
        return "under-trained", reason, change
    name = _name_loss(run)
    loss = run.change(name, run.last) if name else None
    if loss is None or loss.value + _limit("errors") * (loss.error or 0.0) <= 0:
        return None
    template = _("the {score} has not fallen: {change:+.1%} since the start, with a standard error of {error:.1%}")
    reason = Message(template, score=_title(name), change=loss.value, error=loss.error or 0.0)
    return "under-trained", reason, Message(_("train.steps = {steps}"), steps=2 * run.last.step)


def _is_good(run: Progress) -> _Finding | None:
    """Images show it; without images nothing can be said but that no fault was found."""
    if likeness := run.last.scores.get("likeness"):
        template = _(
            "generated images are nearer to the training images than the base model's: likeness {likeness:.0%}, with a"
            " standard error of {error:.0%}"
        )
        return "good", Message(template, likeness=likeness.value, error=likeness.error or 0.0), None
    if name := _name_loss(run):
        template = _("the {score} has fallen by {change:.1%} since the start, and no earlier file is clearly better")
        return "no fault", Message(template, score=_title(name), change=-run.change(name, run.last).value), None
    return None


def _name_loss(run: Progress) -> str:
    """The loss that says whether a run has learned; "" for none."""
    return next((name for name in ("training_loss", "held_out_loss") if run.compares(name)), "")


# The first that finds something decides.
_CHECKS: Sequence[Callable[[Progress], _Finding | None]] = (
    _is_nothing,
    _is_collapsed,
    _copies,
    _leaks,
    _is_over_trained,
    _ignores_prompts,
    _is_under_trained,
    _is_good,
)


def _list_unknown(run: Progress, word: Word) -> Iterable[Message]:
    if not run.compares("held_out_loss"):
        yield Message(_("whether it memorizes its images: no image is held out (judge.held_out)"))
    elif rise := _find_rise(run):
        best, lowest, last = rise
        template = _(
            "whether it only memorizes its images: the held-out loss was lowest at step {best} ({lowest:+.1%}) and is"
            " {last:+.1%} now; look at images with other backgrounds and places"
        )
        yield Message(template, best=best, lowest=lowest, last=last)
    if len(run.rows) < _MIN_MEASUREMENTS:
        yield Message(_("whether an earlier file would be better: it was measured too seldom"))
    if not run.has("likeness") and word in ("no fault", "over-trained", "leaks"):
        yield Message(_("whether images show what was trained: none were generated for it"))
    if not run.has("copying"):
        yield Message(_("whether it copies training images: no images were examined for it"))


def _find_rise(run: Progress) -> tuple[int, float, float] | None:
    """The step of the lowest held-out loss, its change since the start, and the change now, if it has risen since."""
    rows = run.with_score("held_out_loss")
    best = min(rows, key=lambda row: row.scores["held_out_loss"].value)
    lowest, last = run.change("held_out_loss", best), run.change("held_out_loss", rows[-1])
    rise, error = last.value - lowest.value, math.hypot(last.error or 0.0, lowest.error or 0.0)
    if rise <= max(_limit("errors") * error, -_limit("rise") * min(lowest.value, 0.0)):
        return None
    return best.step, lowest.value, last.value


def _title(name: str) -> Message:
    return Message(SCORES[name].title)
