"""`tetrad generate`: pictures from a prompt, with the networks it asks for."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tetrad.generation.infotext import Infotext
    from tetrad.generation.request import Request

UNREPEATED, OF_THE_VAE = "W3201", "W3203"
ModelsDir = Annotated[Path | None, typer.Option(help="Folder of A1111, Forge or ComfyUI: everything in it is found.")]
LoraDir = Annotated[Path | None, typer.Option(help="Folder, searched with all below it, for LoRA files  [runs].")]
EmbeddingsDir = Annotated[Path | None, typer.Option(help="The same for embeddings  [runs].")]
Vae = Annotated[str, typer.Option(help="Automatic, None (the model's own), a name in the VAE folders, or a path.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]


def generate(
    prompt: Annotated[
        str, typer.Argument(help='What to draw; "<lora:NAME:0.8>" adds a LoRA, an embedding\'s name the embedding.')
    ] = "",
    model: Annotated[str | None, typer.Option(help="Checkpoint, its name in --models-dir, folder, or builtin.")] = None,
    models_dir: ModelsDir = None,
    lora_dir: LoraDir = None,
    embeddings_dir: EmbeddingsDir = None,
    negative: Annotated[str | None, typer.Option(help="What not to draw.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampler steps  [30].")] = None,
    cfg_scale: Annotated[float | None, typer.Option(help="How closely to follow the prompt  [7].")] = None,
    cfg_rescale: Annotated[float | None, typer.Option(help="0 … 1; 0.7 tames a model that predicts v  [0].")] = None,
    sampler: Annotated[
        str | None, typer.Option(help="DPM++ 2M, Euler a, UniPC, …, each also with Karras, Exponential, AYS behind it.")
    ] = None,
    clip_skip: Annotated[int | None, typer.Option(help="1 the last layer, 2 the one before it.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed draws the same picture; -1: another each time.")
    ] = None,
    count: Annotated[int, typer.Option(help="Pictures, at this seed and the ones after it.")] = 1,
    batch: Annotated[
        int, typer.Option(help="Pictures drawn at once; decides memory and speed, not what is drawn.")
    ] = 4,
    width: Annotated[int | None, typer.Option(help="In pixels; 0: the model's own.")] = None,
    height: Annotated[int | None, typer.Option(help="In pixels; 0: the model's own.")] = None,
    image: Annotated[Path | None, typer.Option(help="Picture to begin from.")] = None,
    strength: Annotated[float | None, typer.Option(help="How much of it is drawn anew, 0 … 1  [0.6].")] = None,
    mask: Annotated[Path | None, typer.Option(help="Where it is drawn anew: white is, black stays.")] = None,
    mask_blur: Annotated[int, typer.Option(help="Pixels over which the mask's edge is softened.")] = 4,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Repeat a picture by what is written in it; flags win over it.")
    ] = None,
    vae: Vae = "Automatic",
    no_vae: Annotated[bool, typer.Option("--no-vae", help="Show the bare latents, as a missing VAE looks.")] = False,
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="PNG file to write; an existing one is not overwritten.")] = Path(
        "picture.png"
    ),
) -> None:
    """Draw pictures."""
    given = {
        "prompt": prompt or None,
        "negative": negative,
        "seed": seed,
        "steps": steps,
        "cfg_scale": cfg_scale,
        "cfg_rescale": cfg_rescale,
        "sampler": sampler,
        "width": width,
        "height": height,
        "clip_skip": clip_skip,
        "strength": strength,
    }
    if not prompt and not from_:
        raise typer.BadParameter("say what to draw, or give a picture to repeat with --from")
    from tetrad import library
    from tetrad.generation import starts

    repeated = written_in(from_) if from_ else None
    where = library.folders(models_dir, lora=lora_dir, embedding=embeddings_dir)
    request = asked(given, repeated)
    from tetrad.training.device import chosen

    chosen(device)
    free(out.expanduser())
    start = starts.opened(image, mask, mask_blur, request) if image else None
    if start:
        request = replace(request, start=start, strength=request.strength if strength is not None or from_ else 0.6)
    from tetrad.studio import BARE, Studio, named

    named(request, where)  # what is not there is said before a model is loaded
    studio = Studio(model or model_of(repeated, where), where, device, BARE if no_vae else vae)
    many = [replace(request, seed=request.seed + number) for number in range(count)]
    draw(studio, many, batch, out.expanduser())


def written_in(path: Path) -> "Infotext":
    """What is written in a picture; what it says and cannot be repeated is told on stderr."""
    from tetrad.generation import infotext, png

    found = infotext.read(png.parameters(path.expanduser()))
    for words in infotext.unrepeated(found):
        print(f"{UNREPEATED} {path.name} cannot be repeated exactly: {words} is not done here", file=sys.stderr)
    return found


def asked(given: dict[str, Any], repeated: "Infotext | None") -> "Request":
    """The request of a picture's text, or a plain one, with what was given on the command line."""
    import random

    from tetrad.diffusion.samplers import check_sampler
    from tetrad.generation import infotext, prompts
    from tetrad.generation.request import Request

    settings = {key: value for key, value in given.items() if value is not None}
    if settings.get("seed") == -1:
        settings["seed"] = random.randrange(2**32)
    request = replace(infotext.request(repeated), **settings) if repeated else Request(**{"prompt": ""} | settings)
    check_sampler(request.sampler)
    prompts.parsed(request.prompt)
    return request


def model_of(repeated: "Infotext | None", where: Any) -> str:
    """The model that a picture's text names, where it is one of ours; else the built-in one."""
    name = repeated.facts.get("Model", "builtin") if repeated else "builtin"
    if name == "builtin":
        return name
    from tetrad import library

    return str(library.find("checkpoint", name, where))


def draw(studio: Any, requests: list[Any], batch: int, out: Path) -> None:
    """Draw, write and name each picture as soon as it is there."""
    from tetrad.generation import png

    for drawn in studio.draw(requests, batch):
        path = free(out)
        png.save(path, drawn.image, drawn.infotext)
        if path != out and len(requests) == 1:
            print(f"{out} is already there, so the picture has another name", file=sys.stderr)
        print(path)
    for words in studio.notes():
        print(f"{OF_THE_VAE} {words}", file=sys.stderr)


def free(path: Path) -> Path:
    """The path, or `name-2.png` and so on where there is a file already.  E4202 where its folder cannot be written."""
    from tetrad.errors import TetradError

    if not path.parent.is_dir():
        raise TetradError(
            "E4202", f"there is no folder {path.parent} to write {path.name} in; make it first, or change --out"
        )
    number = 1
    if path.suffix.lower() != ".png":
        raise TetradError("E3252", f"{path.name} must end in .png; a picture's prompt is written into it as PNG has it")
    candidate = path
    while candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate
