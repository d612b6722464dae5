"""Copying files of the library into a web UI, and removing them from there again."""

import asyncio
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from tetrad.errors import TetradError
from tetrad.installation import Destination, Receipt, check_name, list_folders, read_receipts
from tetrad.installation.uninstall import uninstall
from tetrad.locales import Message, _, ngettext, presentable
from tetrad.sizes import format_size
from tetrad.web.device import free_disk
from tetrad.web.file_jobs import write_order
from tetrad.web.file_library import Row
from tetrad.web.file_work import MAX_FILES
from tetrad.web.routes.files import StartedWork, check_space

router = APIRouter()


class Installation(BaseModel):
    """Files by their ids, the web UI, and for one file another name; `strength` 0 is that of the web UI."""

    files: list[str] = Field(min_length=1, max_length=MAX_FILES)
    destination: str = Field(max_length=100)
    name: str = Field("", max_length=200)
    strength: float = Field(0.0, ge=-10, le=10)


@router.post("/api/files/installs/preview")
async def preview_installation(request: Request, wish: Installation) -> dict[str, Any]:
    """Which files would be copied where, their sizes, and the command; nothing is written.

    E4341 for a file that the web UI has no folder for, E4322 for a bad name, E4204 where the disk is too small.
    """
    rows, destination = await resolve_installation(request, wish)
    targets = list(list_targets(rows, destination, wish.name))
    size = sum(row["bytes"] for row in rows)
    there = [target.name for target in targets if target.exists()]
    template = _("{files}: a file of this name is there. If it is another file, nothing is copied.")
    return {
        "targets": [str(presentable(each)) for each in targets],
        "name": targets[0].stem,
        "size": format_size(size),
        "free": format_size(free_disk(destination.path) - size),
        "notes": [str(Message(template, files=", ".join(there)))] if there else [],
        "has_cards": destination.has_cards,
        "command": shlex.join(["tetrad", *list_arguments(rows, destination, wish)]),
    }


@router.post("/api/files/installs")
async def start_installation(request: Request, wish: Installation) -> StartedWork:
    """Put the copying into the queue; each file is verified first.  Raises what the preview raises."""
    state = request.app.state
    rows, destination = await resolve_installation(request, wish)
    targets = list(list_targets(rows, destination, wish.name))
    command, *arguments = list_arguments(rows, destination, wish)
    await asyncio.to_thread(state.places.runs.mkdir, parents=True, exist_ok=True)
    title = ", ".join(target.name for target in targets)
    number = state.queue.add(command, arguments, state.places.runs, "cpu", title)
    write_order(state.queue.folder_of(number), {"install": [row["path"] for row in rows]})
    return StartedWork(job=number, address=f"/files/jobs/{number}")


@router.get("/api/destinations/{name}/installed")
def list_installed(request: Request, name: str) -> list[dict[str, Any]]:
    """What was installed into a web UI, the last one first.  E4321 where there is none with this id."""
    destination: Destination = request.app.state.destinations.find(name)
    return [describe_receipt(destination, each) for each in reversed(read_receipts(destination))]


@router.delete("/api/destinations/{name}/installed")
async def remove_installed(request: Request, name: str, file: str = "") -> dict[str, Any]:
    """Remove an installed file and what was put beside it; nothing that was changed since.

    E4321 for an unknown web UI, E4344 for a file that was not installed there, E4345 for one that was changed.
    """
    destination: Destination = request.app.state.destinations.find(name)
    found = await asyncio.to_thread(uninstall, file, source=destination.path)
    template = _("{path} was changed after it was installed, so it stays")
    return {
        "removed": [str(presentable(path.name)) for path in found.removed],
        "kept": [str(Message(template, path=path)) for path in found.kept],
    }


async def resolve_installation(request: Request, wish: Installation) -> tuple[list[Row], Destination]:
    """The rows of the files, and the web UI.  404 for a file that is not here, E4321 for an unknown web UI."""
    state = request.app.state
    destination: Destination = state.destinations.find(wish.destination)
    rows = [await state.library.find(id) for id in dict.fromkeys(wish.files)]
    check_space(sum(row["bytes"] for row in rows), destination.path / rows[0]["name"])
    return rows, destination


def list_targets(rows: list[Row], destination: Destination, name: str) -> Iterator[Path]:
    """Where each file goes.  E4341 for one that the web UI has no folder for."""
    for row in rows:
        path, file_type = Path(row["path"]), (row.get("inspection") or {}).get("kind") or row["kind"]
        if path.is_dir() or (destination.program and file_type not in list_folders()):
            template = _("{file} cannot be copied: {program} has no folder for such files")
            raise TetradError("E4341", template, file=path.name, program=destination.program)
        stem = check_name(name) if name and len(rows) == 1 else path.stem
        yield destination.folder(file_type) / f"{stem}{path.suffix}"


def list_arguments(rows: list[Row], destination: Destination, wish: Installation) -> list[str]:
    """The arguments of `tetrad`."""
    options = ["--name", wish.name] if wish.name and len(rows) == 1 else []
    options += ["--strength", f"{wish.strength:g}"] if wish.strength else []
    return ["install", *(row["path"] for row in rows), "--to", str(destination.path), *options]


def describe_receipt(destination: Destination, receipt: Receipt) -> dict[str, Any]:
    """An installed file with what was put beside it, as a list and as the question before it is removed."""
    paths = [destination.path / place for place in receipt.hashes]
    there = [path for path in paths if path.exists()]
    size = format_size(sum(path.stat().st_size for path in there))
    others = len(there) - 1
    beside = Message(ngettext("{count} file beside it", "{count} files beside it", others)) if others > 0 else ""
    template = (
        _("This removes {file} and {beside} from {folder}.") if beside else _("This removes {file} from {folder}.")
    )
    question = Message(template, file=paths[0].name, beside=beside, folder=paths[0].parent)
    rest = Message(_("The file that it was copied from stays."))
    return {
        "file": presentable(receipt.place),
        "name": presentable(paths[0].name),
        "place": presentable(receipt.place),
        "with": [presentable(path.name) for path in there[1:]],
        "size": size,
        "is_there": paths[0].exists(),
        "question": f"{question} {rest}",
    }
