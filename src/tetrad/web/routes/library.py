"""The library: every model file with what it is and what is wrong with it, and the images that were dropped."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from tetrad.errors import TetradError
from tetrad.locales import Message, _, ngettext, presentable, translate_record
from tetrad.web.data_sets import DataSets
from tetrad.web.file_library import FileLibrary
from tetrad.web.file_view import KINDS, describe_facts, describe_file, list_problems
from tetrad.web.routes.home import Contents, remove_folder
from tetrad.web.routes.shared import Entry, SentFile, page
from tetrad.web.texts import sentence_gap
from tetrad.web.upload_list import Upload, measure_upload

router = APIRouter()
ENTRY = Entry("/library", _("Library"))
_IMAGE_HEADERS = {"cache-control": "private, max-age=60"}


@router.get("/library", include_in_schema=False)
def library_page(request: Request) -> HTMLResponse:
    places = request.app.state.places
    folders = [str(presentable(each)) for each in (places.models, places.runs) if each]
    data = {"kinds": [{"kind": kind, "word": str(Message(word))} for kind, word in KINDS.items()]}
    return page(request, "library.html", "/library", data=data, folders=folders, has_models=bool(places.models))


@router.get("/api/library/files")
async def list_library(request: Request, remembered: bool = False) -> list[dict[str, Any]]:
    """Every model file in the folders, those changed last first; with `remembered` as they were the last time."""
    state = request.app.state
    library: FileLibrary = state.library
    found = await (library.remember() if remembered else library.list_rows())
    rows = [describe_file(row, state.runs) for row in found]
    return sorted(rows, key=lambda row: -row["time"])


@router.get("/api/library/files/{file}")
async def read_file(request: Request, file: str) -> dict[str, Any]:
    """What `tetrad inspect` says of a file.  The first time it is read as a whole, which takes some seconds."""
    library: FileLibrary = request.app.state.library
    inspection = await library.inspect(file)
    row = {**await library.find(file), "inspection": inspection}
    return {
        **describe_file(row, request.app.state.runs),
        "path": presentable(row["path"]),
        "what": translate_record(inspection["what"]),
        "facts": describe_facts(inspection["facts"]),
        "family_fact": next(
            (describe_facts([fact])[0]["value"] for fact in inspection["facts"] if fact[0] == "family"), ""
        ),
        "metadata": [
            {"label": presentable(label), "value": presentable(value)}
            for label, value in sorted(inspection["metadata"].items())
        ],
        "all_problems": list_problems(row),
    }


@router.get("/api/library/files/{file}/preview")
async def show_preview(request: Request, file: str) -> SentFile:
    """The image beside a file, at most 256 pixels large and encoded anew, as WebP.  404 where there is none."""
    state = request.app.state
    row = await state.library.find(file)
    if not row["preview"]:
        raise HTTPException(404)
    made = await state.thumbnails.find_or_make(Path(row["preview"]))
    return SentFile(made, media_type="image/webp", headers=_IMAGE_HEADERS)


@router.get("/api/uploads")
def list_uploads(request: Request) -> list[dict[str, Any]]:
    """The images that were dropped on the page, in sets, the newest first."""
    data_sets: DataSets = request.app.state.preparation.data_sets
    found = []
    for each in data_sets.list():
        with suppress(TetradError, OSError):  # it was deleted meanwhile
            found.append(measure(request, each.id))
    return [describe_upload(each) for each in found if each.data_set.folder.is_dir()]


@router.get("/api/uploads/{name}/preview")
async def show_upload(request: Request, name: str) -> SentFile:
    """The first image of a set, at most 256 pixels large.  404 where it has none."""
    state = request.app.state
    upload = measure(request, name)
    if not upload.first:
        raise HTTPException(404)
    made = await state.thumbnails.find_or_make(upload.data_set.path_of(upload.first))
    return SentFile(made, media_type="image/webp", headers=_IMAGE_HEADERS)


@router.get("/api/uploads/{name}/contents")
def read_upload_contents(request: Request, name: str) -> Contents:
    """What deleting a set of images removes."""
    upload = measure(request, name)
    return Contents(sentence=sentence_gap().join(map(str, _describe_contents(upload))), size=upload.size)


@router.delete("/api/uploads/{name}")
def delete_upload(request: Request, name: str) -> Response:
    """Delete a set of images.  E4203 where a run trains on it or waits for it."""
    upload = measure(request, name)
    if upload.living:
        template = _("{run} needs these images; stop it, or take it out of the queue first")
        raise TetradError("E4203", template, run=upload.living[0])
    remove_folder(upload.data_set.folder)
    return Response(status_code=204)


def measure(request: Request, id: str) -> Upload:
    state = request.app.state
    preparation = state.preparation
    return measure_upload(preparation.data_sets.open(id), preparation.drafts, state.runs, state.queue)


def describe_upload(upload: Upload) -> dict[str, Any]:
    data_set = upload.data_set
    source = data_set.source
    images = str(Message(ngettext("{count} image", "{count} images", upload.images)))
    note = str(Message(_("the images stay in {folder}"), folder=source)) if source else ""
    return {
        "id": data_set.id,
        "name": presentable(data_set.name),
        "images": images,
        "size": upload.size,
        "when": upload.when,
        "note": note,
        "preview": f"/api/uploads/{data_set.id}/preview" if upload.first else "",
        "runs": list(upload.runs),
    }


def _describe_contents(upload: Upload) -> Iterator[Message]:
    images = Message(ngettext("{count} image", "{count} images", upload.images))
    others = Message(ngettext("{count} other file", "{count} other files", upload.others))
    yield Message(
        _("This deletes {images} and {others} (captions, masks, crops): {size}."),
        images=images,
        others=others,
        size=upload.size,
    )
    if source := upload.data_set.source:
        yield Message(_("The images in {folder} stay as they are."), folder=source)
    for run in upload.runs[:3]:
        yield Message(_("The run {run} stays, but can no longer be resumed or trained again on these images."), run=run)
    for draft in upload.drafts[:3]:
        yield Message(_("The draft {draft} loses its images."), draft=draft)
