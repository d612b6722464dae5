"""A recipe, or another trainer's configuration, that a person opens: what becomes of each key, and the draft of it."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from tetrad.documents import MAX_DOCUMENT_BYTES
from tetrad.errors import TetradError
from tetrad.locales import Message, _, presentable, translate_record
from tetrad.methods import METHODS
from tetrad.web.access import accepts
from tetrad.web.drafts import Draft
from tetrad.web.imports import Imports
from tetrad.web.preparation import read_recipe
from tetrad.web.routes.drafts import preparation_of
from tetrad.web.routes.shared import page
from tetrad.web.run_view import describe_method

router = APIRouter()
_NO_METHOD = "E3167"
_BYTES = "application/octet-stream"
GROUPS = {  # by outcome, in the order in which they are worth reading: title, explanation, tone
    "not_done": (
        _("Not done"),
        _("Tetrad does not do what these ask for. Each line says what the training does instead."),
        "warn",
    ),
    "mapped": (_("Mapped"), _("These become settings of Tetrad."), "ok"),
    "meaningless": (_("No meaning here"), _("Tetrad needs none of these."), "plain"),
    "equal": (_("Equal by default"), _("These ask for what Tetrad does anyway."), "plain"),
}


class Kind(BaseModel):
    """What the file trains, where it does not say it."""

    method: str = ""


def imports_of(request: Request) -> Imports:
    found: Imports = request.app.state.imports
    return found


@router.post("/api/imports")
@accepts(_BYTES)
async def open_file(request: Request, file: str) -> dict[str, str]:
    """Open a recipe, or a configuration of another trainer; `address` is the page that goes on with it.

    E3002, E3101, E3102, E3103 for a recipe that cannot be used, E3161, E3162, E3163 for a configuration.
    """
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_DOCUMENT_BYTES:
            raise HTTPException(413)
    imports = imports_of(request)
    id = imports.add(file, content)
    try:
        found = await imports.read_configuration(id)
        if found["event"] == "recipe":
            values = read_recipe(file, content)
            imports.remove(id)
            return {"address": address_of(preparation_of(request).drafts.create(**values))}
    except TetradError as error:
        if error.code != _NO_METHOD:
            imports.remove(id)
            raise
    return {"address": f"/imports/{id}"}


@router.get("/imports/{name}", include_in_schema=False)
async def import_page(request: Request, name: str, method: str = "") -> HTMLResponse:
    imports = imports_of(request)
    title, found = presentable(imports.find(name).name), None
    try:
        found = await imports.read_configuration(name, require_method(method))
    except TetradError as error:
        if error.code != _NO_METHOD:
            raise
    about = {"name": title, "kinds": [(kind, describe_method(kind)) for kind in METHODS]}
    data = {"id": name, "method": method}
    return page(request, "import.html", "/new", about=about, found=found and describe(found), data=data)


@router.post("/api/imports/{name}/draft")
async def make_draft(request: Request, name: str, kind: Kind) -> dict[str, str]:
    """A new draft with the settings of a configuration; `address` is the open step.  409 for one with errors."""
    imports = imports_of(request)
    found = await imports.read_configuration(name, require_method(kind.method))
    if found["event"] != "configuration" or found["errors"]:
        raise HTTPException(409)
    draft = preparation_of(request).drafts.create(**read_recipe(imports.find(name).name, found["recipe"]))
    return {"address": address_of(draft)}


def require_method(name: str) -> str:
    """404 for a name that no method has."""
    if name and name not in METHODS:
        raise HTTPException(404)
    return name


def address_of(draft: Draft) -> str:
    """The plan of a draft, or the step that asks for its images."""
    return f"/new/{draft.id}/{'plan' if draft.images else 'photos'}"


def describe(found: dict[str, Any]) -> dict[str, Any]:
    """What the page shows, in the reader's language."""
    groups = []
    for outcome, (title, text, tone) in GROUPS.items():
        rows = [
            {
                **each,
                "value": presentable(each["value"]),
                "reason": translate_record(each["reason"]) if each["reason"] else "",
            }
            for each in found["rows"]
            if each["outcome"] == outcome
        ]
        if rows:
            groups.append(
                {"id": outcome, "title": str(Message(title)), "text": str(Message(text)), "tone": tone, "rows": rows}
            )
    return {
        "trainer": found["trainer"],
        "groups": groups,
        "notes": [translate_record(each) for each in found["notes"]],
        "errors": [{"text": translate_record(each), "code": each["code"]} for each in found["errors"]],
        "missing": [(presentable(each["key"]), presentable(each["value"])) for each in found["missing"]],
    }
