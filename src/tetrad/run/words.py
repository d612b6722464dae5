"""What happened in a run, in sentences: one for each record of events.jsonl, for the terminal and the web page."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Literal

from tetrad.judging import SCORES, decode_scores, format_score
from tetrad.locales import Message, _, ngettext, presentable, translate_record

Tone = Literal["", "ok", "warn", "bad"]
_COMMANDS = {
    "stop": _("told to stop after step {step}"),
    "pause": _("told to pause after step {step}"),
    "continue": _("told to continue after step {step}"),
    "save": _("told to save step {step}"),
    "sample": _("told to generate previews of step {step}"),
}
SCAN_HINT = _("tetrad scan {images} shows this image by image")
_BESIDE_BASE = ("obedience", "sanity", "spread", "copying")  # scores that the base model has too
_MAX_NUMBER = 1e11  # of steps, and of seconds since 1970
# The kind of a note by the beginning of its code; the longest one that fits counts.
_KINDS: dict[str, tuple[str, Tone]] = {
    "W4204": (_("disk"), "bad"),
    "W42": (_("disk"), "warn"),
    "W6": (_("memory"), "warn"),
    "W": (_("warning"), "warn"),
    "E41": (_("skipped"), "warn"),  # a file that cannot be used
    "E": (_("warning"), "warn"),
}


@dataclass(frozen=True)
class Happening:
    """Something that happened: when, in one word, how grave, and in a sentence; the texts are translated already."""

    time: float  # Unix time
    word: str
    tone: Tone
    text: str
    code: str = ""


def describe_record(record: Mapping[str, Any]) -> Happening | None:
    """The record in words; None for one that says nothing a person would ask for, such as each image of a preview."""
    describe = _DESCRIPTIONS.get(str(record.get("event")))
    return describe(record) if describe else None


def _describe_start(record: Mapping[str, Any]) -> Happening:
    return _happening(
        record, Message(_("start")), "", str(Message(_("process {pid} works on it"), pid=_number(record, "pid")))
    )


def _describe_note(record: Mapping[str, Any]) -> Happening:
    code = str(record.get("code") or "")
    fitting = [start for start in _KINDS if code.startswith(start)]
    word, tone = _KINDS[max(fitting, key=len)] if fitting else (_("note"), "")
    return _happening(record, Message(word), tone, translate_record(record), code)


def _describe_phase(record: Mapping[str, Any]) -> Happening:
    name = record.get("name")
    text = translate_record(name if isinstance(name, Mapping) else {"text": name or ""})
    return _happening(record, Message(_("phase")), "", text)


def _describe_saved(record: Mapping[str, Any]) -> Happening:
    template = _("step {step}: {file} is saved and was read back")
    text = Message(template, step=_number(record, "step"), file=Path(str(record.get("path", ""))).name)
    return _happening(record, Message(_("saved")), "ok", str(text))


def _describe_point(record: Mapping[str, Any]) -> Happening:
    template = _("step {step}: a resume point is saved, in {seconds:.1f} s")
    text = Message(template, step=_number(record, "step"), seconds=read_number(record, "seconds"))
    return _happening(record, Message(_("saved")), "ok", str(text))


def _describe_sampled(record: Mapping[str, Any]) -> Happening | None:
    if record.get("prompt"):
        return None
    text = Message(_("previews of step {step} are generated"), step=_number(record, "step"))
    return _happening(record, Message(_("preview")), "", str(text))


def _describe_command(record: Mapping[str, Any]) -> Happening | None:
    template = _COMMANDS.get(str(record.get("command")))
    if template is None:
        return None
    return _happening(record, Message(_("command")), "", str(Message(template, step=_number(record, "step"))))


def _describe_verdict(record: Mapping[str, Any]) -> Happening:
    """The verdict with the first of the figures behind it."""
    reasons = record.get("reasons")
    named = [each for each in (record.get("verdict"), *(reasons if isinstance(reasons, list) else ())) if each]
    verdict, *others = [translate_record(each) for each in named if isinstance(each, Mapping)] or [""]
    text = Message(_("{verdict}: {reason}"), verdict=verdict, reason=others[0]) if others else verdict
    return _happening(record, Message(_("verdict")), "ok" if record.get("word") == "good" else "", str(text))


def describe_scores(step: int, images: int, scores: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """The scores of the images of a step, beside those of the base model where that is not always 0 or 1.

    ValueError where they are no scores.
    """
    found, untouched = decode_scores(scores), decode_scores(base)
    figures = [] if found else [Message(_("no score could be had"))]
    for name, score in found.items():
        values = {"score": Message(SCORES[name].title), "value": format_score(name, score)}
        if name in _BESIDE_BASE and name in untouched:
            template = _("{score} {value} (base model: {base})")
            figures.append(Message(template, **values, base=format_score(name, untouched[name])))
        else:
            figures.append(Message(_("{score} {value}"), **values))
    listed = reduce(lambda first, second: Message(_("{first}, {second}"), first=first, second=second), figures)
    template = ngettext("step {step}, {count} image: {figures}", "step {step}, {count} images: {figures}", images)
    return str(Message(template, step=step, figures=listed))


def _describe_scores(record: Mapping[str, Any]) -> Happening | None:
    scores, base = record.get("scores"), record.get("base")
    if not (isinstance(scores, Mapping) and isinstance(base, Mapping)):
        return None
    try:
        text = describe_scores(_number(record, "step"), _number(record, "images"), scores, base)
    except ValueError:  # changed by hand
        return None
    return _happening(record, Message(_("scores")), "", text)


def _describe_end(record: Mapping[str, Any]) -> Happening:
    steps = _number(record, "steps")
    if record.get("has_effect") is False:
        template = ngettext(
            "the end after {count} step, which has changed nothing",
            "the end after {count} steps, which have changed nothing",
            steps,
        )
        return _happening(record, Message(_("no effect")), "warn", str(Message(template)))
    if record.get("complete"):
        text = Message(ngettext("done after {count} step", "done after {count} steps", steps))
        return _happening(record, Message(_("done")), "ok", str(text))
    text = Message(ngettext("stopped after {count} step", "stopped after {count} steps", steps))
    return _happening(record, Message(_("stopped")), "", str(text))


_DESCRIPTIONS = {
    "started": _describe_start,
    "note": _describe_note,
    "phase": _describe_phase,
    "saved": _describe_saved,
    "pointsaved": _describe_point,
    "sampled": _describe_sampled,
    "controlled": _describe_command,
    "scored": _describe_scores,
    "judged": _describe_verdict,
    "finished": _describe_end,
}


def _happening(record: Mapping[str, Any], word: Message, tone: Tone, text: str, code: str = "") -> Happening:
    return Happening(read_number(record, "time"), str(word), tone, text, str(presentable(code)))


def _number(record: Mapping[str, Any], name: str) -> int:
    return int(read_number(record, name))


def read_number(record: Mapping[str, Any], name: str) -> float:
    """A number of a record; 0 where none can be read, as it was changed by hand or is of another version."""
    value = record.get(name)
    return float(value) if isinstance(value, int | float) and abs(value) < _MAX_NUMBER else 0.0
