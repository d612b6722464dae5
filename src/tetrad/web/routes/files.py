"""Work on model files: merge, extract, resize and convert them, after a preview; verify and compare them."""

import asyncio
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from tetrad.builtin import BUILTIN_NAME
from tetrad.errors import TetradError
from tetrad.locales import Message, _, presentable, translate, translate_record
from tetrad.sizes import format_size
from tetrad.web.device import free_disk
from tetrad.web.drawing.choices import make_id
from tetrad.web.file_images import suggest_prompt
from tetrad.web.file_jobs import write_order
from tetrad.web.file_library import FileLibrary, Row
from tetrad.web.file_tasks import TASKS, Task
from tetrad.web.file_work import Resolved, Work
from tetrad.web.page_words import capitalize
from tetrad.web.routes.shared import page

router = APIRouter()
TITLES = {
    "merge": _("Merge files"),
    "extract": _("Extract a LoRA"),
    "resize": _("Make a LoRA smaller"),
    "convert": _("Convert a file"),
    "verify": _("Check files"),
    "diff": _("What is different?"),
    "install": _("Copy to my WebUI"),
}
_SCRIPTS = {"verify": "verify", "diff": "difference", "install": "install"}
_OUTCOMES = {
    "loads": (_("yes"), "ok"),
    "partly": (_("in part"), "warn"),
    "differently": (_("differently"), "warn"),
    "no": (_("no"), "bad"),
}
FOLDER = "files"  # in the folder of the runs, where the library and Generate find what was made


class StartedWork(BaseModel):
    """The work is in the queue; `address` is the page that shows it."""

    job: int
    address: str


@router.get("/files/{name}", include_in_schema=False)
def files_page(request: Request, name: str) -> HTMLResponse:
    """A page for work on the files that its address names, `?file=ID&file=ID`.  404 for no such work."""
    if name not in TITLES:
        raise HTTPException(404)
    title, script = str(Message(TITLES[name])), _SCRIPTS.get(name, "work")
    return page(request, "files.html", "/library", title=title, script=script, data={"work": name})


@router.post("/api/files/preview")
async def preview_work(request: Request, work: Work) -> dict[str, Any]:
    """What the work would write, how large that is, and its command; nothing is written.

    Raises what the command would say before it begins, such as E5301 for files of different families, E4322 and E5210
    for a name, and E4204 where the disk is too small.
    """
    task, resolved, _rows = await resolve_work(request, work)
    found = await read_outlines(request, task, resolved)
    target = task.choose_target(resolved)
    size, free = task.estimate(resolved.work, found["files"]), free_disk(resolved.folder)
    check_space(size, target)
    return {
        "target": str(presentable(target)),
        "name": target.name.removesuffix(task.formats[resolved.work.to]),
        "suffix": task.formats[resolved.work.to],
        "size": format_size(size) if size else "",
        "free": format_size(free - (size or 0)),
        "folders": [
            {"id": make_id(str(each)), "path": str(presentable(each))} for each in list_folders(request, resolved.files)
        ],
        "command": shlex.join(["tetrad", *task.list_arguments(resolved, target)]),
        "formats": list(task.formats),
        "blocks": found["blocks"],
        "presets": found["presets"],
        "dtypes": [each["dtype"] for each in found["files"]],
        "ranks": [round(each["rank"]) for each in found["files"]],
    }


@router.post("/api/files/jobs")
async def start_work(request: Request, work: Work) -> StartedWork:
    """Put the work into the queue.  Raises what the preview raises."""
    state = request.app.state
    task, resolved, rows = await resolve_work(request, work)
    found = await read_outlines(request, task, resolved)
    target = task.choose_target(resolved)
    check_space(task.estimate(resolved.work, found["files"]), target)
    command, *arguments = task.list_arguments(resolved, target)
    await asyncio.to_thread(resolved.folder.mkdir, parents=True, exist_ok=True)
    number = state.queue.add(command, arguments, state.places.runs, "cpu", target.name)
    order = {"work": resolved.work.model_dump(), "paths": dict(resolved.paths), "target": str(target)}
    models = [each["model"] for each in found["files"]]
    order |= {
        "model": await find_model(request, rows, models),
        "prompt": write_prompt(request, await list_named(request, work, rows)),
    }
    write_order(state.queue.folder_of(number), order)
    return StartedWork(job=number, address=f"/files/jobs/{number}")


@router.get("/api/library/files/{file}/verification")
async def verify_file(request: Request, file: str, base: str = "") -> dict[str, Any]:
    """What `tetrad verify` says of a file; with the id of a checkpoint as `base`, also how much it changes."""
    library: FileLibrary = request.app.state.library
    row = await library.find(file)
    against = base if base in ("", BUILTIN_NAME) else (await library.find(base))["path"]
    return describe_verification(await library.verify(row["path"], against))


@router.get("/api/library/files/{file}/difference")
async def compare_files(request: Request, file: str, other: str = "") -> dict[str, Any]:
    """What `tetrad diff` says of a file and another one.  E5491 for files of different types or families."""
    library: FileLibrary = request.app.state.library
    rows = [await library.find(file), await library.find(other)]
    found = await library.diff(*(row["path"] for row in rows))
    return {
        "names": [presentable(row["name"]) for row in rows],
        "types": list(map(translate_record, found["types"])),
        "same": translate_record(found["same"]) if found["same"] else "",
        "compares_changes": found["compares_changes"],
        "blocks": [{**each, "block": translate_record(each["block"])} for each in found["blocks"]],
        "rest": list(map(translate_record, found["rest"])),
    }


async def resolve_work(request: Request, work: Work) -> tuple[Task, Resolved, list[Row]]:
    """The task, the work with its paths and its folder, and the rows of its files.  404 for a file that is not here."""
    library: FileLibrary = request.app.state.library
    task = TASKS[work.task]
    work = task.choose_format(work)
    found = {id: await library.find(id) for id in work.list_ids()}
    paths = {id: row["path"] for id, row in found.items()}
    rows = [found[each.id] for each in work.files]
    folders = list_folders(request, [row["path"] for row in rows])
    folder = next((each for each in folders if make_id(str(each)) == work.folder), folders[0])
    return task, Resolved(work, paths, folder), rows


def list_folders(request: Request, files: list[str]) -> list[Path]:
    """Where a result may go: the page's own folder first, then those of its parents, but in no folder of a run."""
    runs = request.app.state.places.runs
    parents = dict.fromkeys(Path(path).parent for path in files)
    return [runs / FOLDER, *(each for each in parents if not each.is_relative_to(runs))]


async def read_outlines(request: Request, task: Task, resolved: Resolved) -> dict[str, Any]:
    work = resolved.work
    reference = work.into or work.model or (work.base if work.method in ("add-difference", "ties", "dare") else "")
    more = [resolved.path(work.into)] if work.into else []
    library: FileLibrary = request.app.state.library
    return await library.outline(resolved.files, more, task.check, resolved.path(reference), work.blocks)


def check_space(size: int | None, target: Path) -> None:
    """E4204 where the disk is too small for the result."""
    free = free_disk(target.parent)
    if size and size > free:
        template = _("{path} needs about {size}, and {free} are free on its disk; free some space, or choose a folder")
        raise TetradError("E4204", template, path=target, size=format_size(size), free=format_size(free))


async def find_model(request: Request, rows: list[Row], trained_on: list[str]) -> str:
    """The model to show networks on: the one that they were trained on, else the first one of their family."""
    state = request.app.state
    if BUILTIN_NAME in trained_on:
        return BUILTIN_NAME
    known = set(state.runs.list_names())
    plans = [state.runs.read_run(row["run"]).plan_value("model.path", "") for row in rows if row["run"] in known]
    if path := next((each for each in plans if each == BUILTIN_NAME or Path(each).exists()), ""):
        return str(path)
    families = {row["family"] for row in rows if row["family"]}
    models = [row for row in await state.library.remember() if row["kind"] == "checkpoint"]
    return next((row["path"] for row in models if row["family"] in families), BUILTIN_NAME)


async def list_named(request: Request, work: Work, rows: list[Row]) -> list[Row]:
    """The files whose trigger words a prompt needs: those of the work, and an embedding that is put into one."""
    return [*rows, await request.app.state.library.find(work.bundle)] if work.bundle else rows


def write_prompt(request: Request, rows: list[Row]) -> str:
    """The first prompt of a run's previews, with the trigger words of all files."""
    runs = request.app.state.runs
    known = set(runs.list_names())
    prompts = [runs.read_run(row["run"]).plan_value("sample.prompts", []) for row in rows if row["run"] in known]
    own = next((str(each[0]) for each in prompts if each), "")
    return suggest_prompt((str(row["word"]) for row in rows), own)


def describe_verification(found: Mapping[str, Any]) -> dict[str, Any]:
    """A verification in the reader's language; states and outcomes as tones of the style sheet."""
    return {
        "what": capitalize(translate_record(found["what"])),
        "family": translate_record(found["family"]),
        "findings": [
            {"label": translate(each["label"]), "tone": each["state"], "text": translate_record(each)}
            for each in found["findings"]
        ],
        "verdicts": [
            {
                "readers": ", ".join(each["readers"]),
                "word": str(Message(_OUTCOMES[each["outcome"]][0])),
                "tone": _OUTCOMES[each["outcome"]][1],
                "text": translate_record(each),
            }
            for each in found["verdicts"]
        ],
    }
