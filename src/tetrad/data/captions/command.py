"""Caption images with a program of the person's choice, which prints the caption of one image."""

import shlex
import subprocess
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.locales import Message, _

PLACEHOLDER = "{image}"
_TIMEOUT_SECONDS = 600  # for one image; a program that loads a model each time takes minutes
_MAX_LETTERS = 20_000  # of a caption; one has a sentence or two
_SHOWN_ERROR_LETTERS = 200


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
            ended = subprocess.run([*filled], stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired as error:
            template = _("the program ran for more than {seconds} seconds and was ended")
            raise NoCaption(Message(template, seconds=_TIMEOUT_SECONDS)) from error
        except OSError as error:
            template = _("the program {program} cannot be started ({reason}); check its name and its path")
            raise TetradError("E4192", template, program=filled[0], reason=error.strerror) from error
        if ended.returncode:
            text = ended.stderr.decode("utf-8", "replace").strip()[-_SHOWN_ERROR_LETTERS:]
            raise NoCaption(Message(_("the program ended with {code}: {text}"), code=ended.returncode, text=text))
        caption = ended.stdout.decode("utf-8", "replace").strip()
        if not caption:
            raise NoCaption(Message(_("the program printed nothing")))
        if len(caption) > _MAX_LETTERS or "\0" in caption:
            raise NoCaption(Message(_("what the program printed is no caption")))
        return caption
