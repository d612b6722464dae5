"""How a draft is trained and what that needs: methods compared, base models, settings, the plan, and the start."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from tetrad.contest.figures import format_duration
from tetrad.locales import Message, _, presentable, translate_record
from tetrad.methods import METHODS
from tetrad.methods.artifact import Artifact
from tetrad.settings.toml import dump_recipe
from tetrad.sizes import format_memory, format_size
from tetrad.web import starts
from tetrad.web.drafts import Draft
from tetrad.web.drawing.choices import OWN_VAE
from tetrad.web.page_words import adapt_note, as_sentence
from tetrad.web.preparation import parse_options
from tetrad.web.routes.drafts import preparation_of
from tetrad.web.routes.home import Started
from tetrad.web.run_view import describe_method as describe_kind
from tetrad.web.settings_form import describe_settings

router = APIRouter()


@router.get("/api/drafts/{name}/model")
async def read_model(request: Request, name: str, model: str = "", vae: str = "") -> dict[str, Any]:
    """The base model of a draft, or another one, and the VAE that encodes the images; with the models to choose from.

    E5001 and others where the file is no model.
    """
    preparation = preparation_of(request)
    draft = await preparation.settle(preparation.drafts.read_draft(name), "model")
    chosen = model or draft.model
    mounted = preparation.preferences.training_vae(chosen)
    own = draft.vae if chosen == draft.model else ""  # another model may have no VAE of this name
    about = await preparation.planning.describe_model(chosen, vae or own or mounted)
    models = await preparation.list_models()
    if chosen not in [each["path"] for each in models]:  # one that was added by its path
        models.insert(
            0, {"path": chosen, "name": chosen.replace("\\", "/").rpartition("/")[2], "family": about["family"]}
        )
    texts = {"vae": show(about["vae"]), "vae_reason": as_sentence(about["vae_reason"])}
    texts["vae_mounted"] = "" if mounted == OWN_VAE else presentable(Path(mounted).name)
    warnings = list(map(as_sentence, about["vae_warnings"]))
    return {**about, **texts, "vae_warnings": warnings, "model": chosen, "models": models}


@router.get("/api/drafts/{name}/methods")
async def compare_methods(request: Request, name: str) -> dict[str, Any]:
    """The four methods for these very images, and which is recommended; what was open in the draft is decided."""
    preparation = preparation_of(request)
    draft = await preparation.settle(preparation.drafts.read_draft(name), "model", "trigger_word", "method")
    compared = await preparation.compare(draft)
    methods = [describe_method(draft, each, compared["free_memory_bytes"]) for each in compared["methods"]]
    best = compared["best"]
    return {
        "draft": asdict(preparation.drafts.read_draft(name)),  # with what was changed meanwhile
        "methods": methods,
        "best": best,
        "best_title": describe_kind(best),
        "reason": show(compared["reason"]),
        "images": compared["images"],
    }


def describe_method(draft: Draft, found: dict[str, Any], free: int) -> dict[str, Any]:
    artifact = METHODS[found["method"]].artifact
    needed = found["memory_bytes"]
    options = parse_options(found["options"])
    return {
        "method": found["method"],
        "title": describe_kind(found["method"]),
        "good_at": show(found["good_at"]),
        "bad_at": show(found["bad_at"]),
        "file": format_size(found["file_bytes"]),
        "time": format_duration(found["seconds"] + found["seconds_of_previews"]),
        "prompt": name_in_prompt(artifact, draft.trigger_word),
        "memory": format_memory(needed),
        "free": format_memory(free),
        "share": min(100, round(100 * needed / max(1, free))),
        "fits": found["fits"],
        "spare": format_memory(max(0, free - needed)),
        "options": options,
        "option_names": ", ".join(found["options"]),
    }


def name_in_prompt(artifact: Artifact, word: str) -> str:
    """How a prompt uses what was trained."""
    return artifact.write_tag(word) or word


@router.get("/api/drafts/{name}/settings")
def list_settings(request: Request, name: str) -> list[dict[str, Any]]:
    """Every setting of the draft's method, with kohya's name, its range and a line of help."""
    draft = preparation_of(request).drafts.read_draft(name)
    return describe_settings(draft.method or "lora", draft.settings)


@router.get("/api/drafts/{name}/plan")
async def read_plan(request: Request, name: str) -> dict[str, Any]:
    """What a run of the draft would do and need.  Every error that a run would have is found here already."""
    preparation = preparation_of(request)
    draft = await preparation.settle(preparation.drafts.read_draft(name), "model", "trigger_word", "method")
    plan = await preparation.planning.plan(await preparation.make_recipe(draft))
    values = plan.pop("plan")
    adapted = filter(None, map(adapt_note, plan.pop("notes")))
    notes = [{"code": each["code"], "text": as_sentence(each)} for each in adapted]
    without_word = [prompt for prompt in plan["prompts"] if draft.trigger_word not in prompt]
    overfit = values["sample"].get("overfit_prompts", [])
    prompts = [
        {"text": presentable(prompt), "is_own": prompt not in without_word, "is_check": prompt in overfit}
        for prompt in plan.pop("prompts")
    ]
    return {
        **plan,
        "draft": asdict(preparation.drafts.read_draft(name)),  # with what was changed meanwhile
        "length": show(plan["length"]),
        "time": format_duration(plan["seconds"]),
        "memory": format_memory(plan["memory_bytes"]),
        "free_memory": format_memory(plan["free_memory_bytes"]),
        "fits": plan["memory_bytes"] <= plan["free_memory_bytes"],
        "share": min(100, round(100 * plan["memory_bytes"] / max(1, plan["free_memory_bytes"]))),
        "disk": format_size(plan["disk_bytes"]),
        "free_disk": format_size(plan["free_disk_bytes"]),
        "fits_disk": plan["disk_bytes"] <= plan["free_disk_bytes"],
        "file_size": format_size(plan["file_bytes"]),
        "folder": presentable(plan["folder"]),
        "file": presentable(plan["file"]),
        "repeats": round(plan["repeats"], 2),
        "title": describe_kind(draft.method),
        "prompts": prompts,
        "notes": notes,
        "busy": find_busy(request),
    }


def find_busy(request: Request) -> str:
    """What has to end before a new job starts; "" for nothing."""
    jobs = [job for job in request.app.state.queue.list() if job.is_alive or job.is_waiting]
    return presentable(jobs[0].wish.title) if jobs else ""


@router.get("/api/drafts/{name}/recipe")
async def save_recipe(request: Request, name: str) -> Response:
    """The recipe of the draft as a TOML file, for `tetrad train --recipe`."""
    preparation = preparation_of(request)
    draft = await preparation.settle(preparation.drafts.read_draft(name), "model", "trigger_word", "method")
    text = dump_recipe(await preparation.make_recipe(draft))
    headers = {"content-disposition": 'attachment; filename="recipe.toml"', "cache-control": "no-store"}
    return Response(text, media_type="application/toml", headers=headers)


@router.post("/api/drafts/{name}/start")
async def start(request: Request, name: str) -> Started:
    """Put a run of the draft into the queue: it starts at once where its device is free."""
    preparation = preparation_of(request)
    draft = await preparation.settle(preparation.drafts.read_draft(name), "model", "trigger_word", "method")
    recipe = await preparation.make_recipe(draft)
    path = preparation.drafts.write_recipe(draft.id, recipe)
    runs = preparation.places.runs
    runs.mkdir(parents=True, exist_ok=True)
    title = recipe.save.name or draft.trigger_word or str(Message(_("New training")))
    arguments = starts.recipe_arguments(path)
    job = request.app.state.queue.add("train", arguments, runs, device=recipe.train.device, title=title)
    preparation.drafts.mark_started(draft.id)
    return Started(job=job, address=f"/jobs/{job}")


def show(record: Any) -> str:
    """A message that a child process sent, in the reader's language."""
    return translate_record(record) if isinstance(record, dict) else str(presentable(record))
