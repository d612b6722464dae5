"""What can go wrong that a person can put right: a stable code, one sentence, an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TetradError(Exception):
    """Something a person gave cannot be used.

    The message is one sentence: what is wrong, where, with the value, and what would work. The code never changes
    its meaning; its first digit is the exit code of the command (docs/errors.md lists both).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def exit_code(self) -> int:
        """2 usage, 3 recipe, 4 pictures or output, 5 model files, 6 resources, 7 diverged."""
        return int(self.code[1])

    def __str__(self) -> str:
        return f"{self.code} {self.message}"


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What goes wrong inside is told with the file's name."""
    try:
        yield
    except TetradError as error:
        if path.name in error.message:
            raise
        raise TetradError(error.code, f"{path.name}: {error.message}") from error
