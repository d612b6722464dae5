"""New training: the pages of its four steps, and the drafts that they work on."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from tetrad.errors import TetradError
from tetrad.locales import Message, _, ngettext, presentable
from tetrad.paths import expand_path
from tetrad.web.drafts import Draft, Step
from tetrad.web.preparation import Preparation, refuse_shards
from tetrad.web.routes.shared import Entry, page
from tetrad.web.settings_form import keep_known

router = APIRouter()
ENTRY = Entry("/new", _("New training"))
STEPS: dict[str, str] = {"photos": _("Photos"), "words": _("Words"), "how": _("How"), "plan": _("Plan")}
LATER = (_("Train"), _("Pick best"))


class Changes(BaseModel):
    """What changes in a draft; a setting of None is removed."""

    step: str | None = None
    goal: str | None = None
    trigger_word: str | None = None
    class_word: str | None = None
    method: str | None = None
    model: str | None = None
    vae: str | None = None
    quality: str | None = None
    saves: int | None = None
    settings: dict[str, Any] = {}


class Folder(BaseModel):
    """A folder of images that exists; captions are written beside the images only where that was chosen."""

    path: str
    writes_beside: bool = False


def preparation_of(request: Request) -> Preparation:
    found: Preparation = request.app.state.preparation
    return found


@router.get("/new", include_in_schema=False)
def new_page(request: Request) -> HTMLResponse:
    """The first step before there is a draft: the first image, folder or answer makes it."""
    return show_step(request, "photos", None)


@router.get("/new/{name}/{step}", include_in_schema=False)
def step_page(request: Request, name: str, step: str) -> HTMLResponse:
    if step not in get_args(Step):
        raise HTTPException(404)
    drafts = preparation_of(request).drafts
    draft = drafts.read_draft(name)
    return show_step(request, step, draft if draft.step == step else drafts.update(name, step=step))


def show_step(request: Request, step: str, draft: Draft | None) -> HTMLResponse:
    values = asdict(draft) if draft else None
    steps = [(name, str(Message(title))) for name, title in STEPS.items()]
    later = [str(Message(title)) for title in LATER]
    data = {"draft": values, "step": step}
    return page(request, f"new_{step}.html", "/new", step=step, steps=steps, later=later, draft=values, data=data)


@router.get("/api/drafts")
def list_drafts(request: Request) -> list[dict[str, Any]]:
    """The drafts that were not started, the last changed first."""
    return [asdict(draft) for draft in preparation_of(request).drafts.list()]


@router.post("/api/drafts")
def create_draft(request: Request) -> dict[str, Any]:
    """A new draft, without images."""
    return asdict(preparation_of(request).drafts.create())


@router.get("/api/drafts/{name}")
def read_draft(request: Request, name: str) -> dict[str, Any]:
    """A draft: what was chosen so far."""
    return asdict(preparation_of(request).drafts.read_draft(name))


@router.patch("/api/drafts/{name}")
def change_draft(request: Request, name: str, changes: Changes) -> dict[str, Any]:
    """Change a draft; E3101, E3102, E3103 for a setting that cannot be used.

    `dropped` are the settings that the new method does not have.
    """
    drafts = preparation_of(request).drafts
    draft = drafts.read_draft(name)
    values = changes.model_dump(exclude_unset=True, exclude={"settings"})
    method = drafts.preview(name, **values).method or draft.method
    settings = {key: value for key, value in {**draft.settings, **changes.settings}.items() if value is not None}
    settings, dropped = keep_known(method or "lora", settings)
    if changes.settings:  # what cannot be used is refused here, and not when the plan is made
        Draft("", method=method, settings=settings).make_recipe(1)
    return {**asdict(drafts.update(name, **values, settings=settings)), "dropped": dropped}


@router.post("/api/drafts/{name}/folder")
def use_folder(request: Request, name: str, folder: Folder) -> dict[str, Any]:
    """Take the images of a folder that exists; they are never changed.  E4304 where there is none, E4308 for shards."""
    preparation = preparation_of(request)
    draft = preparation.drafts.read_draft(name)
    path = find_folder(folder.path)
    preparation.drafts.update(draft.id, images="", data_set="")
    preparation.use_folder(preparation.drafts.read_draft(name), path, folder.writes_beside)
    return asdict(preparation.drafts.read_draft(name))


@router.get("/api/drafts/{name}/contents")
def read_contents(request: Request, name: str) -> dict[str, str]:
    """What deleting the draft removes, in a sentence."""
    preparation = preparation_of(request)
    draft = preparation.drafts.read_draft(name)
    if not owns_images(preparation, draft) or preparation.data_sets.open(draft.data_set).source:
        return {"sentence": str(Message(_("This deletes what you chose. Your images stay where they are.")))}
    count = len(preparation.data_sets.open(draft.data_set).list_paths())
    template = ngettext(
        "This deletes what you chose, and the copy of {count} file that was added here. Your own files stay.",
        "This deletes what you chose, and the copies of {count} files that were added here. Your own files stay.",
        count,
    )
    return {"sentence": str(Message(template))}


@router.delete("/api/drafts/{name}")
def delete_draft(request: Request, name: str) -> Response:
    """Delete a draft, and the images that were uploaded for it."""
    preparation = preparation_of(request)
    draft = preparation.drafts.read_draft(name)
    if owns_images(preparation, draft):
        preparation.data_sets.remove(draft.data_set)
    preparation.drafts.remove(name)
    return Response(status_code=204)


def find_folder(text: str) -> Path:
    """The folder of a path that a person typed.  E4304 where there is none, E4308 for shards."""
    path = expand_path(text.strip())
    if not text.strip() or not path.is_absolute() or not is_folder(path):
        template = _("there is no folder {path}; give the whole path of a folder of images")
        raise TetradError("E4304", template, path=presentable(text))
    refuse_shards(Path(path))
    return Path(path)


def is_folder(path: Path) -> bool:
    """Whether a folder can be one of images: it exists, and it is not a whole disk, which takes minutes to look at."""
    return path.is_dir() and path.resolve() != Path(path.resolve().anchor)


def owns_images(preparation: Preparation, draft: Draft) -> bool:
    """Whether the images are copies that only this draft uses; those of a run that was started stay."""
    if not draft.data_set or draft.started:
        return False
    others = [each for each in preparation.drafts.list() if each.id != draft.id]
    return all(each.data_set != draft.data_set for each in others)


def describe_draft(draft: Draft) -> dict[str, str]:
    """A draft in the list on the first page."""
    name = str(draft.settings.get("save.name", ""))
    title = presentable(name or draft.trigger_word or draft.data_set) or str(Message(_("New training")))
    step = str(Message(STEPS[draft.step]))
    return {"id": draft.id, "title": title, "address": f"/new/{draft.id}/{draft.step}", "step": step}
