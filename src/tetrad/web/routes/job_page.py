"""The page of a job that waits or starts: it goes on to the page of its run as soon as there is one."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from tetrad.locales import Message, _, ngettext, presentable
from tetrad.web.file_jobs import describe_work, read_order, read_said
from tetrad.web.jobs import Job
from tetrad.web.page_words import as_sentence
from tetrad.web.routes.shared import page
from tetrad.web.run_view import STATES

router = APIRouter()


@router.get("/jobs/{number}", include_in_schema=False)
def job_page(request: Request, number: int) -> Response:
    """The page; work on files has another one, which its address leads to."""
    job: Job = request.app.state.queue.read_job(number)
    if read_order(job):
        return RedirectResponse(f"/files/jobs/{number}", 303)
    return page(request, "job.html", "/", job=describe_job(request, job), id=number)


@router.get("/api/jobs")
def list_jobs(request: Request) -> list[dict[str, Any]]:
    """The queue in its order, with the jobs that have ended."""
    return [describe_job(request, job) for job in request.app.state.queue.list()]


@router.get("/api/jobs/{number}")
def read_job(request: Request, number: int) -> dict[str, Any]:
    """A job: its state, and the address of its run once it has one."""
    return describe_job(request, request.app.state.queue.read_job(number))


@router.delete("/api/jobs/{number}")
def remove_job(request: Request, number: int) -> Response:
    """Take a job out of the queue; its run stays.  E4302 while it runs."""
    request.app.state.queue.remove(number)
    return Response(status_code=204)


def describe_job(request: Request, job: Job) -> dict[str, Any]:
    # Work on files cannot be continued, so it is stopped and not interrupted.
    states = {"held": "queued", **({"interrupted": "stopped"} if read_order(job) else {})}
    word, tone = STATES[states.get(job.state, job.state)]
    ahead = 0
    if job.is_waiting:
        jobs: list[Job] = request.app.state.queue.list()
        ahead = sum(each.is_waiting or each.is_alive for each in jobs[: [each.id for each in jobs].index(job.id)])
    return {
        "id": job.id,
        "title": presentable(job.wish.title),
        "state": job.state,
        "word": str(Message(word)),
        "tone": tone,
        "sentence": describe_state(job, ahead),
        "run": job.run.name if job.run and job.run.parent == request.app.state.places.runs else "",
        "can_remove": not job.is_alive,
    }


def describe_state(job: Job, ahead: int) -> str:
    """What the job waits for, or why it failed."""
    if job.state == "failed":
        return as_sentence(job.error)
    if not job.is_waiting and read_order(job):
        return describe_work(job, read_said(job))
    if job.state == "queued" and ahead:
        template = ngettext("{count} job is before it in the queue.", "{count} jobs are before it in the queue.", ahead)
        return str(Message(template))
    if job.state == "interrupted" and job.run:
        return str(Message(_("It was stopped; its run shows how far it came.")))
    sentences = {
        "queued": _("It starts when the device is free."),
        "held": _("It waits until you start it."),
        "starting": _("The program is being loaded; this takes some seconds."),
        "interrupted": _("The process ended before it had trained anything."),
        "finished": _("It is done."),
    }
    return str(Message(sentences.get(job.state, _("It is running."))))
