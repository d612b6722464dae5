"""The images that were generated on the page: the list of them, the images themselves, and deleting one."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tetrad.web.drawing import History
from tetrad.web.routes.shared import SentFile

router = APIRouter()
IMAGE_HEADERS = {"cache-control": "private, max-age=3600"}
PAGE = 28
_MAX_PAGE = 500


@router.get("/api/generate/history")
def read_history(request: Request, count: int = PAGE) -> dict[str, Any]:
    """The newest images, and how many there are."""
    return list_history(request, count)


@router.get("/api/images/{name}")
def show_image(request: Request, name: str) -> SentFile:
    """A generated image, as PNG with its settings inside."""
    return send_png(history_of(request).path(name))


@router.get("/api/images/{name}/thumbnail")
async def show_thumbnail(request: Request, name: str) -> SentFile:
    """A generated image of at most 256 × 256 pixels, as WebP."""
    made = await request.app.state.thumbnails.find_or_make(history_of(request).path(name))
    return SentFile(made, media_type="image/webp", headers=IMAGE_HEADERS)


@router.get("/api/images/{name}/without")
def show_without(request: Request, name: str) -> SentFile:
    """The image of the same seed without networks."""
    return send_png(history_of(request).path_without(name))


@router.delete("/api/images/{name}")
def delete_image(request: Request, name: str) -> Response:
    """Delete a generated image."""
    history_of(request).remove(name)
    return Response(status_code=204)


def send_png(path: Path) -> SentFile:
    return SentFile(path, media_type="image/png", headers=IMAGE_HEADERS)


def history_of(request: Request) -> History:
    history: History = request.app.state.orders.history
    return history


def list_history(request: Request, count: int = PAGE) -> dict[str, Any]:
    """The newest images as the page shows them, and how many there are."""
    history = history_of(request)
    ids = history.list_ids()
    return {"total": len(ids), "images": [history.describe(id) for id in ids[: min(max(0, count), _MAX_PAGE)]]}
