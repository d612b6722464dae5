"""`tetrad recommend` and `tetrad probe`: what to look at before training anything."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tetrad.errors import TetradError

if TYPE_CHECKING:
    from tetrad.recommend import Offer

MEMORY = re.compile(r"([\d.]+)\s*(g|gb|gib|m|mb|mib)?", re.IGNORECASE)
SEEDS = (1, 2, 3, 4)


def recommend(
    images: Annotated[str, typer.Argument(help="Folder of pictures, or builtin:subject and its like.")],
    goal: Annotated[str, typer.Option(help="What they show: person, object or style.")],
    model: Annotated[str, typer.Option(help="Checkpoint, diffusers folder, or builtin.")] = "builtin",
    memory: Annotated[str, typer.Option(help="What it must fit into, like 8GB; not given: what is free here.")] = "",
    word: Annotated[str, typer.Option(help="Trigger word; not given: a rare one is suggested.")] = "",
    class_word: Annotated[str, typer.Option(help="What kind of thing it is.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Say which method suits these pictures, what each would cost here, and how to start."""
    limit = in_bytes(memory)
    from tetrad import library, pictures
    from tetrad import recommend as advice
    from tetrad.recipe import Data, Recipe
    from tetrad.training.device import chosen, free
    from tetrad.training.memory import human

    place = chosen(device)
    limit = limit or free(place.device)
    advice.settled(1, goal)  # a wrong goal is refused before anything is read
    found = pictures.listing(Recipe(data=Data(images=images, class_word=class_word)))
    class_word = pictures.described(Recipe(), found).data.class_word or class_word
    loaded = library.load_model(model)
    made = {offer.kind: offer for offer in advice.offers(loaded, len(found), goal, place, limit)}
    best, why = advice.chosen(made, goal)
    word, captioned = advice.word_of(found, word), any(advice.captions(found))
    start = advice.command(best, goal, images, model, word, class_word, captioned)
    if as_json:
        for offer in made.values():
            print(json.dumps({**asdict(offer), "recommended": offer is best}, ensure_ascii=False))
        print(json.dumps({"recommended": best.kind, "why": why, "command": start}, ensure_ascii=False))
        return
    where = f"on {place.device} in {place.dtype}".replace("torch.", "") + (f", to fit {human(limit)}" if limit else "")
    print(f"{len(found)} pictures, {loaded.name} ({loaded.title}, {loaded.resolution} pixels) {where}", file=sys.stderr)
    show(list(made.values()))
    print(f"{best.kind}: {why}.\n{start}")


def show(offers: "list[Offer]") -> None:
    """A column for each method."""
    from rich.console import Console
    from rich.table import Table

    from tetrad.training.memory import human

    table = Table(show_lines=True)
    table.add_column("")
    for offer in offers:
        table.add_column(offer.kind, overflow="fold")
    rows: dict[str, Callable[[Offer], str]] = {
        "steps": lambda offer: str(offer.steps),
        "learning rate": lambda offer: offer.learning_rate,
        "vectors": lambda offer: str(offer.vectors) if offer.vectors else "-",
        "time, estimated": lambda offer: roughly(offer.seconds),
        "memory, estimated": lambda offer: human(offer.memory) + ("" if offer.fits else ", does not fit"),
        "to fit": lambda offer: " ".join(flag.removeprefix("--set ") for flag in offer.savers.flags) or "-",
        "file": lambda offer: human(offer.file),
        "good at": lambda offer: offer.good_at,
        "bad at": lambda offer: offer.bad_at,
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(offer) for offer in offers))
    terminal = sys.stdout.isatty()
    Console(width=None if terminal else 120).print(table, markup=False, highlight=False)


def roughly(seconds: float) -> str:
    """A time as a person plans by it: "33 days", "9 hours", and to the second only where it is short."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def in_bytes(text: str) -> int:
    """8GB, 6.5 GiB, 8 as bytes; a plain number means GB.  E2002 for anything else."""
    if not text:
        return 0
    found = MEMORY.fullmatch(text.strip())
    try:
        amount = float(found[1]) if found else 0.0
    except ValueError:
        amount = 0.0
    if not found or amount <= 0:
        raise TetradError("E2002", f"--memory {text!r} is no amount of memory; write 8GB")
    return round(amount * (1 << (20 if (found[2] or "g").lower().startswith("m") else 30)))


def probe(
    prompt: Annotated[str, typer.Argument(help="What the model may know already, like 'a photo of a fox'.")],
    model: Annotated[str, typer.Option(help="Checkpoint, diffusers folder, or builtin.")] = "builtin",
    steps: Annotated[int, typer.Option(help="Sampler steps.")] = 20,
    cfg_scale: Annotated[float, typer.Option(help="How closely to follow the prompt.")] = 7.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    out: Annotated[Path, typer.Option(help="PNG file to write; an existing one is not overwritten.")] = Path(
        "probe.png"
    ),
) -> None:
    """Draw what the model makes of a prompt as it is: what it knows already needs no training."""
    from tetrad.cli.generate import free
    from tetrad.generation import grids, png
    from tetrad.generation.request import Request
    from tetrad.studio import Studio

    path = free(out.expanduser())
    studio = Studio(model, device=device)
    asked = [Request(prompt, seed=seed, steps=steps, cfg_scale=cfg_scale) for seed in SEEDS]
    row: list[Any] = [drawn.image for drawn in studio.draw(asked)]
    heads = [f"seed {seed}" for seed in SEEDS]
    png.save(path, grids.sheet([row], [prompt], heads, f"What {studio.model.name} makes of it"))
    print(path)
    print(
        "If all of them show what you mean, the model knows it: prompt for it, and train nothing. If they show it "
        "sometimes, a LoRA or a new word needs few pictures. If none does, give the new thing a word of its own and "
        "tetrad recommend says how to teach it.",
        file=sys.stderr,
    )
