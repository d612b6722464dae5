"""The images of a draft: uploads, what becomes of each image, crops, masks, and images that are left out."""

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from tetrad.data.discover.image_files import get_mask_path
from tetrad.errors import TetradError
from tetrad.locales import Message, _, presentable
from tetrad.web.access import accepts
from tetrad.web.data_sets import DataSet
from tetrad.web.image_list import ImageList, ImageRow, SetReport
from tetrad.web.left_out import LeftOut
from tetrad.web.refusals import Refusals
from tetrad.web.routes.drafts import preparation_of
from tetrad.web.routes.shared import SentFile
from tetrad.web.uploads import Refusal, receive

router = APIRouter()
_BYTES = "application/octet-stream"
_PNG = "image/png"
_MAX_MASK_BYTES = 30_000_000
_LINES = "application/x-ndjson"
_BADGES = {  # what a tile says of a reason; a reason without one has the word of its verdict
    "W4131": _("small"),
    "W4132": _("from CMYK"),
    "W4133": _("from 16 bits"),
    "W4134": _("put on white"),
    "W4135": _("first frame"),
    "W4136": _("turned upright"),
    "W4137": _("converted to sRGB"),
    "W4140": _("empty"),
    "W4142": _("dark"),
    "W4143": _("nearly white"),
    "W4144": _("blurred"),
    "W4145": _("much cropped"),
    "W4155": _("same image"),
    "W4156": _("near duplicate"),
    "E4101": _("empty file"),
    "E4102": _("cut off"),
    "E4103": _("not an image"),
    "E4104": _("web page"),
    "E4106": _("damaged"),
    "E4107": _("HEIC"),
    "E4108": _("JPEG XL"),
    "E4109": _("other format"),
    "E4110": _("too small"),
    "E4112": _("too large"),
}
VERDICTS = {
    "ready": _("ready"),
    "fixed": _("fixed"),
    "look": _("needs a look"),
    "unused": _("not used"),
    "left": _("left out"),
}


class Box(BaseModel):
    """The part of the image that stays, in pixels of the image as it is shown."""

    box: tuple[int, int, int, int]


class Rotation(BaseModel):
    """By 90°."""

    to: Literal["left", "right"]


@router.post("/api/drafts/{name}/files")
@accepts(_BYTES)
async def upload(request: Request, name: str, file: str) -> dict[str, Any]:
    """Take one file, whose name may have folders: an image, a caption, a zip.  What cannot be used is in `refused`."""
    preparation = preparation_of(request)
    data_set = preparation.set_for_upload(preparation.drafts.read_draft(name), file)
    refusals = Refusals(data_set)
    try:
        received = await receive(data_set, file, request.stream())
    except TetradError as error:
        refusals.add([Refusal(file, error.code, error.sentence)])
        return {"stored": 0, "refused": [{"name": file, "code": error.code, "text": error.message}]}
    refusals.add(received.refused)
    refusals.forget([file])
    refused = [{"name": each.name, "code": each.code, "text": str(each.reason)} for each in received.refused]
    return {"stored": len(received.stored), "refused": refused}


@router.get("/api/drafts/{name}/images")
def look_at_images(request: Request, name: str) -> StreamingResponse:
    """Lines of JSON: how many images were looked at, then one for each image, then one with what concerns all of them.

    Each image has a verdict (ready, fixed, look, unused, left) with its reasons; `similar` are groups of image ids.
    """
    preparation = preparation_of(request)
    draft = preparation.drafts.read_draft(name)
    data_set = preparation.find_set(draft)
    lines = look(data_set, ImageList(data_set, preparation.images), draft.resolution) if data_set else say_nothing()
    return StreamingResponse(lines, media_type=_LINES, headers={"cache-control": "no-store"})


async def say_nothing() -> AsyncIterator[str]:
    nothing: dict[str, Any] = {"similar": [], "advice": [], "refused": [], "is_own_folder": False, "folder": ""}
    yield json.dumps(nothing) + "\n"


async def look(data_set: DataSet, images: ImageList, resolution: int) -> AsyncIterator[str]:
    error: dict[str, str] | None = None
    report: dict[str, Any] = {"similar": [], "advice": []}
    try:
        async for found in images.scan(resolution):
            if isinstance(found, ImageRow):
                yield json.dumps(describe_image(found)) + "\n"
            elif isinstance(found, SetReport):
                for row in found.culprits:
                    yield json.dumps(describe_image(row)) + "\n"
                report = describe_report(found)
            else:
                yield json.dumps({"done": found.done, "total": found.total}) + "\n"
    except TetradError as problem:
        is_new = data_set.source is None and data_set.images.is_dir()  # no image yet
        if problem.code not in ("E4001", "E4002") or not is_new:
            error = {"code": problem.code, "text": problem.message}
    left = LeftOut(data_set)
    for id, path in left.list():
        yield json.dumps({**_EMPTY, "id": id, "name": presentable(left.name_of(path))}) + "\n"
    about = {"is_own_folder": data_set.source is not None, "folder": presentable(data_set.images)}
    yield json.dumps({**report, "refused": Refusals(data_set).list(), "error": error, **about}) + "\n"


_EMPTY: dict[str, Any] = {
    "verdict": "left",
    "badge": "",
    "reasons": [],
    "width": 0,
    "height": 0,
    "has_mask": False,
    "is_edited": False,
}


def describe_report(report: SetReport) -> dict[str, Any]:
    """The groups of images that are alike, and advice about images; that about captions is given with the plan."""
    advice = [each for each in report.advice if each.reason.code.startswith(("W413", "W414"))]
    return {
        "similar": [*report.copies, *report.similar],
        "advice": [{"code": each.reason.code, "text": presentable(each.reason.message)} for each in advice],
    }


def describe_image(row: ImageRow) -> dict[str, Any]:
    reasons = [{"code": each.code, "text": presentable(each.message)} for each in row.reasons]
    state = row.path.stat() if row.path.exists() else None
    badge = next((_BADGES[each.code] for each in row.reasons if each.code in _BADGES), "")
    return {
        **_EMPTY,
        "id": row.id,
        "name": presentable(row.name),
        "verdict": row.verdict,
        "badge": str(Message(badge or VERDICTS[row.verdict])) if row.verdict != "ready" else "",
        "reasons": reasons,
        "width": row.width,
        "height": row.height,
        "has_mask": row.has_mask,
        "is_edited": row.is_edited,
        "version": str(state.st_mtime_ns) if state else "",
        "size": state.st_size if state else 0,
    }


def set_of(request: Request, name: str) -> DataSet:
    """The data set of a draft.  404 where it has none yet."""
    preparation = preparation_of(request)
    data_set = preparation.find_set(preparation.drafts.read_draft(name))
    if data_set is None:
        raise HTTPException(404)
    return data_set


def list_of(request: Request, name: str) -> ImageList:
    return ImageList(set_of(request, name), preparation_of(request).images)


@router.get("/api/drafts/{name}/images/{image}/thumbnail")
async def show_image(request: Request, name: str, image: str, side: Literal["256", "1024"] = "256") -> SentFile:
    """An image of at most 256 × 256 or 1,024 × 1,024 pixels, as WebP."""
    return await show(request, find_image(set_of(request, name), image), side)


@router.get("/api/drafts/{name}/images/{image}/mask")
async def show_mask(request: Request, name: str, image: str) -> SentFile:
    """The mask of an image, of at most 1,024 × 1,024 pixels, white where the image counts.  404 for none."""
    path = get_mask_path(find_image(set_of(request, name), image))
    if not path.is_file():
        raise HTTPException(404)
    return await show(request, path, "1024")


def find_image(data_set: DataSet, image: str) -> Path:
    try:
        return data_set.path_of(image)
    except TetradError:
        return LeftOut(data_set).path_of(image)


async def show(request: Request, path: Path, side: Literal["256", "1024"]) -> SentFile:
    made = await request.app.state.thumbnails.find_or_make(path, 1024 if side == "1024" else 256)
    return SentFile(made, media_type="image/webp", headers={"cache-control": "private, max-age=60"})


@router.delete("/api/drafts/{name}/images/{image}")
def leave_out(request: Request, name: str, image: str) -> Response:
    """Leave an image out; it can be used again."""
    LeftOut(set_of(request, name)).take(image)
    return Response(status_code=204)


@router.put("/api/drafts/{name}/images/{image}")
def use_again(request: Request, name: str, image: str) -> Response:
    """Use an image that was left out."""
    LeftOut(set_of(request, name)).bring_back(image)
    return Response(status_code=204)


@router.post("/api/drafts/{name}/images/{image}/crop")
async def crop(request: Request, name: str, image: str, box: Box) -> dict[str, str]:
    """Crop an image and its mask; the original is kept.  Returns the image's id, which changes with its format."""
    images = list_of(request, name)
    return {"id": images.data_set.id_of(await images.crop(image, box.box))}


@router.post("/api/drafts/{name}/images/{image}/rotate")
async def rotate(request: Request, name: str, image: str, rotation: Rotation) -> dict[str, str]:
    """Rotate an image and its mask by 90°; as for a crop the original is kept, and the id is returned."""
    images = list_of(request, name)
    return {"id": images.data_set.id_of(await images.rotate(image, rotation.to == "right"))}


@router.delete("/api/drafts/{name}/images/{image}/edits")
def restore(request: Request, name: str, image: str) -> dict[str, str]:
    """Undo all crops and rotations; a mask that was painted after the first of them goes with them."""
    images = list_of(request, name)
    return {"id": images.data_set.id_of(images.restore(image))}


@router.put("/api/drafts/{name}/images/{image}/mask")
@accepts(_PNG)
async def write_mask(request: Request, name: str, image: str) -> Response:
    """Write the mask of an image: a PNG, white where the image counts."""
    images = list_of(request, name)
    images.data_set.hidden.mkdir(parents=True, exist_ok=True)
    path = images.data_set.hidden / f"mask-{uuid.uuid4().hex}.png"
    try:
        with path.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
                if file.tell() > _MAX_MASK_BYTES:
                    raise HTTPException(413)
        await images.write_mask(image, path)
    finally:
        path.unlink(missing_ok=True)
    return Response(status_code=204)


@router.delete("/api/drafts/{name}/images/{image}/mask")
def remove_mask(request: Request, name: str, image: str) -> Response:
    """Remove the mask of an image."""
    list_of(request, name).remove_mask(image)
    return Response(status_code=204)
