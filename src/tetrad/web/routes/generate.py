"""The page that generates images: its settings, the images it starts from, and the orders that are worked on."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response, StreamingResponse

from tetrad.locales import Message, _, presentable, translate_record
from tetrad.settings.samplers import SAMPLERS
from tetrad.web.access import accepts
from tetrad.web.drawing import Choices, Orders
from tetrad.web.drawing.choices import AUTOMATIC
from tetrad.web.inputs import Inputs
from tetrad.web.jobs.lanes import list_busy_devices
from tetrad.web.page_words import as_sentence
from tetrad.web.routes.file_jobs import start_with_result
from tetrad.web.routes.history import IMAGE_HEADERS, list_history
from tetrad.web.routes.shared import Entry, SentFile, page

router = APIRouter()
ENTRY = Entry("/generate", _("Generate"))
MAX_IMAGES = 16
_MAX_TEXT = 50_000


class Settings(BaseModel):
    """What is to be generated; `model`, `vae` and the images are ids."""

    prompt: str = Field(max_length=_MAX_TEXT)
    negative_prompt: str = Field("", max_length=_MAX_TEXT)
    model: str = "builtin"
    vae: str = AUTOMATIC
    sampler: str = "DPM++ 2M"
    seed: int = -1
    steps: int = 30
    cfg_scale: float = 7.0
    cfg_rescale: float = 0.0
    clip_skip: int = 0
    width: int = 0
    height: int = 0
    num_images: int = Field(1, ge=1, le=MAX_IMAGES)
    prediction_type: str = ""
    a1111_steps: bool = False
    init_image: str = ""
    denoising_strength: float = 0.75
    mask: str = ""
    mask_blur: int = Field(4, ge=0, le=256)
    compare: bool = False


class Prompts(BaseModel):
    """The prompts in which networks are looked for."""

    prompt: str = Field(max_length=_MAX_TEXT)
    negative_prompt: str = Field("", max_length=_MAX_TEXT)


class Source(BaseModel):
    """Where settings are read: the text itself, or the id of an image that was dropped."""

    text: str = Field("", max_length=_MAX_TEXT)
    input: str = ""


class Ordered(BaseModel):
    """An order was taken; its events are at /api/generate/orders/{id}/events."""

    id: str


@router.get("/generate", include_in_schema=False)
def generate_page(
    request: Request, run: str = "", file: str = "", strength: float = 1.0, prompt: str = "", job: int = 0
) -> Response:
    """The page; with a run and one of its files, or a job that wrote one, the prompt names that file."""
    start = prepare_start(request, run, file, strength, prompt) if run else {}
    start |= start_with_result(request, job) if job else {}
    data = {"start": start, "samplers": list(SAMPLERS), "max_images": MAX_IMAGES, "history": list_history(request)}
    html: HTMLResponse = page(request, "generate.html", "/generate", data=data)
    return html


@router.get("/api/generate/choices")
async def list_choices(request: Request) -> dict[str, Any]:
    """The models, VAEs and networks in the folders of the page."""
    state = request.app.state
    choices: Choices = state.choices
    found: dict[str, Any] = await choices.list_files()
    known = set(state.runs.list_names())
    for network in found["networks"]:
        samples = state.runs.read_run(network["run"]).samples if network["run"] in known else ()
        network["preview"] = f"/api/runs/{network['run']}/previews/{samples[-1][0]}/0/thumbnail" if samples else ""
    return found


@router.post("/api/generate/check")
async def check_prompts(request: Request, prompts: Prompts) -> list[dict[str, Any]]:
    """The networks that the prompts name, found or not.  E3202 for a tag that cannot be read."""
    state = request.app.state
    found = await state.planning.find_networks(prompts.prompt, prompts.negative_prompt, state.choices.folders)
    return [
        {
            "type": each["type"],
            "name": presentable(each["name"]),
            "strength": each["strength"],
            "word": presentable(each.get("word", "")),
            "is_found": bool(each["path"]),
            "problem": translate_record(each.get("error", {})),
            "code": each.get("error", {}).get("code", ""),
            "nearest": [name for name in str(_nearest(each)).split(", ") if name],
        }
        for each in found
    ]


@router.post("/api/generate/parameters")
async def read_parameters(request: Request, source: Source) -> dict[str, Any]:
    """The settings in a text or in an image, and what of them is not available.  E3205 where there are none."""
    state = request.app.state
    choices: Choices = state.choices
    where = state.inputs.path(source.input) if source.input else source.text
    found: dict[str, Any] = await state.planning.read_parameters(where, choices.folders)
    await choices.list_files()
    notes = [translate_record(reason) for reason in found.pop("not_reproducible")]
    found["model"], vae = choices.model_id(found.pop("model_path")), found["vae"]
    found["vae"] = choices.vae_id(vae)
    if not found["vae"]:
        notes.append(str(Message(_("the VAE {name}, which is not in your folders"), name=vae)))
    if found.pop("has_init_image"):
        notes.append(str(Message(_("the image that it was made from"))))
    return {"settings": {name: value for name, value in found.items() if value != ""}, "notes": notes}


@router.post("/api/generate/inputs")
@accepts("image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif", "image/tiff", "image/avif")
async def add_input(request: Request, name: str) -> dict[str, str]:
    """Take an image to start from, as a mask, or for its settings; the body is the file."""
    state = request.app.state
    inputs: Inputs = state.inputs
    id = await inputs.receive(name, request.stream())
    await state.thumbnails.find_or_make(inputs.path(id))  # E41… where it is no image
    return {"id": id, "name": str(presentable(name))}


@router.get("/api/generate/inputs/{name}")
async def show_input(request: Request, name: str) -> SentFile:
    """An image that was dropped, at most 1,024 pixels large and encoded anew, as WebP."""
    made = await request.app.state.thumbnails.find_or_make(request.app.state.inputs.path(name), 1024)
    return SentFile(made, media_type="image/webp", headers=IMAGE_HEADERS)


@router.get("/api/generate/state")
def read_state(request: Request) -> dict[str, Any]:
    """The order that is worked on, and in words why nothing can be generated now."""
    state = request.app.state
    busy = next(iter(list_busy_devices([state.places.runs])), None)
    template = _("{run} is training on this device. Images can be generated when it has ended or is stopped.")
    sentence = str(Message(template, run=busy.run.name)) if busy else ""
    current = state.orders.current
    return {"busy": sentence, "run": busy.run.name if busy else "", "order": current.id if current else ""}


@router.post("/api/generate/orders")
async def order_images(request: Request, settings: Settings) -> Ordered:
    """Begin to generate; the order goes on when the page is closed."""
    state = request.app.state
    orders: Orders = state.orders
    wanted = settings.model_dump(exclude={"init_image", "mask", "compare"})
    if settings.init_image:
        wanted["init_image"] = str(find_image(request, settings.init_image))
        if settings.mask:
            wanted["mask"] = str(state.inputs.path(settings.mask))
    else:
        del wanted["denoising_strength"], wanted["mask_blur"]
    wanted["model"] = await state.choices.find_model(settings.model)
    wanted["vae"] = await state.choices.find_vae(settings.vae, wanted["model"])
    id = orders.start({**wanted, **state.choices.folders}, settings.model_dump(), settings.compare)
    return Ordered(id=id)


@router.get("/api/generate/orders/{name}/events")
async def follow_order(request: Request, name: str, position: int = 0) -> StreamingResponse:
    """Server-sent events of an order; the last one is done, cancelled, gave_way or error."""
    state = request.app.state
    orders: Orders = state.orders
    order = orders.find(name)
    if order is None:
        raise HTTPException(404)
    last_id = request.headers.get("last-event-id", "")
    start = int(last_id) + 1 if last_id.isdigit() else max(0, position)

    async def send() -> AsyncIterator[str]:
        number = start
        async for event in orders.follow(order, start, state.is_stopping):
            yield f"id: {number}\ndata: {json.dumps(present_event(request, event), ensure_ascii=False)}\n\n"
            number += 1

    return StreamingResponse(send(), media_type="text/event-stream", headers={"cache-control": "no-store"})


@router.delete("/api/generate/orders/{name}")
async def cancel_order(request: Request, name: str) -> Response:
    """Stop generating; images that are ready stay."""
    orders: Orders = request.app.state.orders
    order = orders.find(name)
    if order is None:
        raise HTTPException(404)
    orders.cancel(order)
    return Response(status_code=204)


def present_event(request: Request, event: dict[str, Any]) -> dict[str, Any]:
    """An event without paths, with its sentence in the reader's language."""
    kind = event["event"]
    if kind in ("image", "without"):
        return {"event": kind, "image": request.app.state.orders.history.describe(event["id"])}
    if kind in ("note", "gave_way", "error"):
        return {"event": kind, "code": event.get("code", ""), "text": as_sentence(event)}
    return {name: value for name, value in event.items() if name in ("event", "before", "step", "steps", "without")}


def prepare_start(request: Request, run: str, file: str, strength: float, prompt: str) -> dict[str, Any]:
    """The first settings for a file of a run: its model, and the prompt with it.  404 where there is none."""
    state = request.app.state
    pick = state.picks.open(state.runs.path(run))
    checkpoint = pick.find(file)
    copies = list(state.places.runs.glob(f"*/{checkpoint.path.name}"))
    name = checkpoint.name if len(copies) < 2 else f"{run}/{checkpoint.name}"
    path = str(checkpoint.path) if pick.artifact.is_full_model else pick.model["path"]
    written = pick.write_prompt(name, strength, prompt or (pick.prompts or [pick.word])[0])
    return {"prompt": written, "model": state.choices.model_id(str(path)), "model_name": checkpoint.name}


def find_image(request: Request, id: str) -> Any:
    """The file of an image that was dropped, or of one that was generated here.  404 for none."""
    state = request.app.state
    return state.inputs.path(id) if "." in id else state.orders.history.path(id)


def _nearest(network: dict[str, Any]) -> Any:
    return network.get("error", {}).get("values", {}).get("nearest", "")
