"""The page of work on files: how far it is, its result with what is known of it, and images beside its parents'."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from tetrad.builtin import BUILTIN_NAME
from tetrad.contest.figures import measure_size
from tetrad.errors import TetradError
from tetrad.locales import _, presentable
from tetrad.sizes import format_size
from tetrad.web.drawing.choices import AUTOMATIC, make_id
from tetrad.web.file_images import Column, describe_columns, list_columns, make_cell
from tetrad.web.file_jobs import images_of, read_order, read_said, translate_all
from tetrad.web.jobs import Job
from tetrad.web.places import inside
from tetrad.web.routes.files import describe_verification
from tetrad.web.routes.history import IMAGE_HEADERS, send_png
from tetrad.web.routes.job_page import describe_job
from tetrad.web.routes.pick import answer_cell
from tetrad.web.routes.shared import SentFile, page

router = APIRouter()
_MAX_TEXT = 50_000


class ImageWish(BaseModel):
    """The image of a column, at a prompt and a seed; `model` is for files that are no whole models."""

    column: int = Field(ge=0, lt=100)
    prompt: str = Field(max_length=_MAX_TEXT)
    seed: int = Field(ge=0, lt=2**32)
    model: str = Field(BUILTIN_NAME, max_length=100)
    draws: bool = True  # without it, the answer only says whether it is there


@router.get("/files/jobs/{number}", include_in_schema=False)
def file_job_page(request: Request, number: int) -> HTMLResponse:
    job = find_job(request, number)
    data = {"number": number, **read_file_job(request, number)}
    return page(request, "file_job.html", "/library", job=describe_job(request, job), data=data)


@router.get("/api/files/jobs/{number}")
def read_file_job(request: Request, number: int) -> dict[str, Any]:
    """How far the work is, what the command has said, and the files that it has written.  404 for another job."""
    job = find_job(request, number)
    order, said = read_order(job), read_said(job)
    columns = list_columns(order) if "work" in order else []
    results = [path for path in said.results if path.exists()]
    return {
        **describe_job(request, job),
        "is_alive": job.is_alive,
        "is_waiting": job.is_waiting,
        "percent": 100 if job.state == "finished" else said.percent,
        "notes": translate_all(said.notes),
        "texts": translate_all(said.texts),
        "code": str(job.error.get("code", "")),
        "files": [describe_result(path) for path in results] if job.state == "finished" else [],
        "can_delete": bool(results) and "work" in order,
        "columns": describe_columns(columns, order["target"]) if job.state == "finished" and results else [],
        "needs_model": any(each.needs_model for each in columns),
        "model": request.app.state.choices.model_id(str(order.get("model", ""))),
        "prompt": presentable(order.get("prompt", "")),
    }


@router.get("/api/files/jobs/{number}/verification")
async def verify_result(request: Request, number: int) -> dict[str, Any]:
    """What `tetrad verify` says of the file that was written.  404 where there is none."""
    path = find_result(request, number)
    return describe_verification(await request.app.state.library.verify(str(path)))


@router.delete("/api/files/jobs/{number}")
def delete_result(request: Request, number: int) -> Response:
    """Delete the files that the work has written, and take it out of the queue.  404 where there are none."""
    job = find_job(request, number)
    written = read_said(job).results
    if "work" not in read_order(job) or job.state != "finished" or not any(path.exists() for path in written):
        raise HTTPException(404)
    for path in written:
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError as error:
            template = _("{path} cannot be deleted ({reason})")
            raise TetradError("E4202", template, path=path, reason=error.strerror) from error
    request.app.state.queue.remove(number)
    request.app.state.library.forget_list()
    return Response(status_code=204)


@router.post("/api/files/jobs/{number}/cells")
async def draw_image(request: Request, number: int, wish: ImageWish) -> Response:
    """Generate the image of a column unless it is there: {id, is_ready}; 409 where a training uses the device."""
    state = request.app.state
    job, columns = find_columns(request, number)
    if wish.column >= len(columns):
        raise HTTPException(404)
    column = columns[wish.column]
    model = await state.choices.find_model(wish.model) if column.needs_model else ""
    vae = await state.choices.find_vae(AUTOMATIC, column.model or model or column.path)
    settings = {**state.choices.folders, "seed": wish.seed, "vae": vae}
    cell = await asyncio.to_thread(make_cell, column, columns, model, wish.prompt, settings, images_of(job))
    return await answer_cell(request, cell, wish.draws)


@router.get("/api/files/jobs/{number}/cells/{file}")
def show_image(request: Request, number: int, file: str) -> SentFile:
    """An image, as PNG."""
    return send_png(inside(images_of(find_job(request, number)), f"{file}.png"))


@router.get("/api/files/jobs/{number}/cells/{file}/thumbnail")
async def show_thumbnail(request: Request, number: int, file: str) -> SentFile:
    """An image, at most 256 × 256 pixels, as WebP."""
    path = inside(images_of(find_job(request, number)), f"{file}.png")
    made = await request.app.state.thumbnails.find_or_make(path)
    return SentFile(made, media_type="image/webp", headers=IMAGE_HEADERS)


def find_job(request: Request, number: int) -> Job:
    """A job that works on files.  E4301 for a number without a job, 404 for a job of another kind."""
    job: Job = request.app.state.queue.read_job(number)
    if not read_order(job):
        raise HTTPException(404)
    return job


def find_result(request: Request, number: int) -> Path:
    """The first file that the work has written.  404 where there is none."""
    job = find_job(request, number)
    found = next((path for path in read_said(job).results if path.exists()), None)
    if found is None or job.state != "finished":
        raise HTTPException(404)
    return found


def find_columns(request: Request, number: int) -> tuple[Job, list[Column]]:
    """The images that show a result.  404 where there is none."""
    find_result(request, number)
    job = find_job(request, number)
    order = read_order(job)
    return job, list_columns(order) if "work" in order else []


def start_with_result(request: Request, number: int) -> dict[str, Any]:
    """The first settings of Generate for a file that was written: the model, and the prompt with it.  404 for none."""
    job, columns = find_columns(request, number)
    if not columns:
        raise HTTPException(404)
    order = read_order(job)
    cell = make_cell(columns[-1], columns, order["model"], order["prompt"], {}, images_of(job))
    choices = request.app.state.choices
    wanted = cell.request
    return {
        "prompt": wanted["prompt"],
        "model": choices.model_id(wanted["model"]),
        "model_name": Path(wanted["model"]).stem,
    }


def describe_result(path: Path) -> dict[str, str]:
    return {
        "id": make_id(str(path)),
        "name": str(presentable(path.name)),
        "path": str(presentable(path)),
        "size": format_size(measure_size(path)),
    }
