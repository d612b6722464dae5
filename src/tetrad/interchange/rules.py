"""What may become of a single key: the entries of the trainers' tables are made of these."""

from collections.abc import Callable, Collection
from typing import Any

from tetrad.interchange.job import Job, Rule
from tetrad.locales import Message, _

OFF = (None, "", 0, False, "0", "0.0", (), "none", "None", "false", "False")


def to(setting: str, convert: Callable[[Any], Any] = lambda value: value) -> Rule:
    """The value becomes a setting; one that is not given leaves the setting as it is."""

    def rule(job: Job, name: str) -> None:
        if (value := job.get(name)) is None:
            job.equal(name, NOT_GIVEN)
            return
        try:
            job.map(name, {setting: convert(value)})
        except (TypeError, ValueError):
            job.fail(name, Message(_("a number")))

    return rule


def path(setting: str) -> Rule:
    """The value is the path of a file or folder."""

    def rule(job: Job, name: str) -> None:
        job.take_path(name, setting)
        if job.get(name) is None:
            job.equal(name, NOT_GIVEN)

    return rule


def meaningless(template: str | Message) -> Rule:
    """The key has no meaning here."""
    return lambda job, name: job.skip(name, as_message(template))


def same(template: str | Message = "") -> Rule:
    """Tetrad does what the key asks for, whatever its value."""
    return lambda job, name: job.equal(name, as_message(template) if template else None)


def not_done(template: str | Message, unless: Collection[Any] = OFF) -> Rule:
    """The key asks for what is not done, unless it is off or not given."""

    def rule(job: Job, name: str) -> None:
        value = job.get(name)
        if value in unless or value in ([], {}):
            job.equal(name)
        else:
            job.leave(name, as_message(template))

    return rule


def elsewhere(job: Job, name: str) -> None:
    """The key is decided together with others."""


NOT_GIVEN = Message(_("it is empty, which is the same as not given"))


def as_message(template: str | Message) -> Message:
    return template if isinstance(template, Message) else Message(template)


def words(text: str) -> tuple[str, ...]:
    """The words of a text, for long lists of keys."""
    return tuple(text.split())
