"""Compare: the methods trained on the same images, side by side; started with one press, or chosen from the runs."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from tetrad.contest.figures import Result, read_result
from tetrad.data.discover.image_files import IMAGE_SUFFIXES
from tetrad.documents import read_stored_values
from tetrad.errors import TetradError
from tetrad.locales import Message, _, ngettext, presentable
from tetrad.web import starts
from tetrad.web.comparison import (
    MAX_RUNS,
    MIN_RUNS,
    Planned,
    describe_answer,
    describe_estimates,
    describe_figures,
    estimate_samples,
    is_comparable,
    key_of,
    plan_methods,
    plan_samples,
)
from tetrad.web.drafts import Draft
from tetrad.web.figures import format_day
from tetrad.web.file_names import MASK_END, get_suffix
from tetrad.web.jobs import Job
from tetrad.web.picks import Pick
from tetrad.web.routes.drafts import preparation_of
from tetrad.web.routes.job_page import describe_job
from tetrad.web.routes.shared import Entry, page
from tetrad.web.run_view import describe_method, describe_row
from tetrad.web.runs import Runs

router = APIRouter()
ENTRY = Entry("/compare", _("Compare"))
_SEEDS = 3
_SHOWN_IMAGES = 3  # of a training that is not started yet
_LISTED = 60  # runs, the last changed ones
_SAMPLE_TITLES = {
    "builtin:subject": _("A robot, 8 images"),
    "builtin:person": _("A cowboy, 8 images"),
    "builtin:style": _("A style, 24 images"),
}
Names = Annotated[list[str], Query()]
Numbers = Annotated[list[int], Query()]


class Source(BaseModel):
    """The images to train on: built-in ones such as builtin:subject, or those of a draft."""

    images: str = ""
    draft: str = ""


class StartedFour(BaseModel):
    """The trainings are in the queue; `address` compares them, and `left_out` says which methods do not fit."""

    jobs: list[int]
    address: str
    left_out: list[str]


@router.get("/compare", include_in_schema=False)
def compare_page(request: Request, runs: Names = [], jobs: Numbers = []) -> HTMLResponse:  # noqa: B006
    """The comparison of 2 to 4 runs; for fewer, what can be compared or trained."""
    compared = compare_runs(request, runs, jobs)
    if len(compared["columns"]) >= MIN_RUNS:
        return page(request, "compare.html", "/compare", data=compared)
    drafts = [each for each in preparation_of(request).drafts.list() if each.images]
    samples = [{"images": each, "title": str(Message(title))} for each, title in _SAMPLE_TITLES.items()]
    now = time.time()
    mine = [describe_draft(request, each, now) for each in drafts]
    data = {"chosen": runs, "least": MIN_RUNS, "most": MAX_RUNS}
    groups = list_groups(request)
    return page(request, "compare_choose.html", "/compare", samples=samples, drafts=mine, groups=groups, data=data)


def describe_draft(request: Request, draft: Draft, now: float) -> dict[str, Any]:
    """A training that is not started yet, with the addresses of its first images."""
    found: list[str] = []
    with suppress(TetradError):  # its folder may have gone
        if data_set := preparation_of(request).find_set(draft):
            images = [each for each in data_set.list_paths() if get_suffix(each.name) in IMAGE_SUFFIXES]
            shown = [each for each in images if not each.stem.endswith(MASK_END)][:_SHOWN_IMAGES]
            found = [f"/api/drafts/{draft.id}/images/{data_set.id_of(each)}/thumbnail" for each in shown]
    return {"id": draft.id, "title": name_draft(draft), "when": format_day(draft.changed, now), "images": found}


def name_draft(draft: Draft) -> str:
    return str(presentable(draft.trigger_word or Path(draft.images).name))


@router.get("/api/compare")
def compare_runs(request: Request, runs: Names = [], jobs: Numbers = []) -> dict[str, Any]:  # noqa: B006
    """Runs, and jobs until they have one, as columns with their measured figures, and the prompts to compare them by.

    What is gone is left out. `like` is the run that gives the seeds, the sampler and the base model. `answer` says
    which method to use, where the runs were judged by their images and differ in nothing else.
    """
    found = [job for number in jobs if (job := _find_job(request, number))]
    waiting = [job for job in found if job.run is None]
    names = [*runs, *(job.run.name for job in found if job.run)]
    picks = dict(list(_open_picks(request, dict.fromkeys(names)))[:MAX_RUNS])
    results = {name: read_result(pick.run) for name, pick in picks.items()}
    columns = [describe_run_column(request, name, pick, results[name]) for name, pick in picks.items()]
    note = describe_difference(request, list(picks))
    columns += [describe_job_column(request, job) for job in waiting][: MAX_RUNS - len(columns)]
    first = next(iter(picks.values()), None)
    return {
        "columns": columns,
        "like": next(iter(picks), ""),
        "prompts": first.describe_prompts() if first else [],
        "seeds": [first.seed + number for number in range(_SEEDS)] if first else [],
        "note": note,
        "answer": {} if note else describe_answer(list(results.values())),
    }


@router.get("/api/compare/plan")
async def plan_all(request: Request, images: str = "", draft: str = "") -> dict[str, Any]:
    """What the trainings that `POST /api/compare` starts would take.  E4001 without images."""
    preparation = preparation_of(request)
    if not draft:
        return describe_estimates(await estimate_samples(preparation.planning, images))
    settled = await preparation.settle(preparation.drafts.read_draft(draft), "model", "trigger_word")
    return describe_estimates(await preparation.compare(settled))


@router.post("/api/compare")
async def train_all(request: Request, source: Source) -> StartedFour:
    """Put a balanced training with each method into the queue.  E4001 without images, E6001 where none of them fits."""
    preparation = preparation_of(request)
    if source.draft:
        draft = await preparation.settle(preparation.drafts.read_draft(source.draft), "model", "trigger_word")
        planned = await plan_methods(preparation, draft)
        numbers = add_jobs(request, planned, draft.id)
        preparation.drafts.mark_started(draft.id)
    else:
        planned = plan_samples(source.images, preparation.places.runs)
        numbers = add_jobs(request, planned, "compare")
    address = "/compare?" + "&".join(f"jobs={number}" for number in numbers)
    return StartedFour(jobs=numbers, address=address, left_out=[str(each) for each in planned.left_out])


def add_jobs(request: Request, planned: Planned, name: str) -> list[int]:
    """Put the recipes into the queue; the numbers of their jobs."""
    state, numbers = request.app.state, []
    state.places.runs.mkdir(parents=True, exist_ok=True)
    for recipe in planned.recipes:
        path = preparation_of(request).drafts.write_recipe(name, recipe)
        about = {"device": recipe.train.device, "title": recipe.save.name}
        numbers.append(state.queue.add("train", starts.recipe_arguments(path), state.places.runs, **about))
    return numbers


def describe_run_column(request: Request, name: str, pick: Pick, result: Result) -> dict[str, Any]:
    """A run: its newest file, which the images are generated with, and what was measured."""
    run = request.app.state.runs.read_run(name)
    newest = pick.checkpoints[-1] if pick.checkpoints else None
    return {
        **describe_row(run),
        "kind": run.status.method,
        "method": describe_method(run.status.method),
        "address": f"/runs/{run.name}",
        "file": newest.path.name if newest else "",
        "step": newest.step if newest else 0,
        "steps": run.status.steps,
        "figures": describe_figures(run, result),
    }


def describe_job_column(request: Request, job: Job) -> dict[str, Any]:
    """A job without a run: it waits or starts, or it failed before it had one."""
    about = describe_job(request, job)
    method = read_recipe(job).get("method")
    kind = str(method.get("kind", "")) if isinstance(method, dict) else ""
    return {
        **{name: about[name] for name in ("state", "word", "tone", "sentence")},
        **{
            "kind": kind,
            "name": "",
            "file": "",
            "step": 0,
            "steps": 0,
            "figures": [],
            "percent": 0,
            "can_resume": False,
        },
        "shown_name": about["title"],
        "method": describe_method(kind) if kind else about["title"],
        "address": f"/jobs/{job.id}",
        "is_alive": job.is_alive,
    }


def describe_difference(request: Request, names: list[str]) -> str:
    """What else than the method differs between runs, in a sentence; "" where nothing does."""
    keys = {key_of(request.app.state.runs.read_run(name).plan) for name in names}
    if len({model for _images, model in keys}) > 1:
        return str(Message(_("These runs have different base models, so the images do not compare the methods alone.")))
    if len(keys) > 1:
        return str(Message(_("These runs were trained on different images, so their images cannot be compared alone.")))
    return ""


def list_groups(request: Request) -> list[dict[str, Any]]:
    """The last runs and the jobs that will be one, by the images and the base model that they have in common."""
    runs: Runs = request.app.state.runs
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs.read_runs(runs.list_names()[:_LISTED]):
        if is_comparable(run):
            row = {**describe_row(run), "field": "runs", "value": run.name}
            groups.setdefault(key_of(run.plan), []).append(row)
    for job in request.app.state.queue.list():
        if job.run is None and (job.is_waiting or job.is_alive) and (recipe := read_recipe(job)):
            row = {**describe_job_column(request, job), "about": "", "sample": None, "field": "jobs", "value": job.id}
            groups.setdefault(key_of(recipe), []).append(row)
    return list(map(describe_group, groups.values()))


def describe_group(rows: list[dict[str, Any]]) -> dict[str, Any]:
    title = next((row["about"] for row in rows if row["about"]), "").partition(" · ")[2]
    count = str(Message(ngettext("{count} run", "{count} runs", len(rows))))
    return {"title": title or count, "rows": rows}


def read_recipe(job: Job) -> dict[str, Any]:
    """The recipe file of a job as its tables; empty for a job without one."""
    arguments = job.wish.arguments
    path = Path(arguments[1]) if arguments[:1] == ("--recipe",) else None
    return dict(read_stored_values(path)) if path else {}


def _find_job(request: Request, number: int) -> Job | None:
    try:
        job: Job = request.app.state.queue.read_job(number)
    except TetradError:  # it was removed
        return None
    return job


def _open_picks(request: Request, names: Iterable[str]) -> Iterator[tuple[str, Pick]]:
    """The saves of the runs that are still there, and were trained by a method."""
    state = request.app.state
    for name in names:
        with suppress(HTTPException):
            yield name, state.picks.open(state.runs.path(name))
