"""What became of each key of a configuration, as sentences for people and as records for programs."""

from collections.abc import Iterator, Mapping
from typing import Any

from tetrad.interchange.job import Job, Outcome, Row
from tetrad.locales import Message, _
from tetrad.settings.field import as_toml

_MAX_VALUE_LETTERS = 60
_OUTCOMES = {
    Outcome.NOT_DONE: _("not done"),
    Outcome.MAPPED: _("mapped"),
    Outcome.MEANINGLESS: _("no meaning here"),
    Outcome.EQUAL: _("equal by default"),
}


def list_groups(job: Job) -> Iterator[tuple[Message, list[Message]]]:
    """For each outcome its name and its keys: the file's, and what its trainer adds where that becomes a setting."""
    rows = [row for row in job.list_rows() if row.is_given or row.settings]
    for outcome, name in _OUTCOMES.items():
        if found := [row for row in rows if row.outcome is outcome]:
            yield Message(_("{heading}:"), heading=Message(name)), [describe_row(row) for row in found]


def describe_row(row: Row) -> Message:
    """One key: its value, what becomes of it, and why."""
    settings = ", ".join(f"{key} = {_as_text(value)}" for key, value in row.settings.items())
    values: dict[str, Any] = {"key": row.key, "value": _shorten(row.value), "settings": settings}
    if not row.is_given:
        return Message(_("{key} is not given: {settings}"), **values)
    if settings and row.reason:
        return Message(_("{key} = {value}: {settings} ({reason})"), reason=row.reason, **values)
    if settings:
        return Message(_("{key} = {value}: {settings}"), **values)
    if row.reason:
        return Message(_("{key} = {value}: {reason}"), reason=row.reason, **values)
    return Message(_("{key} = {value}"), **values)


def _as_text(value: Any) -> str:
    """A value as TOML; a table on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_as_text(each)}" for key, each in value.items()) + "}"
    return as_toml(list(value) if isinstance(value, tuple) else value)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_VALUE_LETTERS else f"{text[:_MAX_VALUE_LETTERS]}…"


def summarize(job: Job) -> Message:
    """Whose file it is, and how many keys have which outcome."""
    counts = {outcome: 0 for outcome in Outcome}
    for row in job.list_rows():
        counts[row.outcome] += row.is_given
    template = _(
        "{file} is a configuration of {trainer}: {mapped} mapped, {equal} equal by default, {meaningless} without"
        " meaning here, {undone} not done"
    )
    return Message(
        template,
        file=job.path,
        trainer=job.trainer,
        mapped=counts[Outcome.MAPPED],
        equal=counts[Outcome.EQUAL],
        meaningless=counts[Outcome.MEANINGLESS],
        undone=counts[Outcome.NOT_DONE],
    )


def list_notes(job: Job) -> Iterator[Message]:
    """What is to be said about the whole file, and what the command line has to give."""
    yield from _list_file_notes(job)
    if "model" not in job.settings:
        yield Message(_("the file names no model; give one with --model"))
    if "data.images" not in job.settings:
        yield Message(_("the file names no folder of images; give it on the command line"))


def _list_file_notes(job: Job) -> Iterator[Message]:
    """Notes, and why the file's own trainer does not start with it."""
    yield from job.notes
    for reason in dict.fromkeys(job.failures):
        yield Message(_("{trainer} itself stops with this file: {reason}"), trainer=job.trainer, reason=reason)


def as_table(job: Job) -> dict[str, Any]:
    """What `list_groups` and the notes say, as plain values for a page, with the errors and what is not there."""
    return {
        "trainer": job.trainer,
        "rows": [
            {
                "key": row.key,
                "value": _shorten(row.value),
                "outcome": row.outcome.name.lower(),
                "settings": [f"{key} = {_as_text(value)}" for key, value in row.settings.items()],
                "reason": row.reason.as_record() if row.reason else None,
                "given": row.is_given,
            }
            for row in job.list_rows()
            if row.is_given or row.settings
        ],
        "notes": [note.as_record() for note in _list_file_notes(job)],
        "errors": [error.as_record() for error in job.errors],
        "missing": [{"key": each.key, "value": each.value} for each in job.missing],
    }


def as_records(job: Job) -> dict[str, Any]:
    """Everything as plain values for programs."""
    return {
        "event": "import",
        "trainer": job.trainer,
        "file": str(job.path),
        "keys": [
            {
                "key": row.key,
                "value": row.value,
                "outcome": str(row.outcome),
                "settings": dict(row.settings),
                **({"reason": row.reason.as_record()} if row.reason else {}),
                "given": row.is_given,
            }
            for row in job.list_rows()
        ],
        "notes": [note.as_record() for note in list_notes(job)],
        "missing": {each.key: each.value for each in job.missing},
        "recipe": dict(job.settings),
    }
