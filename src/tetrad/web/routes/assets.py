"""Scripts, styles and images of the page itself, and the texts of the scripts in each language."""

import hashlib
import json
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tetrad.builtin import resolve_images_path
from tetrad.locales import LANGUAGES
from tetrad.web.texts import STATIC, script_messages

router = APIRouter()
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".txt": "text/plain",
}


@router.get("/static/{name:path}", include_in_schema=False)
def show_asset(request: Request, name: str) -> Response:
    """A file of the package; only names that were found in it are known, so no other path can be asked for."""
    path = list_assets().get(name)
    if path is None:
        raise HTTPException(404)
    return send_unless_cached(request, path.read_bytes(), _TYPES[path.suffix])


@router.get("/texts/{language}.js", include_in_schema=False)
def show_texts(request: Request, language: str) -> Response:
    """The messages of the scripts in a language, as a module."""
    if language not in LANGUAGES:
        raise HTTPException(404)
    text = f"export default {json.dumps(script_messages(language), ensure_ascii=False)};\n"
    return send_unless_cached(request, text.encode(), "text/javascript")


@router.get("/samples/{task}/{number}", include_in_schema=False)
def show_sample(request: Request, task: str, number: int) -> Response:
    """A training image of the demo: they show on the first page what images are good for what."""
    if task not in ("subject", "person", "style"):
        raise HTTPException(404)
    paths = sorted(resolve_images_path(f"builtin:{task}").glob("*.png"))
    if not 0 <= number < len(paths):
        raise HTTPException(404)
    return send_unless_cached(request, paths[number].read_bytes(), "image/png")


def send_unless_cached(request: Request, content: bytes, media_type: str) -> Response:
    """The content, or only that it has not changed since the browser got it."""
    headers = {"etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


@cache
def list_assets() -> dict[str, Path]:
    paths = (path for path in STATIC.rglob("*") if path.suffix in _TYPES)
    return {path.relative_to(STATIC).as_posix(): path for path in paths}
