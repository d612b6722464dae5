"""`tetrad train --from FILE`: a run by another trainer's configuration, which the other flags override."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tetrad.cli.import_settings import NOTE
from tetrad.cli.terminal import print_note, print_warning
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.paths import expand_path
from tetrad.settings.toml import flatten

if TYPE_CHECKING:
    from tetrad.interchange.job import Job

SourceFile = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="FILE", help=_("Configuration of another trainer (see `tetrad import`); flags override it")
    ),
]


def read_method(source: Path) -> str:
    """The method that a configuration trains; errors as `read_configuration`."""
    from tetrad.interchange.read import read_configuration

    return str(read_configuration(expand_path(source)).settings["method.kind"])


def read_source(source: Path, recipe: Path | None, kind: str) -> "Job":
    """The configuration, with a sentence for each key that is not done, and for what else is to be said.

    E2001 where a recipe is given too, E3104 where the configuration is for another method.
    """
    from tetrad.interchange.job import Outcome
    from tetrad.interchange.read import check, read_configuration
    from tetrad.interchange.report import describe_row, list_notes, summarize

    if recipe:
        raise TetradError("E2001", _("--recipe and --from both say what to train; give only one of them"))
    job = read_configuration(expand_path(source), kind)
    found = str(job.settings["method.kind"])
    if found != kind:
        template = _("the configuration {file} is for {found}, not for {command}")
        raise TetradError("E3104", template, file=source, found=found, command=kind)
    print_note(summarize(job))
    for row in job.list_rows():
        if row.outcome is Outcome.NOT_DONE:
            print_warning(NOTE, _("not done: {key}"), key=describe_row(row))
    for note in list_notes(job):
        print_warning(NOTE, note)
    check(job)
    return job


def without_length(job: "Job", given: Mapping[str, Any], assignments: list[str] | None) -> dict[str, Any]:
    """The configuration's settings; without its length in steps or epochs where the command line gives one."""
    keys = ("train.steps", "train.epochs")
    flags = {key.replace(".", "_") for key in keys}
    is_given = any(given.get(flag) is not None for flag in flags)
    if is_given or any(each.partition("=")[0].strip() in keys for each in assignments or []):
        return {key: value for key, value in job.settings.items() if key not in keys}
    return job.settings


def check_files(job: "Job", values: Mapping[str, Any]) -> None:
    """E3165 where the run has no model, or files that the configuration names are not there."""
    from tetrad.interchange.read import missing_files_error

    if not values.get("model"):
        raise TetradError("E3165", _("{file} names no model; give one with --model"), file=job.path)
    if error := missing_files_error(job, flatten(values)):
        raise error
