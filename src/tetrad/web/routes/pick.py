"""Pick best: the saves of a run at several strengths side by side, generated as they come into view, and starred."""

import asyncio
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse, JSONResponse, Response

from tetrad.web.drawing import Cell
from tetrad.web.page_words import as_sentence
from tetrad.web.picks import Choice, Pick
from tetrad.web.places import inside
from tetrad.web.routes.history import IMAGE_HEADERS, send_png
from tetrad.web.routes.shared import SentFile, page
from tetrad.web.run_view import describe_run

router = APIRouter()
_MAX_TEXT = 50_000


class CellWish(BaseModel):
    """A cell: a save (its file's name; "" for the base model alone) at a strength, and a prompt."""

    file: str = ""
    strength: float = Field(1.0, ge=-10, le=10)
    prompt: str = Field(max_length=_MAX_TEXT)
    seed: int | None = Field(None, ge=0, lt=2**32)  # None: that of the previews
    like: str = ""  # the run whose seed, sampler and trigger word count; "": its own
    draws: bool = True  # without it, the answer only says whether it is there


class Star(BaseModel):
    """A save at a strength, and whether it is starred."""

    file: str
    strength: float = Field(ge=-10, le=10)
    is_starred: bool


class Written(BaseModel):
    """A prompt as it is written for a save."""

    file: str
    strength: float = Field(ge=-10, le=10)
    prompt: str = Field(max_length=_MAX_TEXT)
    name: str = Field("", max_length=200)


@router.get("/runs/{name}/pick", include_in_schema=False)
def pick_page(request: Request, name: str) -> HTMLResponse:
    run = describe_run(request.app.state.runs.read_run(name))
    return page(request, "pick.html", "/", run=run, data={"name": name, **read_saves(request, name)})


@router.get("/api/runs/{name}/saves")
def read_saves(request: Request, name: str) -> dict[str, Any]:
    """The saves of a run with their figures, the strengths and prompts to compare them at, and the stars."""
    return open_pick(request, name).describe(request.app.state.runs.read_series(name))


@router.post("/api/runs/{name}/cells")
async def draw_cell(request: Request, name: str, wish: CellWish) -> Response:
    """Generate the image of a cell unless it is there; it is cancelled where the browser goes away.

    {id, is_ready}; 409 with a sentence where a training uses the device.
    """
    pick = open_pick(request, name)
    like = open_pick(request, wish.like) if wish.like else None
    return await answer_cell(
        request, pick.make_cell(Choice(wish.file, wish.strength), wish.prompt, wish.seed, like), wish.draws
    )


async def answer_cell(request: Request, cell: Cell, draws: bool) -> Response:
    """The answer to the wish for a cell: generate it, unless it is there or the request only asks whether it is."""
    answer = {"id": cell.request["name"], "is_ready": cell.path.exists()}
    if answer["is_ready"] or not draws:
        return JSONResponse(answer)
    work = asyncio.create_task(_draw(request, cell))
    gone = asyncio.create_task(_wait_until_gone(request))
    await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        return Response(status_code=499)
    gone.cancel()
    if (why := work.result()) is not None:
        return JSONResponse({"code": "", "text": why}, 409)
    return JSONResponse({**answer, "is_ready": cell.path.exists()})


@router.get("/api/runs/{name}/cells/{file}")
def show_cell(request: Request, name: str, file: str) -> SentFile:
    """The image of a cell, as PNG."""
    return send_png(inside(open_pick(request, name).folder, f"{file}.png"))


@router.get("/api/runs/{name}/cells/{file}/thumbnail")
async def show_thumbnail(request: Request, name: str, file: str) -> SentFile:
    """The image of a cell, at most 256 × 256 pixels, as WebP."""
    path = inside(open_pick(request, name).folder, f"{file}.png")
    made = await request.app.state.thumbnails.find_or_make(path)
    return SentFile(made, media_type="image/webp", headers=IMAGE_HEADERS)


@router.put("/api/runs/{name}/stars")
def set_star(request: Request, name: str, star: Star) -> list[dict[str, Any]]:
    """Star a save at a strength, or take its star away; the answer is all stars, the newest first."""
    pick = open_pick(request, name)
    pick.set_star(Choice(star.file, star.strength), star.is_starred)
    return [{"file": each.file, "strength": each.strength} for each in pick.read_stars()]


@router.post("/api/runs/{name}/prompt")
def write_prompt(request: Request, name: str, wish: Written) -> dict[str, str]:
    """A prompt as it is written in a web UI, or here, for a save at a strength."""
    pick = open_pick(request, name)
    stem = wish.name or pick.find(wish.file).name
    return {"prompt": pick.write_prompt(stem, wish.strength, wish.prompt)}


def open_pick(request: Request, name: str) -> Pick:
    """The saves of a run.  404 where there is no such run, or it is not one of a method."""
    state = request.app.state
    pick: Pick = state.picks.open(state.runs.path(name))
    return pick


async def _draw(request: Request, cell: Cell) -> str | None:
    """Generate a cell; the sentence why not where a training has the device."""
    async with aclosing(request.app.state.drawing.draw(cell.request, is_cell=True)) as events:
        async for event in events:
            if event["event"] == "gave_way":
                return as_sentence(event)
    return None


async def _wait_until_gone(request: Request) -> None:
    """Until the browser has closed the connection; the body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
