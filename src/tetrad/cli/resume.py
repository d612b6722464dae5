"""`tetrad resume`: go on with an interrupted run."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from tetrad.cli.runs import AsJson, StopRequest, follow
from tetrad.cli.terminal import announce_loading, print_note
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.run.resume.start import read_working_folder
from tetrad.run.status import find_run, list_runs
from tetrad.storage.addresses import is_address

HELP = _("Go on with an interrupted run: the result is the same as without the interruption.")
Sharding = Literal["none", "full"]
RunsFolder = Annotated[Path, typer.Option("--out", help=_("Folder for runs; each run creates its own folder in it"))]


def resume(
    run: Annotated[
        str,
        typer.Argument(
            help=_("Folder of the run, its name, or where --upload-to keeps it; not given: the newest unfinished run")
        ),
    ] = "",
    out: RunsFolder = Path("runs"),
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help=_("Go on although images, captions, settings or files have changed")),
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help=_("Processes that share each update; not given: as many as the recipe says")
        ),
    ] = None,
    sharding: Annotated[
        Sharding | None,
        typer.Option(
            help=_(
                "full: each process holds a part of the trained weights, gradients and optimizer state; none: it does"
                " not; not given: as the recipe says"
            )
        ),
    ] = None,
    allow_slower: Annotated[
        bool | None, typer.Option("--allow-slower", help=_("Start several processes even where one would be faster"))
    ] = None,
    as_json: AsJson = False,
) -> None:
    folder = (find_or_fetch(run, out) if run else find_newest_unfinished(out)).absolute()
    if (working_folder := read_working_folder(folder)).is_dir():
        os.chdir(working_folder)  # relative paths of its recipe start there
    announce_loading()
    from tetrad.run.resume.resume import resume as resume_run

    follow(resume_run(folder, StopRequest(), accept_changes, processes, sharding, allow_slower), as_json)


def find_or_fetch(run: str, out: Path) -> Path:
    """The folder of a run; one at an address is downloaded.  E4202 where there is a folder of its name."""
    if not is_address(run):
        return find_run(run, out)
    folder = out / run.rstrip("/").rpartition("/")[2]
    if folder.exists():
        template = _(
            "{folder} exists already; resume it with: tetrad resume {folder}, or give another folder with --out"
        )
        raise TetradError("E4202", template, folder=folder)
    from tetrad.storage.uploading import download_folder

    download_folder(run, folder)
    return find_run(str(folder), out)


def find_newest_unfinished(out: Path) -> Path:
    """The newest run that was interrupted or failed.  E5162 where there is none."""
    for status in list_runs(out):
        if status.state in ("interrupted", "failed"):
            template = _("the newest unfinished run is {folder}: step {step} of {steps}")
            print_note(template, folder=status.path, step=status.step, steps=status.steps)
            return status.path
    raise TetradError("E5162", _("{folder} has no unfinished run; name the run to resume"), folder=out)
