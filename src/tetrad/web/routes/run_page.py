"""The page of a run: how far it is, whether it is getting better, what happened, and the commands it takes."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, PlainTextResponse

from tetrad.errors import TetradError
from tetrad.locales import Message, _, presentable
from tetrad.run.control import send_command
from tetrad.run.words import describe_record
from tetrad.web import live, starts
from tetrad.web.places import inside
from tetrad.web.routes.home import Started
from tetrad.web.routes.shared import SentFile, page
from tetrad.web.run_notes import can_restart
from tetrad.web.run_view import STATES, describe_run
from tetrad.web.runs import Runs, Snapshot, read_record

router = APIRouter()
SHOWN_EVENTS = 200
_IMAGE_HEADERS = {"cache-control": "private, max-age=60"}
Command = Literal["save", "sample", "pause", "continue", "stop"]


class Done(BaseModel):
    """What was asked for, in words."""

    text: str


@router.get("/runs/{name}", include_in_schema=False)
def run_page(request: Request, name: str) -> HTMLResponse:
    run: Snapshot = request.app.state.runs.read_run(name)
    return page(request, "run.html", "/", run=describe_run(run), data=read_run(request, name))


@router.get("/api/runs/{name}")
def read_run(request: Request, name: str) -> dict[str, Any]:
    """A run: state, figures, previews, the last events, and the mark at which the stream goes on."""
    runs: Runs = request.app.state.runs
    watched = live.WatchedRun(name, runs.path(name))
    series = runs.read_series(name)
    records = list(read_to_mark(watched))
    watched.metrics.position, watched.metrics.identity = series["position"], series["identity"]
    run = runs.read_run(name)
    events = [each for each in map(live.present_event, records) if each]
    return {
        "view": describe_run(run),
        "series": series,
        "previews": describe_previews(run, records),
        "events": events[-SHOWN_EVENTS:],
        "mark": watched.mark,
    }


@router.get("/api/runs/{name}/series")
def read_series(request: Request, name: str) -> dict[str, Any]:
    """The losses and learning rates, in at most 1,000 groups of neighbouring steps."""
    series: dict[str, Any] = request.app.state.runs.read_series(name)
    return series


@router.get("/api/runs/{name}/previews")
def read_previews(request: Request, name: str) -> dict[str, Any]:
    """The prompts of the previews, and the steps after which they were generated."""
    runs: Runs = request.app.state.runs
    return describe_previews(runs.read_run(name), runs.read_events(name))


@router.get("/api/runs/{name}/previews/{step}/{number}")
def show_preview(request: Request, name: str, step: int, number: int) -> SentFile:
    """A preview, as PNG."""
    path = find_preview(request.app.state.runs, name, step, number)
    return SentFile(path, media_type="image/png", headers=_IMAGE_HEADERS)


@router.get("/api/runs/{name}/previews/{step}/{number}/thumbnail")
async def show_thumbnail(
    request: Request, name: str, step: int, number: int, side: Literal["128", "256"] = "256"
) -> SentFile:
    """A preview of at most so many pixels a side, as WebP."""
    path = find_preview(request.app.state.runs, name, step, number)
    made = await request.app.state.thumbnails.find_or_make(path, 128 if side == "128" else 256)
    return SentFile(made, media_type="image/webp", headers=_IMAGE_HEADERS)


def find_preview(runs: Runs, name: str, step: int, number: int) -> Path:
    """The file of a preview.  404 where there is none."""
    if not (0 <= step < 10**8 and 0 <= number < 100):
        raise HTTPException(404)
    path = inside(runs.path(name), "samples", f"step{step:08d}-{number:02d}.png")
    if not path.is_file():
        raise HTTPException(404)
    return path


@router.get("/api/runs/{name}/files/{file}")
def download(request: Request, name: str, file: str) -> SentFile:
    """A trained file of the run."""
    run: Snapshot = request.app.state.runs.read_run(name)
    path = next((path for path in run.files if path.name == file), None)
    if path is None:
        raise HTTPException(404)
    return SentFile(inside(run.status.path, file), media_type="application/octet-stream", filename=file)


@router.get("/api/runs/{name}/log")
def read_whole_log(request: Request, name: str) -> PlainTextResponse:
    """Every event of the run as a line of text."""
    lines = io.StringIO()
    for record in request.app.state.runs.read_events(name):
        if happening := describe_record(record):
            moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(happening.time))
            lines.write(f"{moment}  {presentable(f'{happening.code} {happening.text}'.strip())}\n")
    return PlainTextResponse(lines.getvalue(), headers={"cache-control": "no-store"})


@router.post("/api/runs/{name}/commands/{command}")
def command_run(request: Request, name: str, command: Command) -> Done:
    """Tell a running run to save, to generate previews, to pause, to continue or to stop.  E5165 where it has ended."""
    run: Snapshot = request.app.state.runs.read_run(name)
    if not run.is_alive:
        template = _("the run {name} is not running, it is {state}")
        raise TetradError("E5165", template, name=name, state=Message(STATES[run.status.state][0]))
    try:
        send_command(run.status.path, command)
    except OSError as error:
        template = _("{folder} cannot be written to ({reason}); check the folder's permissions")
        raise TetradError("E4202", template, folder=run.status.path, reason=error.strerror) from error
    return Done(text=str(Message(_TOLD[command])))


_TOLD = {
    "save": _("It will save after this step."),
    "sample": _("It will generate previews after this step."),
    "pause": _("It will pause after this step."),
    "continue": _("It goes on."),
    "stop": _("It will save and stop after this step."),
}


@router.post("/api/runs/{name}/resume")
def resume_run(request: Request, name: str) -> Started:
    """Put the rest of an interrupted run into the queue.  E4203 where it runs, E5164 where it is complete."""
    state = request.app.state
    run: Snapshot = state.runs.read_run(name)
    if run.is_alive:
        raise TetradError("E4203", _("the run {name} is running; it need not be resumed"), name=name)
    if run.status.state == "finished":
        raise TetradError("E5164", _("the run {name} is complete; there is nothing left to do"), name=name)
    arguments = starts.resume_arguments(run.status.path)
    job = state.queue.add("resume", arguments, state.places.runs, title=name)
    return Started(job=job, address=f"/jobs/{job}")


@router.post("/api/runs/{name}/restart")
def restart_run(request: Request, name: str) -> Started:
    """Put a new run of the same recipe into the queue, where nothing is left to resume.  E4203 where it runs."""
    state = request.app.state
    run: Snapshot = state.runs.read_run(name)
    if not can_restart(run):
        template = _("the run {name} is {state}, so it is not started again")
        raise TetradError("E4203", template, name=name, state=Message(STATES[run.status.state][0]))
    runs = state.places.runs
    arguments = starts.restart_arguments(run.status.path, runs)
    job = state.queue.add("train", arguments, runs.parent, title=name)  # relative paths most likely start there
    return Started(job=job, address=f"/jobs/{job}")


def read_to_mark(watched: live.WatchedRun) -> Iterator[dict[str, Any]]:
    """All events of a run until now; after the last one the tail stands where the stream is to go on."""
    while True:
        lines, _anew = watched.events.read_lines()
        if not lines:
            return
        yield from filter(None, (read_record(line.decode("utf-8", "replace")) for line in lines))


def describe_previews(run: Snapshot, records: Any) -> dict[str, Any]:
    """The rows (prompts) and the columns (steps) of the matrix of previews."""
    purposes: dict[str, str] = {}
    for record in records:
        if record.get("event") == "sampled" and record.get("prompt") and isinstance(record.get("shows"), dict):
            purposes[str(record["prompt"])] = str(record["shows"].get("template", ""))
    prompts = [*run.plan_value("sample.prompts", []), *run.plan_value("sample.overfit_prompts", [])]
    numbers = {number for _step, number in run.samples}
    rows = [str(prompts[number]) if number < len(prompts) else "" for number in range(max(numbers, default=-1) + 1)]
    steps: dict[int, list[int]] = {}
    for step, number in run.samples:
        steps.setdefault(step, []).append(number)
    return {
        "rows": [{"prompt": presentable(row), "badge": describe_purpose(purposes.get(row, ""))} for row in rows],
        "steps": list(steps),
        "partial": {step: found for step, found in steps.items() if len(found) < len(rows)},
        "word": presentable(run.plan_value("data.trigger_word", "")),
    }


def describe_purpose(template: str) -> str:
    """The badge of a row that should not change, or that checks for overfitting; none for the others."""
    badges = {
        "without the trigger word": _("no trigger word"),
        "overfitting check (not in your images)": _("overfitting check"),
    }
    return str(Message(badges[template])) if template in badges else ""
