"""Whether the model knows already what is to be trained: a few images of it, before anything is trained."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from tetrad.errors import TetradError
from tetrad.web.drafts import Draft
from tetrad.web.drawing import Drawing
from tetrad.web.page_words import as_sentence
from tetrad.web.places import inside
from tetrad.web.routes.drafts import preparation_of
from tetrad.web.routes.shared import SentFile

router = APIRouter()
COUNT = 4
_STEPS = 20
_PASSED = ("loading", "step", "image", "done", "cancelled")


@router.get("/api/drafts/{name}/known")
async def draw(request: Request, name: str, prompt: str) -> StreamingResponse:
    """Lines of JSON while the draft's base model generates images of this prompt: loading, step, image {number, id}.

    Images that were generated before come at once. `gave_way` has the reason where a training needs the device.
    """
    preparation = preparation_of(request)
    draft = await preparation.settle(preparation.drafts.read_draft(name), "model")
    folder = preparation.places.state / "known"
    lines = generate(request.app.state.drawing, draft, prompt.strip(), folder)
    return StreamingResponse(lines, media_type="application/x-ndjson", headers={"cache-control": "no-store"})


async def generate(drawing: Drawing, draft: Draft, prompt: str, folder: Path) -> AsyncIterator[str]:
    key = hashlib.blake2b(json.dumps([prompt, draft.model]).encode(), digest_size=12).hexdigest()
    known = [path for path in list_files(folder, key) if path.is_file()]
    if len(known) == COUNT:
        for number, path in enumerate(known):
            yield line({"event": "image", "number": number, "id": path.stem})
        return
    values = {"prompt": prompt, "model": draft.model, "seed": 1, "steps": _STEPS, "num_images": COUNT}
    try:
        async for event in drawing.draw({**values, "folder": str(folder), "name": key}):
            if event["event"] == "gave_way":
                yield line({"event": "gave_way", "text": as_sentence(event)})
            elif event["event"] in _PASSED:
                made = str(event.pop("path", ""))
                event.pop("infotext", None)
                yield line({**event, "id": Path(made).stem} if made else event)
    except TetradError as error:
        yield line({"event": "error", "text": error.message, "code": error.code})


def list_files(folder: Path, key: str) -> list[Path]:
    """The files of the images as the drawing process calls them."""
    return [folder / (f"{key}-{number + 1}.png" if number else f"{key}.png") for number in range(COUNT)]


def line(event: dict[str, Any]) -> str:
    return json.dumps(event) + "\n"


@router.get("/api/known/{image}")
async def show(request: Request, image: str) -> SentFile:
    """One of the images, as WebP of at most 256 × 256 pixels."""
    folder = preparation_of(request).places.state / "known"
    if not folder.is_dir():
        raise HTTPException(404)
    made = await request.app.state.thumbnails.find_or_make(inside(folder, f"{image}.png"))
    return SentFile(made, media_type="image/webp", headers={"cache-control": "private, max-age=3600"})
