"""The part of `images_child` that reads a recipe or another trainer's configuration, with what becomes of each key."""

from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange import Job, as_table, dump, is_recipe, read_configuration
from tetrad.locales import Message, _
from tetrad.paths import expand_path
from tetrad.web.resident_child import Answers, Request


def describe_configuration(request: Request) -> Answers:
    """What becomes of each key of the file at "path", and the recipe; {"event": "recipe"} for a recipe of Tetrad.

    "method" is what the file trains where it does not say it. Errors are those of `read_configuration`.
    """
    path = Path(request.values["path"])
    try:
        yield read_file(path, request.values["method"])
    except TetradError as error:
        raise name_file(error, path) from error


def read_file(path: Path, method: str) -> dict[str, Any]:
    """The answer for a file."""
    if path.suffix.lower() == ".toml" and is_recipe(path):
        return {"event": "recipe"}
    job = read_configuration(path, method)
    job.errors = [name_file(error, path) for error in job.errors]
    table = as_table(job)
    table["notes"] += [note.as_record() for note in leave_open(job)]
    return {"event": "configuration", **table, "recipe": dump(job)}


def name_file(error: TetradError, path: Path) -> TetradError:
    """The error with the name of the file that was opened, in place of the path of its copy, which nobody knows."""
    names = {name: path.name for name, value in error.sentence.values.items() if value == path}
    sentence: Message = error.sentence.with_values(**names)
    return TetradError(error.code, sentence)


def leave_open(job: Job) -> list[Message]:
    """Take out of the recipe what is not on this computer: the steps of New training ask for it."""
    for each in job.missing:
        job.settings.pop(each.setting, None)
    images: Any = job.settings.get("data.images")
    if images is None or expand_path(images).is_dir():
        return []
    del job.settings["data.images"]
    template = _("{file} is a file about the images; the next step asks for the folder of images instead")
    return [Message(template, file=images)]
