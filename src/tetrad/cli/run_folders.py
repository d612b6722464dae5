"""`tetrad runs`: list the runs of a folder, show one, and tell a running one what to do."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tetrad.cli.resume import RunsFolder
from tetrad.cli.runs import AsJson
from tetrad.cli.terminal import print_json, print_note, print_text
from tetrad.cli.training_speed import format_clock
from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.run.control import Command, send_command
from tetrad.run.heartbeat import lock_folder
from tetrad.run.status import RunStatus, find_run, list_runs, read_log, read_status, remove_run
from tetrad.run.uploads import finish_upload, open_upload
from tetrad.run.words import describe_record
from tetrad.settings.toml import read_values
from tetrad.sizes import format_size

HELP = _("List runs, show one, and stop, pause or continue a running one.")
STATES = {
    "running": _("running"),
    "paused": _("paused"),
    "finished": _("finished"),
    "interrupted": _("interrupted"),
    "failed": _("failed"),
}
Run = Annotated[str, typer.Argument(help=_("Folder of the run, or its name"), show_default=False)]

app = typer.Typer(help=HELP, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def list_all(context: typer.Context, out: RunsFolder = Path("runs"), as_json: AsJson = False) -> None:
    if context.invoked_subcommand:
        return
    found = list_runs(out)
    if as_json:
        for status in found:
            print_json(as_record(status))
    elif not found:
        print_note(_("{folder} has no runs"), folder=out)
    else:
        titles = [_("run"), _("state"), _("step"), _("method"), _("last change ago"), _("size")]
        print_table([describe_in_a_row(status) for status in found], [Message(title) for title in titles])


@app.command("show", help=_("Show the state of a run."))
def show(run: Run, out: RunsFolder = Path("runs"), as_json: AsJson = False) -> None:
    status = read_status(find_run(run, out))
    if as_json:
        print_json(as_record(status))
        return
    print_text(Message(_("{name}: {state}"), name=status.name, state=Message(STATES[status.state])))
    print_text(Message(_("step {step} of {steps}, {method}"), **count_values(status), method=status.method))
    print_text(Message(_("{size} in {folder}"), size=format_size(status.size), folder=status.path))
    if status.resume_step and status.state != "finished":
        print_text(Message(_("can be resumed from step {step}"), step=status.resume_step))
    if status.error:
        print_text(status.error)


@app.command("log", help=_("Print the events of a run."))
def log(run: Run, out: RunsFolder = Path("runs"), as_json: AsJson = False) -> None:
    for record in read_log(find_run(run, out) / "events.jsonl"):
        if as_json:
            print_json(record)
        elif happening := describe_record(record):
            moment = datetime.fromtimestamp(happening.time).strftime("%H:%M:%S")
            text = f"{happening.code} {happening.text}".strip()
            print_text(Message(_("{moment} {event}: {text}"), moment=moment, event=happening.word, text=text))


def command_to_run(command: Command) -> Callable[..., None]:
    """The function behind `tetrad runs stop` and so on."""

    def send_it(run: Run, out: RunsFolder = Path("runs")) -> None:
        send(run, out, command)

    return send_it


COMMAND_HELP: dict[Command, str] = {
    "stop": _("Stop a running run after its current step; it saves first."),
    "pause": _("Pause a running run; it keeps its memory."),
    "continue": _("Continue a paused run."),
    "save": _("Save the weights of a running run after its current step."),
    "sample": _("Generate previews of a running run after its current step."),
}
for each, text in COMMAND_HELP.items():
    app.command(each, help=text)(command_to_run(each))


@app.command("upload", help=_("Upload the files of a run that object storage does not have yet."))
def upload(
    run: Run,
    out: RunsFolder = Path("runs"),
    to: Annotated[str, typer.Option(help=_("Where to; not given: where its recipe says"))] = "",
) -> None:
    path = find_run(run, out)
    place = to or str(read_values(path / "recipe.toml").get("save", {}).get("upload_to", ""))
    if (files := open_upload(path, place)) is None:
        template = _(
            "{folder} was not trained with --upload-to; say where to upload it with --to, like s3://bucket/runs"
        )
        raise TetradError("E2001", template, folder=path)
    finish_upload(files)
    print_text(Message(_("uploaded to {address}"), address=files.address))


@app.command("rm", help=_("Remove resume points, logs and previews of a run; trained files stay."))
def remove(run: Run, out: RunsFolder = Path("runs")) -> None:
    path = find_run(run, out)
    if (state := read_status(path).state) in ("running", "paused"):
        template = _("the run {folder} is {state}; stop it first with: tetrad runs stop {name}")
        raise TetradError("E4203", template, folder=path, state=Message(STATES[state]), name=path.name)
    with lock_folder(path):  # E4203 where someone resumes it at this moment
        for removed in remove_run(path):
            print_text(Message(_("removed {path}"), path=removed))


def send(run: str, out: Path, command: Command) -> None:
    """Tell a running run what to do.  E5165 where it is not running."""
    path = find_run(run, out)
    if (state := read_status(path).state) not in ("running", "paused"):
        template = _("the run {folder} is not running, it is {state}; resume it with: tetrad resume {name}")
        raise TetradError("E5165", template, folder=path, state=Message(STATES[state]), name=path.name)
    try:
        send_command(path, command)
    except OSError as error:
        template = _("{folder} cannot be written to ({reason}); check the folder's permissions")
        raise TetradError("E4202", template, folder=path, reason=error.strerror) from error
    print_note(_("told {folder}: {command}"), folder=path, command=command)


def describe_in_a_row(status: RunStatus) -> list[str]:
    """Name, state, step, method, age and size, for the list."""
    age = format_clock(max(0.0, time.time() - status.changed))
    step = f"{status.step}/{status.steps or '?'}"
    return [status.name, str(Message(STATES[status.state])), step, status.method, age, format_size(status.size)]


def print_table(rows: list[list[str]], titles: Sequence[Message]) -> None:
    """Columns under their titles, as wide as their widest cell."""
    from wcwidth import wcswidth

    table = [[str(title) for title in titles], *rows]
    widths = [max(wcswidth(row[column]) for row in table) for column in range(len(titles))]
    for row in table:
        cells = [cell + " " * (width - wcswidth(cell)) for cell, width in zip(row, widths, strict=True)]
        print_text("  ".join(cells).rstrip())


def count_values(status: RunStatus) -> dict[str, str]:
    return {"step": f"{status.step:,}", "steps": f"{status.steps:,}" if status.steps else "?"}


def as_record(status: RunStatus) -> dict[str, object]:
    """The status as plain values, for programs."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(status).items()}
