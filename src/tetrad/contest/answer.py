"""Which method to use, by a fixed rule, and what each of them is best for.  Nothing here needs torch.

The errors are those of independent images, although all methods have the same prompts and seeds: rather no winner than
one by chance.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tetrad.contest.figures import Result, describe_figures
from tetrad.judging.scores import SCORES, Score, format_score
from tetrad.judging.thresholds import THRESHOLDS
from tetrad.locales import Message, _
from tetrad.sizes import format_size

RULE = _(
    "The rule keeps the methods whose images are clearly nearer to the training images than the base model's, and are"
    " neither copies nor the same image again and again. Of these, it keeps those whose likeness is not clearly below"
    " the highest; of these, those whose obedience is not clearly below the highest; and of these, it recommends the"
    " one with the smallest file. If all copy or repeat one image, they all count, and the answer says so. Clearly"
    " means by more than two standard errors of the difference."
)
_ERRORS = THRESHOLDS["errors"].value
_CLOSE = 0.1  # share by which times and memory must differ to count: they vary by so much with the load of a computer
_MEASURED: Mapping[str, Callable[[Result], float]] = {
    "size": lambda result: result.size,
    "seconds": lambda result: result.seconds,
    "memory": lambda result: result.memory,
}
_STRENGTHS: Mapping[str, str] = {
    "likeness": _("{method} looks most like the training images: {value}"),
    "obedience": _("{method} follows the rest of the prompt best: {value}"),
    "leak": _("{method} changes other images least: leak {value}"),
    "size": _("{method} has the smallest file: {value}"),
    "seconds": _("{method} takes the least time: {value}"),
    "memory": _("{method} needs the least memory: {value}"),
}


@dataclass(frozen=True)
class Answer:
    """The method to use, None where none is better than no training, and why; what each method is best for, and the
    figures that are best.
    """

    pick: Result | None
    reason: Message
    best_for: Mapping[str, tuple[Message, ...]]  # sentences by method
    best: Mapping[str, frozenset[str]]  # the methods that are best or may be, by figure


def find_answer(results: Sequence[Result]) -> Answer | None:
    """The answer for files that were scored alike; None where fewer than two have a likeness."""
    scored = [result for result in results if result.file and "likeness" in result.scores]
    if len(scored) < 2:
        return None
    pick, reason = _choose(scored)
    best = {name: find_best(scored, name) for name in (*SCORES, *_MEASURED)}
    best = {name: found for name, found in best.items() if 0 < len(found) < len(scored)}
    best_for = {result.method: tuple(_list_strengths(result, best)) for result in scored}
    return Answer(pick, reason, best_for, best)


def _choose(results: Sequence[Result]) -> tuple[Result | None, Message]:
    learned = [result for result in results if _has_learned(result)]
    if not learned:
        template = _(
            "None yet: no method's images are clearly nearer to the training images than the base model's. Train"
            " longer, with a larger --budget."
        )
        return None, Message(template)
    sound = [result for result in learned if not _is_faulty(result)] or learned
    alike = _keep_best(sound, "likeness")
    left = _keep_best(alike, "obedience")
    pick = min(left, key=lambda result: result.size)
    return pick, _explain(pick, learned, sound, alike, left)


def _explain(
    pick: Result, learned: Sequence[Result], sound: Sequence[Result], alike: Sequence[Result], left: Sequence[Result]
) -> Message:
    """Why this one: by the first step of the rule that left nothing else."""
    values = {"method": pick.title, "likeness": _show(pick, "likeness"), "size": format_size(pick.size)}
    if _is_faulty(pick):  # then all that have learned are
        template = _(
            "{method}, with care: it copies training images, or generates the same image again and again, and so does"
            " every method whose images are clearly nearer to the training images. Train less, or on more images."
        )
        return Message(template, **values)
    if len(learned) == 1:
        template = _("{method}: only its images are clearly nearer to the training images (likeness {likeness}).")
        return Message(template, **values)
    if len(alike) == 1 and len(sound) > 1:
        second = max((each for each in sound if each is not pick), key=lambda result: result.scores["likeness"].value)
        template = _("{method}: its likeness, {likeness}, is clearly the highest; {other} is next with {value}.")
        return Message(template, **values, other=second.title, value=_show(second, "likeness"))
    if len(sound) == 1:
        template = _(
            "{method}: its likeness is {likeness}; the others copy training images, or generate the same image again"
            " and again."
        )
        return Message(template, **values)
    if len(left) == 1:
        template = _(
            "{method}: its likeness, {likeness}, is as high as any within the errors, and it clearly follows the rest"
            " of the prompt best ({obedience})."
        )
        return Message(template, **values, obedience=_show(pick, "obedience"))
    *first, last = [str(result.title) for result in left if result is not pick]
    others = Message(_("{names} and {last}"), names=", ".join(first), last=last) if first else last
    template = _(
        "{method}: its likeness, {likeness}, is as high as that of {others} within the errors, and its file is the"
        " smallest of them, {size}."
    )
    return Message(template, **values, others=others)


def _has_learned(result: Result) -> bool:
    likeness = result.scores["likeness"]
    return likeness.value > _ERRORS * (likeness.error or 0.0)


def _is_faulty(result: Result) -> bool:
    """Whether it copies training images, or has collapsed to one image."""
    copying, spread = result.scores.get("copying"), result.scores.get("spread")
    copies = copying is not None and copying.value >= THRESHOLDS["copying"].value
    return copies or (spread is not None and spread.value < THRESHOLDS["spread"].value)


def _keep_best(results: Sequence[Result], name: str) -> list[Result]:
    """The results that are not clearly worse in a score than the best of them; those without it stay."""
    best = find_best(results, name)
    return [result for result in results if name not in result.scores or result.method in best]


def find_best(results: Sequence[Result], name: str) -> frozenset[str]:
    """The methods that have the best value of a figure, or may have it within the errors."""
    if name in _MEASURED:
        values = {result.method: _MEASURED[name](result) for result in results if _MEASURED[name](result)}
        margin = 1.0 if name == "size" else 1 + _CLOSE
        limit = margin * min(values.values(), default=0.0)
        return frozenset(method for method, value in values.items() if value <= limit)
    scores = {result.method: result.scores[name] for result in results if name in result.scores}
    sign = 1 if SCORES[name].better == "higher" else -1
    if not scores:
        return frozenset()
    top = max(scores.values(), key=lambda score: sign * score.value)
    return frozenset(method for method, score in scores.items() if not _is_clearly_below(score, top, sign))


def _is_clearly_below(score: Score, top: Score, sign: int) -> bool:
    error = math.hypot(score.error or 0.0, top.error or 0.0)
    return sign * (top.value - score.value) > _ERRORS * error


def _list_strengths(result: Result, best: Mapping[str, frozenset[str]]) -> list[Message]:
    """What only this method is best in."""
    values = describe_figures(result)
    return [
        Message(_STRENGTHS[name], method=result.title, value=values[name])
        for name in _STRENGTHS
        if best.get(name, frozenset()) == frozenset({result.method})
    ]


def _show(result: Result, name: str) -> str:
    return format_score(name, result.scores[name])
