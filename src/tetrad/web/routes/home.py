"""The first page: start something, see whether this computer can train, and find the runs."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse, Response

from tetrad.errors import TetradError
from tetrad.locales import Message, _, ngettext
from tetrad.sizes import format_size
from tetrad.web import starts
from tetrad.web.checkup import check_up
from tetrad.web.device import free_disk
from tetrad.web.figures import format_day
from tetrad.web.jobs import Job
from tetrad.web.page_words import as_sentence
from tetrad.web.places import count_files
from tetrad.web.routes.drafts import describe_draft
from tetrad.web.routes.shared import Entry, page
from tetrad.web.run_view import STATES, describe_row
from tetrad.web.runs import Runs
from tetrad.web.texts import render

router = APIRouter()
ENTRY = Entry("/", _("Home"))
PAGE_ROWS = 20


class Started(BaseModel):
    """A job was put into the queue; `address` is the page that shows it."""

    job: int
    address: str


class Contents(BaseModel):
    """What deleting a run removes, in a sentence, and how large it is."""

    sentence: str
    size: str


@router.get("/", include_in_schema=False)
def home(request: Request) -> HTMLResponse:
    state = request.app.state
    device = state.devices.read_device()
    checks = check_up(device, free_disk(state.places.runs))
    drafts = [describe_draft(draft) for draft in state.preparation.drafts.list()]
    return page(request, "home.html", "/", checks=checks, drafts=drafts, **list_rows(request))


@router.get("/parts/runs", include_in_schema=False)
def runs_part(request: Request, search: str = "", rows: int = PAGE_ROWS) -> HTMLResponse:
    """The rows of the list alone, for the page that shows them already."""
    return HTMLResponse(render("runs.html", list_rows(request, search, rows)), headers={"cache-control": "no-store"})


@router.get("/api/runs")
def list_runs(request: Request, search: str = "", rows: int = PAGE_ROWS) -> dict[str, Any]:
    """The runs, those changed last first, and how many there are."""
    runs: Runs = request.app.state.runs
    names = runs.list_names(search)
    return {"total": len(names), "runs": list(map(describe_row, runs.read_runs(names[:rows])))}


@router.post("/api/demo")
def start_demo(request: Request) -> Started:
    """Put the demo into the queue."""
    places = request.app.state.places
    places.runs.mkdir(parents=True, exist_ok=True)
    title = str(Message(_("Demo")))
    job = request.app.state.queue.add("train", starts.demo_arguments(places.runs), places.runs, title=title)
    return Started(job=job, address=f"/jobs/{job}")


@router.get("/api/runs/{name}/contents")
def read_contents(request: Request, name: str) -> Contents:
    """What deleting this run removes."""
    run = request.app.state.runs.read_run(name)
    files = Message(ngettext("{count} trained file", "{count} trained files", len(run.files)))
    previews = Message(ngettext("{count} preview", "{count} previews", len(run.samples)))
    template = _(
        "This deletes {files}, {previews}, the resume points, the log and the recipe: {size}. Your images and the base"
        " model stay."
    )
    size = format_size(count_files(run.status.path)[1])
    return Contents(sentence=str(Message(template, files=files, previews=previews, size=size)), size=size)


@router.delete("/api/runs/{name}")
def delete_run(request: Request, name: str) -> Response:
    """Delete a run with everything in its folder.  E4203 while it runs."""
    runs: Runs = request.app.state.runs
    run = runs.read_run(name)
    if run.is_alive:
        raise TetradError("E4203", _("the run {name} is running; stop it first"), name=name)
    remove_folder(run.status.path)
    runs.forget(name)
    request.app.state.picks.forget(run.status.path)
    return Response(status_code=204)


def remove_folder(path: Path) -> None:
    """Remove a folder as a whole: it gets another name first, so that no half of a run is ever listed.  E4202."""
    hidden = path.with_name(f".deleted-{path.name[:100]}-{time.time_ns()}")
    try:
        path.rename(hidden)
    except OSError as error:
        template = _("{folder} cannot be deleted ({reason}); check the folder's permissions")
        raise TetradError("E4202", template, folder=path, reason=error.strerror) from error
    shutil.rmtree(hidden, ignore_errors=True)


def list_rows(request: Request, search: str = "", rows: int = PAGE_ROWS) -> dict[str, Any]:
    """The jobs that wait and the runs, for the table."""
    runs: Runs = request.app.state.runs
    names = runs.list_names(search)
    waiting = [] if search else list(describe_waiting(request.app.state.queue.list()))
    shown = list(map(describe_row, runs.read_runs(names[:rows])))
    return {"waiting": waiting, "runs": shown, "total": len(names), "search": search, "rows": rows}


def describe_waiting(jobs: list[Job]) -> Iterator[dict[str, Any]]:
    """The jobs that have no run yet: those that wait, that start, and that failed before they had a run."""
    now, place = time.time(), 0
    for job in jobs:
        if job.run is not None or not job.wish.trains or job.state in ("finished", "running"):
            continue
        place += job.is_waiting
        sentence = (
            Message(_("next in the queue")) if place == 1 else Message(_("number {place} in the queue"), place=place)
        )
        if job.state == "starting":
            sentence = Message(_("The program is being loaded."))
        elif job.state == "held":
            sentence = Message(_("It waits until you start it."))
        text = as_sentence(job.error) if job.state == "failed" else str(sentence)
        state = "queued" if job.state == "held" else job.state
        word, tone = STATES[state]
        when = str(Message(_("added {time}"), time=format_day(job.wish.created, now)))
        yield {
            "id": job.id,
            "title": job.wish.title,
            "word": str(Message(word)),
            "tone": tone,
            "sentence": text,
            "when": when,
            "can_remove": not job.is_alive,
        }
