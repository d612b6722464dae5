"""The page of VAEs: which one each model uses and why, which files there are, and how they change an image."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from tetrad.builtin import BUILTIN_NAME, resolve_images_path
from tetrad.errors import TetradError
from tetrad.locales import Message, _, presentable, translate_record
from tetrad.sizes import format_size
from tetrad.web.drawing.choices import AUTOMATIC, OWN_VAE
from tetrad.web.file_library import FileLibrary
from tetrad.web.file_view import describe_facts, unpack
from tetrad.web.jobs import list_busy_devices
from tetrad.web.page_words import as_sentence
from tetrad.web.places import inside
from tetrad.web.preferences import MountedVae, Preferences
from tetrad.web.routes.shared import Entry, SentFile, page

router = APIRouter()
ENTRY = Entry("/vae", _("VAE"))
MAX_COMPARED = 6
_SHEET = "vae-sheets"


class Mount(BaseModel):
    """The VAE for a model: "Automatic" for the rules, "None" for the model's own, or the id of a file."""

    vae: str = AUTOMATIC
    trains: bool = False


class Comparison(BaseModel):
    """What is compared: VAEs as in `Mount`, on an image that was dropped, or on one of the demo (its number)."""

    model: str = BUILTIN_NAME
    vaes: list[str] = Field(min_length=1, max_length=MAX_COMPARED)
    input: str = ""
    sample: int = 0


@router.get("/vae", include_in_schema=False)
def vae_page(request: Request) -> HTMLResponse:
    samples = list(range(len(list_samples())))
    return page(request, "vae.html", "/vae", samples=samples[:4], has_models=bool(request.app.state.places.models))


@router.get("/api/vae")
async def list_vaes(request: Request) -> dict[str, Any]:
    """The models with the VAE that each of them uses, and the VAE files in the page's folders."""
    library: FileLibrary = request.app.state.library
    preferences: Preferences = request.app.state.preferences
    rows = await library.list_rows()
    models = {row["path"]: row for row in rows if row["kind"] == "checkpoint"}
    files = {row["path"]: row for row in rows if kind_of(row) == "vae"}
    found = await library.planning.list_mounted_vaes([*models, BUILTIN_NAME], library.folders)
    return {
        "models": [describe_model(each, models.get(each["path"], {}), files, preferences) for each in found],
        "vaes": [describe_vae_file(row) for row in files.values()],
    }


@router.put("/api/vae/models/{name}")
async def mount_vae(request: Request, name: str, mount: Mount) -> dict[str, Any]:
    """Use a VAE with a model from now on, on this page.  Answers with warnings, such as that of another family."""
    state = request.app.state
    library: FileLibrary = state.library
    model = BUILTIN_NAME if name == BUILTIN_NAME else (await library.find(name))["path"]
    if mount.vae == AUTOMATIC:
        state.preferences.mount(model, None)
        return {"facts": [], "warnings": []}
    vae = await find_vae(library, mount.vae)
    about = await library.describe_vae(model, vae)
    if about["error"]:
        raise TetradError("E5201", _("{model} has no VAE inside; choose a VAE file"), model=Path(model).name)
    state.preferences.mount(model, MountedVae(vae, mount.trains))
    warnings = [as_sentence(each) for each in about["warnings"]]
    return {"facts": describe_facts(about["facts"]), "warnings": warnings}


@router.post("/api/vae/compare")
async def compare(request: Request, wish: Comparison) -> dict[str, Any]:
    """Encode and decode an image with each VAE; the sheet is at /api/vae/sheets/ID.  E41… for a bad image."""
    state = request.app.state
    library: FileLibrary = state.library
    samples = list_samples()
    if not wish.input and not 0 <= wish.sample < len(samples):
        raise HTTPException(404)
    image = state.inputs.path(wish.input) if wish.input else samples[wish.sample]
    model = BUILTIN_NAME if wish.model == BUILTIN_NAME else (await library.find(wish.model))["path"]
    vaes = [await find_vae(library, each) for each in wish.vaes]
    title = str(Message(_("your image"))) if wish.input else image.name
    # A training has the GPU for itself; a VAE alone also runs on the processor.
    device = "cpu" if any(list_busy_devices([state.places.runs])) else "auto"
    made = await library.compare_vaes(model, vaes, image, title, device)
    rows = [
        {
            "label": str(unpack(row["label"])),
            "measured": row["measured"],
            "psnr": row["psnr"],
            "warnings": list(map(as_sentence, row["warnings"])),
        }
        for row in made["rows"]
    ]
    ranks = sorted((round(row["psnr"], 2) for row in rows), reverse=True)
    is_clear = len(ranks) > 1 and ranks[0] > ranks[1]
    rows = [{**row, "is_best": is_clear and round(row["psnr"], 2) == ranks[0]} for row in rows]
    return {"sheet": f"/api/vae/sheets/{made['sheet']}", "rows": rows}


@router.get("/api/vae/sheets/{name}")
def show_sheet(request: Request, name: str) -> SentFile:
    """A sheet that compares VAEs, as PNG."""
    path = inside(request.app.state.places.state, _SHEET, f"{name}.png")
    return SentFile(path, media_type="image/png", headers={"cache-control": "private, max-age=3600"})


def list_samples() -> list[Path]:
    return sorted(resolve_images_path("builtin:subject").glob("*.png"))


async def find_vae(library: FileLibrary, id: str) -> str:
    """The path of a VAE, or "None" and "Automatic" as they are.  404 for another id."""
    return id if id in (AUTOMATIC, OWN_VAE) else str((await library.find(id))["path"])


def kind_of(row: dict[str, Any]) -> str:
    return str((row.get("inspection") or {}).get("kind") or row["kind"])


def describe_model(
    found: dict[str, Any], row: dict[str, Any], files: dict[str, dict[str, Any]], preferences: Preferences
) -> dict[str, Any]:
    """A model with what is used and why; a VAE that a person chose here comes before the rules."""
    is_builtin = found["path"] == BUILTIN_NAME
    mounted = preferences.values.vaes.get(found["path"])
    used, training = show_choice(found["used"], found["has_own"]), show_choice(found["training"], found["has_own"])
    training |= {"tone": "ok"} if training["tone"] == "warn" else {}  # that another VAE generates is no mistake
    chosen = AUTOMATIC
    if mounted:
        chosen = mounted.vae if mounted.vae == OWN_VAE else files.get(mounted.vae, {}).get("id", "")
        name = str(Message(_("its own"))) if mounted.vae == OWN_VAE else str(presentable(Path(mounted.vae).name))
        used = {"name": name, "reason": str(Message(_("you chose it here"))), "warnings": [], "tone": "ok"}
        if not chosen:
            gone = Message(_("{vae}, which you chose here, is not there any more; choose another one"), vae=name)
            used = {**used, "reason": "", "warnings": [str(gone)], "tone": "bad"}
        training = used if mounted.trains else training
    return {
        "id": BUILTIN_NAME if is_builtin else row["id"],
        "name": str(Message(_("the built-in model"))) if is_builtin else presentable(row["name"]),
        "family": "" if is_builtin else presentable(row["family"]),
        "has_own": found["has_own"],
        "chosen": chosen,
        "trains": bool(mounted and mounted.trains),
        "used": used,
        "training": training,
    }


def show_choice(choice: dict[str, Any], has_own: bool | None) -> dict[str, Any]:
    """A choice by the rules; a model without a VAE that no rule gives one is what generates noise."""
    if not choice["path"] and has_own is False:
        missing = str(Message(_("there is no VAE inside, and no file gives it one; choose a VAE")))
        return {"name": str(Message(_("none"))), "reason": "", "warnings": [missing], "tone": "bad"}
    name = str(Message(_("its own"))) if not choice["path"] else str(presentable(choice["label"]))
    warnings = [as_sentence(each) for each in choice["warnings"]]
    return {
        "name": name,
        "reason": translate_record(choice["reason"]),
        "warnings": warnings,
        "tone": "warn" if warnings else "ok",
    }


def describe_vae_file(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": presentable(row["name"]),
        "folder": presentable(row["folder"]),
        "run": row["run"],
        "size": format_size(row["bytes"]),
        "hash": row["hash"],
        "problems": [as_sentence(each) for each in row["problems"]],
    }
