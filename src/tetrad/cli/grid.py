"""`tetrad grid`: one sheet of a prompt drawn in many ways."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tetrad.cli.generate import Device, EmbeddingsDir, LoraDir, ModelsDir, Vae, free

if TYPE_CHECKING:
    from tetrad.generation.axes import Axis, Cell

EXAMPLES = 'like "steps: 10, 20, 30"; also seed, cfg scale, sampler, prompt-sr, lora, run, strength, model, vae, …'


def grid(
    prompt: Annotated[str, typer.Argument(help="What to draw, with the networks it asks for.")],
    x: Annotated[str, typer.Option(help=f"What changes from column to column, {EXAMPLES}")] = "networks: without, with",
    y: Annotated[str, typer.Option(help="What changes from row to row.")] = "",
    z: Annotated[str, typer.Option(help="What changes from one such sheet to the next below it.")] = "",
    model: Annotated[str, typer.Option(help="Checkpoint, its name in --models-dir, folder, or builtin.")] = "builtin",
    models_dir: ModelsDir = None,
    lora_dir: LoraDir = None,
    embeddings_dir: EmbeddingsDir = None,
    negative: Annotated[str, typer.Option(help="What not to draw.")] = "",
    steps: Annotated[int, typer.Option(help="Sampler steps.")] = 30,
    cfg_scale: Annotated[float, typer.Option(help="How closely to follow the prompt.")] = 7.0,
    sampler: Annotated[str, typer.Option(help="As in tetrad generate.")] = "DPM++ 2M",
    clip_skip: Annotated[int, typer.Option(help="1 the last layer, 2 the one before it; 0: the model's own.")] = 0,
    seed: Annotated[int, typer.Option(help="The same in every picture, where no axis changes it.")] = 0,
    width: Annotated[int, typer.Option(help="In pixels; 0: the model's own.")] = 0,
    height: Annotated[int, typer.Option(help="In pixels; 0: the model's own.")] = 0,
    vae: Vae = "Automatic",
    device: Device = "auto",
    cell: Annotated[int, typer.Option(help="Pixels a picture is wide on the sheet.")] = 256,
    batch: Annotated[int, typer.Option(help="Pictures drawn at once.")] = 4,
    title: Annotated[str, typer.Option(help="Over the sheet; not given: the prompt.")] = "",
    out: Annotated[Path, typer.Option(help="PNG file to write; an existing one is not overwritten.")] = Path(
        "grid.png"
    ),
) -> None:
    """Draw a prompt in many ways, side by side: X × Y × Z of any settings, labelled, in one PNG."""
    from tetrad import library
    from tetrad.generation import axes, letters
    from tetrad.generation.request import Request

    free(out.expanduser())
    where = library.folders(models_dir, lora=lora_dir, embedding=embeddings_dir)
    request = Request(prompt, negative, seed, steps, cfg_scale, sampler, width, height, clip_skip)
    x_axis, y_axis, z_axis = (chosen(text, where) if text else axes.NOTHING for text in (x, y, z))
    start = axes.Cell(request, model, vae)
    cells = [
        [[axes.crossed(start, right, across, down) for right in x_axis.values] for across in y_axis.values]
        for down in z_axis.values
    ]
    pictures = iter(drawn([each for level in cells for row in level for each in row], where, device, batch))
    levels = [[[next(pictures) for _ in row] for row in level] for level in cells]
    sheet = laid_out(levels, (x_axis, y_axis, z_axis), title or prompt, cell)
    from tetrad.generation import png

    path = free(out.expanduser())
    png.save(path, sheet)
    if not letters.wide() and any(map(letters.is_foreign, prompt + x + y + z + title)):
        print(f"{LETTERS} no font here has all the letters of the labels; fonts-noto-cjk has them", file=sys.stderr)
    print(path)


LETTERS = "W3204"


def chosen(text: str, where: Any) -> "Axis":
    """An axis; `run: NAME` is what a run in the folder of LoRAs saved on its way, step by step."""
    from tetrad.generation import axes

    name, _, rest = text.partition(":")
    if name.strip().lower() != "run":
        return axes.axis(text)
    from tetrad import library

    kind, names = library.saved_by(rest.strip(), where)
    tag = {"lora": "lora", "hypernetwork": "hypernet"}.get(kind, "model")
    return axes.axis(f"{tag}: " + ", ".join(f'"{each}"' for each in names))


def drawn(cells: "list[Cell]", where: Any, device: str, batch: int) -> list[Any]:
    """The pictures of all cells in their order; a model is loaded once, however its cells lie."""
    from tetrad.studio import Studio, named

    for each in cells:
        named(each.request, where)
    found: dict[int, Any] = {}
    for model, vae in dict.fromkeys((each.model, each.vae) for each in cells):
        places = [place for place, each in enumerate(cells) if (each.model, each.vae) == (model, vae)]
        studio = Studio(model, where, device, vae)
        requests = [cells[place].request for place in places]
        for place, picture in zip(places, studio.draw(requests, batch), strict=True):
            found[place] = picture.image
            if sys.stderr.isatty():
                print(f"\r{len(found)} of {len(cells)} ", end="", file=sys.stderr, flush=True)
    return [found[place] for place in range(len(cells))]


def laid_out(pictures: list[list[list[Any]]], axes: "tuple[Axis, Axis, Axis]", title: str, cell: int) -> Any:
    """One sheet of all pictures, each `cell` pixels wide."""
    from tetrad.generation import grids

    columns, rows, levels = ([value.words for value in axis.values] for axis in axes)
    return grids.stacked(
        [
            grids.sheet(level, rows, columns, f"{title} · {words}" if words else title, cell)
            for level, words in zip(pictures, levels, strict=True)
        ]
    )
