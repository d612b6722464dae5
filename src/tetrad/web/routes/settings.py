"""The settings of the page: folders, models added by path, web UIs, language, theme, other devices, the check-up."""

import json
import platform
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import HTMLResponse, Response, StreamingResponse

from tetrad import __version__
from tetrad.errors import TetradError
from tetrad.locales import LANGUAGES, Message, _, presentable, translate_record
from tetrad.sizes import format_size
from tetrad.web.access import LOCAL_HOSTS
from tetrad.web.device import free_disk
from tetrad.web.file_library import FileLibrary
from tetrad.web.file_view import describe_file
from tetrad.web.places import Places
from tetrad.web.preferences import Preferences
from tetrad.web.routes.copies import describe_destination, list_destinations
from tetrad.web.routes.shared import Entry, page
from tetrad.web.texts import THEMES

router = APIRouter()
ENTRY = Entry("/settings", _("Settings"))


class NewModel(BaseModel):
    """The path of a checkpoint, as a person writes it."""

    path: str = Field(max_length=4_096)


class Look(BaseModel):
    """Language and theme of browsers that have chosen none; "" for those of the browser and the system."""

    language: str | None = None
    theme: str | None = None


@router.get("/settings", include_in_schema=False)
def settings_page(request: Request) -> HTMLResponse:
    state = request.app.state
    return page(
        request,
        "settings.html",
        "/settings",
        folders=list(describe_folders(state.places)),
        models=list_models(request),
        web_uis=list_web_uis(request),
        hosts=list_addresses(request),
        look=state.preferences.values,
        about=describe_installation(),
        port=request.url.port or 80,
    )


@router.get("/api/settings")
def read_settings(request: Request) -> dict[str, Any]:
    """Folders, models added by path, web UIs, language, theme and version."""
    state = request.app.state
    values = state.preferences.values
    return {
        "folders": list(describe_folders(state.places)),
        "models": list_models(request),
        "web_uis": list_web_uis(request),
        "language": values.language,
        "theme": values.theme,
        **describe_installation(),
    }


@router.put("/api/settings")
def change_settings(request: Request, look: Look) -> Response:
    """Store language and theme.  E2001 for one that there is not."""
    for name, value, known in (("language", look.language, LANGUAGES), ("theme", look.theme, THEMES)):
        if value not in (None, "", *known):
            template = _("{name} is {value}, which is none of {choices}")
            raise TetradError("E2001", template, name=name, value=value, choices=", ".join(known))
    request.app.state.preferences.change(**look.model_dump(exclude_none=True))
    return Response(status_code=204)


@router.post("/api/settings/models")
async def add_model(request: Request, wish: NewModel) -> dict[str, Any]:
    """Add a checkpoint outside the page's folders; it is inspected first.  E4323 where it is none."""
    library: FileLibrary = request.app.state.library
    return describe_file(await library.add_model(wish.path), request.app.state.runs)


@router.delete("/api/settings/models/{number}")
def remove_model(request: Request, number: int) -> Response:
    """Forget a model that was added by its path; its file stays."""
    preferences: Preferences = request.app.state.preferences
    models = preferences.values.models
    if 0 <= number < len(models):
        preferences.remove_model(models[number])
        request.app.state.library.forget_list()
    return Response(status_code=204)


@router.delete("/api/destinations/{name}")
def remove_destination(request: Request, name: str) -> Response:
    """Forget a web UI's folder, which stays as it is.  E4321 for one that is not known."""
    request.app.state.destinations.remove(name)
    return Response(status_code=204)


@router.get("/api/settings/address")
def read_start_address(request: Request) -> dict[str, Any]:
    """The addresses that let a browser in, with the token, for this computer and for others where they are let in."""
    token = request.app.state.keys.token
    return {"addresses": [f"{base}/start?token={token}" for base in list_addresses(request)]}


@router.get("/api/settings/check-up")
async def check_up(request: Request) -> StreamingResponse:
    """What `tetrad doctor` finds, as lines of JSON: {name, state, label, found, advice}."""
    state = request.app.state

    async def send() -> AsyncIterator[str]:
        try:
            async for check in state.planning.check_computer(state.places.runs, state.places.models):
                advice = translate_record(check["advice"]) if check["advice"] else ""
                about = {"label": translate_record(check["label"]), "found": translate_record(check["found"])}
                yield json.dumps({"state": check["state"], "advice": advice, **about}, ensure_ascii=False) + "\n"
        except TetradError as error:
            about = {"label": str(Message(_("Check-up"))), "found": error.message, "advice": ""}
            yield json.dumps({"state": "bad", **about}, ensure_ascii=False) + "\n"

    return StreamingResponse(send(), media_type="application/x-ndjson", headers={"cache-control": "no-store"})


def describe_folders(places: Places) -> Iterator[dict[str, Any]]:
    """The folders of the page with the options that set them."""
    folders = (
        (_("Runs"), "--runs", places.runs, _("Each training writes its own folder here.")),
        (_("Models"), "--models-dir", places.models, _("The folder of A1111, Forge or ComfyUI.")),
        (_("Images"), "--data", places.data, _("Images that you drop on the page, and their captions.")),
        (_("State"), "", places.state, _("The queue, these settings and thumbnails; XDG_STATE_HOME moves it.")),
    )
    for title, flag, path, help in folders:
        yield {
            "title": str(Message(title)),
            "flag": flag,
            "path": str(presentable(path)) if path else "",
            "help": str(Message(help)),
            "is_there": bool(path and path.is_dir()),
            "free": format_size(free_disk(path)) if path else "",
        }


def list_models(request: Request) -> list[dict[str, Any]]:
    """The models that were added by their path; `number` names them in addresses."""
    models = request.app.state.preferences.values.models
    return [
        {
            "number": number,
            "name": presentable(Path(path).name),
            "path": presentable(path),
            "is_there": Path(path).exists(),
        }
        for number, path in enumerate(models)
    ]


def list_web_uis(request: Request) -> list[dict[str, Any]]:
    """The web UIs that files are copied to; those that were added here can be removed."""
    added = {describe_destination(each)["id"] for each in request.app.state.destinations.list_added()}
    return [{**each, "can_remove": each["id"] in added} for each in list_destinations(request)]


def list_addresses(request: Request) -> list[str]:
    """The addresses of this page: for this computer, and for others in its network where it listens to them."""
    port = request.url.port or 80
    hosts = ["127.0.0.1"]
    if not request.app.state.hosts <= frozenset(LOCAL_HOSTS):
        cards = psutil.net_if_addrs().values()
        found = {each.address for card in cards for each in card if each[0] == socket.AF_INET}
        hosts += sorted(each for each in found & request.app.state.hosts if not each.startswith("127."))
    return [f"http://{host}:{port}" for host in hosts]


def describe_installation() -> dict[str, str]:
    return {"version": __version__, "python": platform.python_version(), "system": platform.platform(terse=True)}
