"""Copying a trained file to a web UI, or under another name into the folder for exports."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from tetrad.contest.figures import measure_size
from tetrad.installation import Copy, Destination, add_receipts, check_name, choose_free_name
from tetrad.locales import Message, _, presentable
from tetrad.settings.toml import build_recipe
from tetrad.sizes import format_size
from tetrad.web.drawing.choices import make_id
from tetrad.web.figures import format_day
from tetrad.web.picks import Choice, Pick
from tetrad.web.routes.pick import open_pick
from tetrad.web.web_uis import Destinations

router = APIRouter()


class NewDestination(BaseModel):
    """The folder of a web UI, as a person writes it."""

    path: str = Field(max_length=4_096)


class CopyWish(BaseModel):
    """Which save is copied, where, and under which name; the cell's prompt and strength choose the preview image."""

    file: str
    strength: float = Field(1.0, ge=-10, le=10)
    prompt: str = Field("", max_length=50_000)
    destination: str
    name: str = Field("", max_length=200)


@router.get("/api/destinations")
def list_destinations(request: Request) -> list[dict[str, str]]:
    """The folders to copy to: web UIs, and the folder for exports."""
    destinations: Destinations = request.app.state.destinations
    return [describe_destination(each) for each in destinations.list_all()]


@router.post("/api/destinations")
def add_destination(request: Request, wish: NewDestination) -> dict[str, str]:
    """Remember the folder of a web UI.  E4321 where it is none."""
    return describe_destination(request.app.state.destinations.add(wish.path))


@router.post("/api/runs/{name}/copies/plan")
def plan_copy(request: Request, name: str, wish: CopyWish) -> dict[str, Any]:
    """What copying would do: the new file, what goes with it, and notes.  Nothing is written.  E4322 for a bad name."""
    pick = open_pick(request, name)
    copy, destination = make_copy(request, pick, wish)
    wanted = wish.name or suggest_name(pick)
    taken = copy.target.stem != wanted and (copy.target.with_name(f"{wanted}{copy.target.suffix}"))
    return {
        "target": str(presentable(copy.target)),
        "name": copy.target.stem if copy.source.is_file() else copy.target.name,
        "wanted": wanted,
        "size": format_size(measure_size(copy.source)),
        "with": [str(each) for each in _list_extras(copy)],
        "notes": [*_describe_taken(taken, copy.target), *map(str, _list_reader_notes(pick, destination))],
        "prompt": pick.write_prompt(copy.target.stem, wish.strength, wish.prompt),
    }


@router.post("/api/runs/{name}/copies")
async def copy_file(request: Request, name: str, wish: CopyWish) -> dict[str, str]:
    """Copy a save; nothing that is there is replaced.  E4202 where the folder cannot be written to."""
    copy, destination = make_copy(request, open_pick(request, name), wish)
    made = await asyncio.to_thread(copy.run)
    if destination.program and copy.source.is_file():
        await asyncio.to_thread(add_receipts, destination, [made])
    template = _("{file} is in {folder}.")
    return {"text": str(Message(template, file=copy.target.name, folder=copy.target.parent))}


def make_copy(request: Request, pick: Pick, wish: CopyWish) -> tuple[Copy, Destination]:
    destination: Destination = request.app.state.destinations.find(wish.destination)
    checkpoint = pick.find(wish.file)
    folder = destination.folder(pick.artifact.type)
    suffix = checkpoint.path.suffix if checkpoint.path.is_file() else ""
    name = choose_free_name(folder, check_name(wish.name or suggest_name(pick)), suffix)
    preview, card = None, None
    if destination.has_cards:
        image = pick.make_cell(Choice(wish.file, wish.strength), wish.prompt).path
        preview = image if image.exists() else None
        card = _describe_for_a1111(pick, wish.strength) if pick.artifact.prompt_tags else None
    return Copy(checkpoint.path, folder / f"{name}{suffix}", preview, card), destination


def suggest_name(pick: Pick) -> str:
    """The name of the run; an embedding is called like its trigger word, as prompts name it by its file."""
    return pick.word if pick.artifact.requires_trigger_word else pick.run.name


def describe_destination(destination: Destination) -> dict[str, str]:
    kind = destination.program or str(Message(_("Export folder")))
    return {
        "id": make_id(str(destination.path)),
        "kind": destination.program,
        "title": kind,
        "path": str(presentable(destination.path)),
    }


def _describe_for_a1111(pick: Pick, strength: float) -> dict[str, Any]:
    """The web UI's own file about a network: it fills in the trigger word and the strength, and says the base model."""
    family = str(pick.model.get("family", ""))
    return {"activation text": pick.word, "preferred weight": strength, "sd version": family.upper()}


def _list_extras(copy: Copy) -> Iterator[Message]:
    if copy.preview:
        yield Message(_("the image shown here as its preview"))
    if copy.card:
        yield Message(_("trigger word, strength and base model"))


def _describe_taken(taken: Path | bool, target: Path) -> Iterator[str]:
    """That another file has the wanted name."""
    if isinstance(taken, Path) and taken.exists():
        when = format_day(taken.stat().st_mtime, time.time())
        template = _("{file} is there already ({when}) and stays; the new file is called {new}.")
        yield str(Message(template, file=taken.name, when=when, new=target.name))


def _list_reader_notes(pick: Pick, destination: Destination) -> Iterator[Message]:
    """That the web UI does not read such a file, or reads it differently."""
    settings = build_recipe({"method": dict(pick.plan["method"])}).method
    for note in pick.artifact.describe_lost_readers(
        settings, pick.plan.get("save", {}).get("format", pick.artifact.formats[0])
    ):
        if destination.reader in note.lost:
            yield note.message
