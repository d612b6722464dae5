"""Caption images with a program of the person's choice, which prints the caption of one image."""

import os
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.locales import Message, _

PLACEHOLDER = "{image}"
_TIMEOUT_SECONDS = 600  # for one image; a program that loads a model each time takes minutes
_MAX_LETTERS = 20_000  # of a caption; one has a sentence or two
_MAX_BYTES = 4 * _MAX_LETTERS
_SHOWN_ERROR_LETTERS = 200
_NO_CAPTION = _("what the program printed is no caption")


class NoCaption(Exception):
    """There is no caption for an image; the reason is a clause for the user."""

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


class Command:
    """A program with its arguments, as in "python caption.py {image}"; no shell reads them.

    E4192 without {image}, or with a quote that is not closed.
    """

    def __init__(self, command: str) -> None:
        try:
            self.arguments = shlex.split(command)
        except ValueError as error:
            template = _("the command {command} cannot be read ({reason}); close its quotes")
            raise TetradError("E4192", template, command=command, reason=str(error)) from error
        if not any(PLACEHOLDER in argument for argument in self.arguments[1:]):
            template = _("the command {command} has no {placeholder}, which stands for the path of an image; put it in")
            raise TetradError("E4192", template, command=command, placeholder=PLACEHOLDER)

    def __call__(self, image: Path) -> str:
        """What the program prints for an image.  Raises NoCaption; E4192 where the program cannot be started."""
        filled = [argument.replace(PLACEHOLDER, str(image.absolute())) for argument in self.arguments]
        try:
            ended = _run(filled)
        except OSError as error:
            template = _("the program {program} cannot be started ({reason}); check its name and its path")
            raise TetradError("E4192", template, program=filled[0], reason=error.strerror) from error
        if len(ended.stdout) > _MAX_BYTES:
            raise NoCaption(Message(_NO_CAPTION))
        if ended.returncode:
            text = ended.stderr.decode("utf-8", "replace").strip()[-_SHOWN_ERROR_LETTERS:]
            raise NoCaption(Message(_("the program ended with {code}: {text}"), code=ended.returncode, text=text))
        caption = ended.stdout.decode("utf-8", "replace").strip()
        if not caption:
            raise NoCaption(Message(_("the program printed nothing")))
        if len(caption) > _MAX_LETTERS or "\0" in caption:
            raise NoCaption(Message(_NO_CAPTION))
        return caption


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """The end of a program.  It is killed where it prints more than a caption; NoCaption where it takes too long."""
    is_late = threading.Event()
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen([*arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as program,
    ):

        def end() -> None:
            is_late.set()
            program.kill()

        timer = threading.Timer(_TIMEOUT_SECONDS, end)
        timer.start()
        try:
            assert program.stdout is not None
            printed = program.stdout.read(_MAX_BYTES + 1)
            if len(printed) > _MAX_BYTES:
                program.kill()
            program.wait()
        except BaseException:
            program.kill()
            raise
        finally:
            timer.cancel()
        if is_late.is_set():
            template = _("the program ran for more than {seconds} seconds and was ended")
            raise NoCaption(Message(template, seconds=_TIMEOUT_SECONDS))
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - _MAX_BYTES))
        return subprocess.CompletedProcess(arguments, program.returncode, printed, errors.read())
