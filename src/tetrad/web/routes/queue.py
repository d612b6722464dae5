"""The queue: the jobs of each device in their order, to be moved, paused, stopped and removed."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse, Response

from tetrad.locales import Message, _, presentable
from tetrad.web.file_jobs import read_said
from tetrad.web.jobs import AUTO, Job, Queue, list_busy_devices, read_device
from tetrad.web.routes.job_page import describe_job
from tetrad.web.routes.shared import Entry, page
from tetrad.web.run_view import STATES, describe_row
from tetrad.web.texts import render

router = APIRouter()
_SHOWN_ENDED = 20


class Place(BaseModel):
    """Where a job goes: before another one, or to the end (None)."""

    before: int | None = None


def count_jobs(request: Request) -> int:
    """The jobs that run or wait."""
    return sum(job.is_alive or job.is_waiting for job in request.app.state.queue.list())


ENTRY = Entry("/queue", _("Queue"), count_jobs)


@router.get("/queue", include_in_schema=False)
def queue_page(request: Request) -> HTMLResponse:
    return page(request, "queue.html", "/queue", **list_lanes(request))


@router.get("/parts/queue", include_in_schema=False)
def queue_part(request: Request) -> HTMLResponse:
    """The lanes alone, for the page that shows them already."""
    return HTMLResponse(render("lanes.html", list_lanes(request)), headers={"cache-control": "no-store"})


@router.post("/api/jobs/{number}/move")
def move_job(request: Request, number: int, place: Place) -> Response:
    """Put a job before another one, or at the end.  E4301 where one of them does not exist."""
    request.app.state.queue.move(number, place.before)
    return Response(status_code=204)


@router.post("/api/jobs/{number}/pause")
def pause_job(request: Request, number: int) -> Response:
    """Hold a waiting job back, or pause the run of a running one.  E4302 for a job that cannot be paused."""
    request.app.state.queue.pause(number)
    return Response(status_code=204)


@router.post("/api/jobs/{number}/continue")
def continue_job(request: Request, number: int) -> Response:
    """Let a held job start when its turn comes, or continue a paused run.  E4302 where neither is possible."""
    request.app.state.queue.go_on(number)
    return Response(status_code=204)


@router.post("/api/jobs/{number}/stop")
def stop_job(request: Request, number: int) -> Response:
    """Stop a running job; a run saves after its step.  E4302 where it does not run."""
    request.app.state.queue.stop(number)
    return Response(status_code=204)


def list_lanes(request: Request) -> dict[str, Any]:
    """The jobs by device, in the order of the queue, and those that have ended, the last first."""
    state = request.app.state
    queue: Queue = state.queue
    jobs = queue.list()
    pids = {job.process.pid for job in jobs if job.is_alive and job.process}
    foreign = [each for each in list_busy_devices([state.places.runs]) if each.pid not in pids]
    current = [(find_device(job), describe_entry(request, job)) for job in jobs if job.is_alive or job.is_waiting]
    current = [(each.device, describe_foreign(request, each.run.name)) for each in foreign] + current
    named = {device for device, _entry in current if device != AUTO}
    lanes: dict[str, list[dict[str, Any]]] = {}
    for device, entry in sorted(current, key=lambda each: not each[1]["is_alive"]):
        # A job for any device waits for the only one that is in use.
        lane = next(iter(named)) if device == AUTO and len(named) == 1 else device
        lanes.setdefault(lane, []).append(entry)
    ended = [describe_entry(request, job) for job in reversed(jobs) if not (job.is_alive or job.is_waiting)]
    return {
        "lanes": [{"title": name_device(device), "jobs": list(_link(lanes[device]))} for device in sorted(lanes)],
        "ended": ended[:_SHOWN_ENDED],
    }


def find_device(job: Job) -> str:
    device = read_device(job.run) if job.is_alive and job.run else job.wish.device
    return "cuda:0" if device == "cuda" else device


def name_device(device: str) -> str:
    if device == AUTO:
        return str(Message(_("Any device")))
    if device.startswith("cuda:"):
        return str(Message(_("GPU {number}"), number=device.partition(":")[2]))
    return device.upper()


def describe_entry(request: Request, job: Job) -> dict[str, Any]:
    """A job with how far its run is."""
    about = describe_job(request, job)
    name, runs = about["run"], request.app.state.runs
    row = describe_row(runs.read_run(name)) if name and name in runs.list_names() else {}
    is_held = job.state == "held"
    if is_held:
        about |= {"word": str(Message(_("held"))), "tone": "pause"}
    if row and not row["is_alive"] and job.state in ("interrupted", "finished"):
        about |= {key: row[key] for key in ("word", "tone", "sentence")}
    return {
        **about,
        "is_alive": job.is_alive,
        "is_waiting": job.is_waiting,
        "can_pause": job.state == "queued" or (job.state == "running" and job.run is not None),
        "can_continue": is_held or job.state == "paused",
        "percent": row["percent"] if row else read_said(job).percent,
        "sentence": row["sentence"] if job.is_alive and row else about["sentence"],
        "address": f"/runs/{quote(name)}" if name else f"/jobs/{job.id}",
    }


def describe_foreign(request: Request, name: str) -> dict[str, Any]:
    """A run that was started from a terminal: the queue waits for it, but does not own it."""
    row = describe_row(request.app.state.runs.read_run(name))
    word, tone = STATES[row["state"]]
    return {
        "id": 0,
        **dict.fromkeys(("is_waiting", "can_pause", "can_continue", "can_remove"), False),
        "title": presentable(name),
        "word": str(Message(word)),
        "tone": tone,
        "is_alive": True,
        "percent": row["percent"],
        "sentence": str(Message(_("{sentence} · started from a terminal"), sentence=row["sentence"])),
        "address": f"/runs/{quote(name)}",
    }


def _link(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The entries of a lane; a waiting one knows the waiting ones around it, before which it can be put."""
    waiting = [each["id"] for each in entries if each.get("is_waiting")]
    for each in entries:
        place = waiting.index(each["id"]) if each.get("is_waiting") else -1
        yield {
            **each,
            "up": waiting[place - 1] if place > 0 else 0,  # to be put before this one
            "down": waiting[place + 1] if 0 <= place < len(waiting) - 1 else 0,  # this one is to be put before it
        }
