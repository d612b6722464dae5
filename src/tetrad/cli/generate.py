"""`tetrad generate`: a picture from a prompt, with any LoRAs it asks for."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def generate(
    prompt: Annotated[str, typer.Argument(help='What to draw; "<lora:NAME:0.8>" adds a LoRA at that strength.')],
    model: Annotated[str, typer.Option(help="Checkpoint, diffusers folder, or builtin.")] = "builtin",
    lora_dir: Annotated[Path, typer.Option(help="Folder, searched with all below it, for LoRA files.")] = Path("runs"),
    negative: Annotated[str, typer.Option(help="What not to draw.")] = "",
    steps: Annotated[int, typer.Option(help="Sampler steps.")] = 30,
    cfg_scale: Annotated[float, typer.Option(help="How closely to follow the prompt.")] = 7.0,
    sampler: Annotated[str, typer.Option(help="DPM++ 2M, DPM++ 2M Karras, Euler, Euler a, DDIM.")] = "DPM++ 2M",
    seed: Annotated[int, typer.Option(help="The same seed draws the same picture.")] = 0,
    width: Annotated[int, typer.Option(help="In pixels; 0: the model's own.")] = 0,
    height: Annotated[int, typer.Option(help="In pixels; 0: the model's own.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    out: Annotated[Path, typer.Option(help="PNG file to write; an existing one is not overwritten.")] = Path(
        "picture.png"
    ),
) -> None:
    """Draw a picture."""
    from tetrad.generation import prompts
    from tetrad.generation.request import Request

    parsed = prompts.parsed(prompt)
    request = Request(parsed.text, negative, seed, steps, cfg_scale, sampler, width, height)
    from tetrad import library
    from tetrad.data.images import to_image
    from tetrad.diffusion.samplers import check_sampler
    from tetrad.generation import png
    from tetrad.generation.generate import pictures, with_size
    from tetrad.training.device import chosen, settle

    check_sampler(sampler)
    place = chosen(device)
    files = [library.find_lora(network.name, lora_dir.expanduser()) for network in parsed.loras]
    path = free(out.expanduser())
    loaded = library.load_model(model)
    settle(loaded, place)
    for network, file in zip(parsed.loras, files, strict=True):
        library.attach(file, loaded, network.strength, "lora")
    picture = next(pictures(loaded, [request]))
    png.save(path, to_image(picture), png.infotext(with_size(request, loaded), prompt, loaded.name))
    if path != out.expanduser():
        print(f"{out} is already there, so the picture has another name", file=sys.stderr)
    print(path)


def free(path: Path) -> Path:
    """The path, or `name-2.png` and so on where there is a file already.  E4202 where its folder cannot be written."""
    from tetrad.errors import TetradError

    if not path.parent.is_dir():
        raise TetradError(
            "E4202", f"there is no folder {path.parent} to write {path.name} in; make it first, or change --out"
        )
    number = 1
    candidate = path
    while candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate
