"""`tetrad grid`: one sheet of a prompt drawn in many ways."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tetrad.cli.generate import (
    Device,
    EmbeddingsDir,
    HypernetworkDir,
    ImageFile,
    LoraDir,
    MaskBlur,
    MaskFile,
    ModelsDir,
    Strength,
    Vae,
    VaeDir,
    begun,
    free,
    tell_doubts,
    tell_mounted,
    tell_of_vae,
    tell_progress,
)

if TYPE_CHECKING:
    from tetrad.generation.axes import Axis, Cell

EXAMPLES = 'like "steps: 10, 20, 30"; also seed, cfg scale, sampler, prompt-sr, lora, run, strength, model, vae, …'


def grid(
    prompt: Annotated[str, typer.Argument(help="What to draw, with the networks it asks for.")],
    x: Annotated[str, typer.Option(help=f"What changes from column to column, {EXAMPLES}")] = "networks: without, with",
    y: Annotated[str, typer.Option(help="What changes from row to row; of several axes: prompt: a, b; seed: 1-3")] = "",
    z: Annotated[str, typer.Option(help="What changes from one such sheet to the next below it.")] = "",
    model: Annotated[str, typer.Option(help="Checkpoint, its name in --models-dir, folder, or builtin.")] = "builtin",
    models_dir: ModelsDir = None,
    lora_dir: LoraDir = None,
    embeddings_dir: EmbeddingsDir = None,
    hypernetwork_dir: HypernetworkDir = None,
    negative: Annotated[str, typer.Option(help="What not to draw.")] = "",
    steps: Annotated[int, typer.Option(help="Sampler steps.")] = 30,
    cfg_scale: Annotated[float, typer.Option(help="How closely to follow the prompt.")] = 7.0,
    cfg_rescale: Annotated[float, typer.Option(help="0 … 1; 0.7 tames a model that predicts v.")] = 0.0,
    sampler: Annotated[str, typer.Option(help="As in tetrad generate.")] = "DPM++ 2M",
    clip_skip: Annotated[int, typer.Option(help="1 the last layer, 2 the one before it; 0: the model's own.")] = 0,
    seed: Annotated[
        int, typer.Option(help="The same in every picture, where no axis changes it; -1: another each time.")
    ] = 0,
    width: Annotated[int, typer.Option(help="In pixels; 0: the model's own.")] = 0,
    height: Annotated[int, typer.Option(help="In pixels; 0: the model's own.")] = 0,
    image: ImageFile = None,
    strength: Strength = None,
    mask: MaskFile = None,
    mask_blur: MaskBlur = None,
    vae: Vae = "Automatic",
    vae_dir: VaeDir = None,
    device: Device = "auto",
    cell: Annotated[int, typer.Option(min=32, max=2048, help="Pixels a picture is wide on the sheet.")] = 256,
    batch: Annotated[int, typer.Option(min=1, help="Pictures drawn at once.")] = 4,
    title: Annotated[str, typer.Option(help="Over the sheet; not given: the prompt.")] = "",
    out: Annotated[Path, typer.Option(help="PNG file to write; an existing one is not overwritten.")] = Path(
        "grid.png"
    ),
) -> None:
    """Draw a prompt in many ways, side by side: X × Y × Z of any settings, labelled, in one PNG."""
    from tetrad import library
    from tetrad.generation import axes, letters
    from tetrad.generation.request import Request, any_seed

    free(out.expanduser())
    where = library.folders(
        models_dir, lora=lora_dir, embedding=embeddings_dir, hypernetwork=hypernetwork_dir, vae=vae_dir
    )
    anew = 1.0 if strength is None else strength
    request = Request(
        prompt, negative, any_seed(seed), steps, cfg_scale, sampler, width, height, clip_skip, cfg_rescale
    )
    request = begun(replace(request, strength=anew), None, {"image": image, "mask": mask}, mask_blur, strength)
    sides = (side(x, where), side(y, where), side(z, where))
    cells = axes.crossings(axes.Cell(request, model, vae), sides, lambda each: settled(each, where))
    made = drawn([each for level in cells for row in level for each in row], where, device, batch)
    pictures = iter(made)
    levels = [[[next(pictures).image for _ in row] for row in level] for level in cells]
    sheet = laid_out(levels, sides, title or prompt, cell)
    from tetrad.generation import infotext, png

    path = free(out.expanduser())
    png.save(path, sheet, infotext.of_grid(made[0].infotext, [(axis.name, axis.words) for axis in sides]))
    if not letters.wide() and any(map(letters.is_foreign, prompt + x + y + z + title)):
        print(f"{LETTERS} no font here has all the letters of the labels; fonts-noto-cjk has them", file=sys.stderr)
    print(path)


LETTERS = "W3204"


def side(text: str, where: Any) -> "Axis":
    """What changes along a side: an axis, or several with semicolons between."""
    from tetrad.generation import axes

    return axes.together([single(each, where) for each in axes.parted(text)]) if text else axes.NOTHING


def single(text: str, where: Any) -> "Axis":
    """An axis; `run: NAME` is what a run in the folder of LoRAs saved on its way, step by step."""
    from tetrad.generation import axes

    name, _, rest = text.partition(":")
    if name.strip().lower() != "run":
        return axes.axis(text)
    from tetrad import library

    kind, names = library.saved_by(rest.strip(), where)
    called = {"lora": "lora", "hypernetwork": "hypernet", "embedding": "embedding"}.get(kind, "model")
    return axes.axis(f"{called}: " + ", ".join(f'"{each}"' for each in names))


def settled(cell: "Cell", where: Any) -> "Cell":
    """A cell whose networks are all there; where its words name no embedding, it says nothing of embeddings."""
    from tetrad.studio import named

    says_none = named(cell.request, where) == named(cell.request, without_embeddings(where))
    return replace(cell, embeddings=True) if says_none else cell


def without_embeddings(where: Any) -> Any:
    return {**where, "embedding": ()}


def drawn(cells: "list[Cell]", where: Any, device: str, batch: int) -> list[Any]:
    """The pictures of all cells in their order; a model is loaded once, however its cells lie."""
    from tetrad.studio import Studio

    tell_doubts(each.request for each in cells)
    found: dict[int, Any] = {}
    for model, vae in dict.fromkeys((each.model, each.vae) for each in cells):
        studio = Studio(model, where, device, vae)
        tell_mounted(studio)
        for embeddings in (True, False):
            wanted = (model, vae, embeddings)
            places = [n for n, each in enumerate(cells) if (each.model, each.vae, each.embeddings) == wanted]
            studio.where = where if embeddings else without_embeddings(where)
            pictures = studio.draw([cells[place].request for place in places], batch)
            for place, picture in zip(places, pictures, strict=True):
                found[place] = picture
                tell_progress(f"{len(found)} of {len(cells)} pictures")
        tell_progress("")
        tell_of_vae(studio)
    return [found[place] for place in range(len(cells))]


def laid_out(pictures: list[list[list[Any]]], axes: "tuple[Axis, Axis, Axis]", title: str, cell: int) -> Any:
    """One sheet of all pictures, each `cell` pixels wide."""
    from tetrad.generation import grids

    columns, rows, levels = (axis.words for axis in axes)
    return grids.stacked(
        [
            grids.sheet(level, rows, columns, f"{title} · {words}" if words else title, cell)
            for level, words in zip(pictures, levels, strict=True)
        ]
    )
