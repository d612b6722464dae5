"""Errors that a person can fix: a stable code, one sentence and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tetrad.locales import Message, _

INTERRUPTED_BUT_SAVED, INTERRUPTED = 75, 130  # exit codes of a command that was told to stop


class TetradError(Exception):
    """Something that a person gave cannot be used.

    The message is one sentence: what is wrong, where, the value, and what would work. It is a template with named
    values, `TetradError("E5001", _("there is no file {path}"), path=path)`, so that it can be translated. A code never
    changes its meaning; its first digit is the exit code of the command (both are in docs/errors.md).
    """

    def __init__(self, code: str, template: str | Message, /, **values: Any) -> None:
        self.code = code
        self.sentence: Message = template if isinstance(template, Message) else Message(template, **values)
        super().__init__(code, self.sentence)

    @property
    def message(self) -> str:
        """The sentence in the reader's language."""
        return str(self.sentence)

    @property
    def exit_code(self) -> int:
        """2 usage, 3 settings, 4 images or output, 5 model files, 6 resources, 7 diverged, 8 device."""
        return int(self.code[1])

    def __str__(self) -> str:
        return f"{self.code} {self.message}"

    def as_record(self) -> dict[str, Any]:
        """The error as plain values for programs: its code, and its sentence in English with template and values."""
        return {"event": "error", "code": self.code, **self.sentence.as_record()}


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Put the name of the file before errors that do not contain it."""
    try:
        yield
    except TetradError as error:
        if path.name in error.message:
            raise
        raise TetradError(error.code, _("{file}: {reason}"), file=path.name, reason=error.sentence) from error
