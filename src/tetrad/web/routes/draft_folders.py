"""Further folders of a draft: images that are trained on beside its own, where they are, and never changed."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from tetrad.errors import TetradError
from tetrad.locales import _, presentable
from tetrad.paths import expand_path
from tetrad.web.drafts import FOLDERS, Draft
from tetrad.web.further_folders import count_images, describe_further_folders, list_further_folders, no_image_error
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
    return describe_further_folders(preparation_of(request).drafts.read_draft(name))


@router.post("/api/drafts/{name}/folders")
def add_folder(request: Request, name: str, folder: FurtherFolder) -> _Tables:
    """Train on the images of one more folder too.  E4304 where there is none or it is used already, E4002 if empty."""
    preparation = preparation_of(request)
    draft = preparation.drafts.read_draft(name)
    path = find_folder(folder.path)
    data_set = preparation.find_set(draft)
    used = [data_set.images] if data_set else []
    used += [expand_path(each["images"]) for each in list_further_folders(draft)]
    if path.resolve() in {each.resolve() for each in used}:
        template = _("{path} is already used for training; raise its repeats if its images should count more")
        raise TetradError("E4304", template, path=presentable(path))
    if not count_images(path):
        raise no_image_error(path)
    return _write(request, draft, [*list_further_folders(draft), _with_repeats({"images": str(path)}, folder.repeats)])


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
    tables = list_further_folders(draft)
    if not 0 <= number < len(tables):
        raise HTTPException(404)
    return tables


def _with_repeats(table: Mapping[str, Any], repeats: int | None) -> dict[str, Any]:
    kept = {key: value for key, value in table.items() if key != "repeats"}
    return kept if repeats is None else {**kept, "repeats": repeats}


def _write(request: Request, draft: Draft, tables: _Tables) -> _Tables:
    settings = {key: value for key, value in draft.settings.items() if key != FOLDERS}
    if tables:
        settings[FOLDERS] = tables
    return describe_further_folders(preparation_of(request).drafts.update(draft.id, settings=settings))
