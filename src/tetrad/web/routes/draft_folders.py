"""Further folders of a draft: images that are trained on beside its own, where they are, and never changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from tetrad.data.discover.list_dataset import list_dataset
from tetrad.errors import TetradError
from tetrad.locales import _, presentable
from tetrad.paths import expand_path
from tetrad.web.drafts import FOLDERS, Draft
from tetrad.web.preparation import list_further
from tetrad.web.routes.drafts import find_folder, preparation_of

router = APIRouter()
_Tables = list[dict[str, Any]]


class Repeats(BaseModel):
    """How often each image of a folder is used in an epoch; None: as the folder's name says, like 10_zkr, or once."""

    repeats: int | None = Field(default=None, ge=1, le=10_000)


class FurtherFolder(Repeats):
    """A folder of images that exists."""

    path: str


@router.get("/api/drafts/{name}/folders")
def read_folders(request: Request, name: str) -> _Tables:
    """The further folders of a draft: each with its path, repeats, number of images, and why there are none."""
    return describe_folders(preparation_of(request).drafts.read_draft(name))


@router.post("/api/drafts/{name}/folders")
def add_folder(request: Request, name: str, folder: FurtherFolder) -> _Tables:
    """Train on the images of one more folder too.  E4304 where there is none or it is used already, E4002 if empty."""
    preparation = preparation_of(request)
    draft = preparation.drafts.read_draft(name)
    path = find_folder(folder.path)
    data_set = preparation.find_set(draft)
    used = [*([data_set.images] if data_set else []), *(expand_path(each["images"]) for each in list_further(draft))]
    if path.resolve() in {each.resolve() for each in used}:
        template = _("{path} is trained on already; change its repeats if its images are to count more")
        raise TetradError("E4304", template, path=presentable(path))
    list_dataset(path)
    return _write(request, draft, [*list_further(draft), _with_repeats({"images": str(path)}, folder.repeats)])


@router.patch("/api/drafts/{name}/folders/{number}")
def change_folder(request: Request, name: str, number: int, repeats: Repeats) -> _Tables:
    """Change how often the images of a further folder are used."""
    draft = preparation_of(request).drafts.read_draft(name)
    tables = _tables_with(draft, number)
    tables[number] = _with_repeats(tables[number], repeats.repeats)
    return _write(request, draft, tables)


@router.delete("/api/drafts/{name}/folders/{number}")
def remove_folder(request: Request, name: str, number: int) -> _Tables:
    """Train without the images of a further folder; its files stay where they are."""
    draft = preparation_of(request).drafts.read_draft(name)
    tables = _tables_with(draft, number)
    del tables[number]
    return _write(request, draft, tables)


def _tables_with(draft: Draft, number: int) -> _Tables:
    """The tables of the further folders.  404 where there is none with this number."""
    tables = list_further(draft)
    if not 0 <= number < len(tables):
        raise HTTPException(404)
    return tables


def _with_repeats(table: Mapping[str, Any], repeats: int | None) -> dict[str, Any]:
    kept = {key: value for key, value in table.items() if key != "repeats"}
    return kept if repeats is None else {**kept, "repeats": repeats}


def _write(request: Request, draft: Draft, tables: _Tables) -> _Tables:
    settings = {key: value for key, value in draft.settings.items() if key != FOLDERS}
    drafts = preparation_of(request).drafts
    return describe_folders(drafts.update(draft.id, settings={**settings, **({FOLDERS: tables} if tables else {})}))


def describe_folders(draft: Draft) -> _Tables:
    """Each folder for the page."""
    return [_describe(table) for table in list_further(draft)]


def _describe(table: Mapping[str, Any]) -> dict[str, Any]:
    path, images, usual_repeats, problem = expand_path(table["images"]), 0, 1, ""
    try:
        entries = list_dataset(path).entries
        images, usual_repeats = len(entries), entries[0].subset.repeats if entries else 1
    except TetradError as error:
        problem = error.message
    return {
        "name": presentable(Path(path).name),
        "path": presentable(path),
        "repeats": table.get("repeats"),
        "usual_repeats": usual_repeats,  # where none are given: those of its name, or one
        "images": images,
        "problem": presentable(problem),
        "is_class_images": bool(table.get("class_images")),
    }
