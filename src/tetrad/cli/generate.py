"""`tetrad generate`: pictures from a prompt, with the networks it asks for."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tetrad.generation.infotext import Infotext
    from tetrad.generation.request import Request

UNREPEATED, OF_THE_VAE, DOUBTFUL = "W3201", "W3203", "W3205"
ModelsDir = Annotated[Path | None, typer.Option(help="Folder of A1111, Forge or ComfyUI: everything in it is found.")]
LoraDir = Annotated[Path | None, typer.Option(help="Folder, searched with all below it, for LoRA files  [runs].")]
EmbeddingsDir = Annotated[Path | None, typer.Option(help="The same for embeddings  [runs].")]
HypernetworkDir = Annotated[Path | None, typer.Option(help="The same for hypernetworks  [runs].")]
VAE_CHOICES = "Automatic, None (the model's own), a name in the VAE folders, or a path"
VaeDir = Annotated[Path | None, typer.Option(help="Folder of VAE files  [runs].")]
VaePrecision = Annotated[str, typer.Option(help="fp32, fp16 or bf16; what overflows is done again in fp32, and said.")]
Vae = Annotated[str, typer.Option(help=f"{VAE_CHOICES}.")]
ImageFile = Annotated[Path | None, typer.Option(help="Picture to begin from.")]
MaskFile = Annotated[Path | None, typer.Option(help="Where it is drawn anew: white is, black stays.")]
Strength = Annotated[float | None, typer.Option(help="How much of it is drawn anew, 0 … 1  [0.6].")]
MaskBlur = Annotated[int | None, typer.Option(min=0, help="Pixels over which the mask's edge is softened  [4].")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]


def generate(
    prompt: Annotated[
        str, typer.Argument(help='What to draw; "<lora:NAME:0.8>" adds a LoRA, an embedding\'s name the embedding.')
    ] = "",
    model: Annotated[str | None, typer.Option(help="Checkpoint, its name in --models-dir, folder, or builtin.")] = None,
    models_dir: ModelsDir = None,
    lora_dir: LoraDir = None,
    embeddings_dir: EmbeddingsDir = None,
    hypernetwork_dir: HypernetworkDir = None,
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
    count: Annotated[int, typer.Option(min=1, help="Pictures, at this seed and the ones after it.")] = 1,
    batch: Annotated[
        int, typer.Option(min=1, help="Pictures drawn at once; decides memory and speed, not what is drawn.")
    ] = 4,
    width: Annotated[int | None, typer.Option(help="In pixels; 0: the model's own.")] = None,
    height: Annotated[int | None, typer.Option(help="In pixels; 0: the model's own.")] = None,
    image: ImageFile = None,
    strength: Strength = None,
    mask: MaskFile = None,
    mask_blur: MaskBlur = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Repeat a picture by what is written in it; flags win over it.")
    ] = None,
    vae: Annotated[str | None, typer.Option(help=f"{VAE_CHOICES}  [Automatic].")] = None,
    vae_dir: VaeDir = None,
    vae_precision: VaePrecision = "fp32",
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
    from tetrad.generation.repeat import BARE
    from tetrad.studio import Studio, named
    from tetrad.training.device import chosen

    chosen(device)
    out = out.expanduser()
    free(out)
    before = written_in(from_) if from_ else None
    where = library.folders(
        models_dir, lora=lora_dir, embedding=embeddings_dir, hypernetwork=hypernetwork_dir, vae=vae_dir
    )
    request = asked(given, before, where)
    over = {"image": image, "mask": mask}
    request = begun(request, before, over, mask_blur, strength)
    named(request, where)  # what is not there is said before a model is loaded
    tell_doubts([request])
    files = {"model": model, "vae": BARE if no_vae else vae}
    studio = Studio(model or model_of(before, where), where, device, files["vae"] or vae_of(before), vae_precision)
    tell_mounted(studio)
    many = [replace(request, seed=request.seed + number) for number in range(count)]
    flags = {flag for flag, value in (files | {"prompt": prompt or negative}).items() if value}
    draw(studio, many, batch, out, lambda infotext: tell_differences(before, infotext, flags))


@dataclass(frozen=True)
class Before:
    """A picture that is drawn again: its file's name, and what is written in it."""

    name: str
    text: "Infotext"


def written_in(path: Path) -> Before:
    """A picture to draw again; what it says and cannot be repeated is told on stderr."""
    from tetrad.generation import infotext, png, repeat

    found = infotext.read(png.parameters(path.expanduser()))
    for words in repeat.unrepeated(found):
        print(f"{UNREPEATED} {path.name} cannot be repeated exactly: {words} is not done here", file=sys.stderr)
    return Before(path.name, found)


def asked(given: dict[str, Any], before: Before | None, where: Any) -> "Request":
    """The request of a picture's text, or a plain one, with what was given on the command line."""
    from tetrad.diffusion.samplers import check_sampler
    from tetrad.generation import infotext, prompts, repeat
    from tetrad.generation.request import Request, any_seed
    from tetrad.studio import called_here

    settings = {key: value for key, value in given.items() if value is not None}
    if "seed" in settings:
        settings["seed"] = any_seed(settings["seed"])
    request = infotext.request(before.text, settings) if before else Request(**{"prompt": ""} | settings)
    check_sampler(request.sampler)
    prompts.parsed(request.prompt)
    if before:
        hashes = repeat.hashes(before.text.facts, "Lora hashes")
        request = replace(request, prompt=called_here(request.prompt, hashes, where))
    return request


def begun(
    request: "Request",
    before: Before | None,
    over: dict[str, Path | None],
    blur: int | None,
    strength: float | None,
) -> "Request":
    """The request with the picture and the mask that it begins from, where there are some."""
    from tetrad.generation import repeat, starts

    image, mask = over["image"], over["mask"]
    facts = before.text.facts if before else {}
    if before:
        repeat.check_start(before.text, before.name, image, mask)
    starts.check_needed(image, mask, strength)
    if image is None:
        return replace(request, strength=1.0)
    start = starts.opened(image, mask, int(facts.get("Mask blur", starts.BLUR)) if blur is None else blur, request)
    said = strength is not None or "Denoising strength" in facts
    return replace(request, start=start, strength=request.strength if said else starts.STRENGTH)


def model_of(before: Before | None, where: Any) -> str:
    """The model that a picture's text names, where it is one of ours; else the built-in one."""
    name = before.text.facts.get("Model", "builtin") if before else "builtin"
    if name == "builtin":
        return name
    from tetrad import library
    from tetrad.errors import TetradError

    try:
        return str(library.find("checkpoint", name, where))
    except TetradError as error:
        raise TetradError(error.code, f"{error.message}; or give the model's file with --model") from error


def vae_of(before: Before | None) -> str:
    from tetrad.generation import repeat

    return repeat.vae(before.text) if before else "Automatic"


def draw(studio: Any, requests: list[Any], batch: int, out: Path, told: "Callable[[str], None]") -> None:
    """Draw, write and name each picture as soon as it is there; `told` is called with the first one's text."""
    from tetrad.generation import png

    for number, drawn in enumerate(studio.draw(requests, batch, tell_step)):
        tell_progress("")
        path = free(out)
        png.save(path, drawn.image, drawn.infotext)
        if path != out and len(requests) == 1:
            print(f"{out} is already there, so the picture has another name", file=sys.stderr)
        print(path)
        if number == 0:
            told(drawn.infotext)
    tell_of_vae(studio)


def tell_step(step: int, steps: int) -> None:
    tell_progress(f"step {step} of {steps}")


def tell_progress(words: str) -> None:
    """How far drawing has come, on a terminal, in one line; no words wipe it."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)


def tell_doubts(requests: "Iterable[Request]") -> None:
    """What may be meant otherwise in prompts, on stderr, each once."""
    from tetrad.generation import prompts

    for words in dict.fromkeys(words for request in requests for words in prompts.doubts(request)):
        print(f"{DOUBTFUL} {words}", file=sys.stderr)


def tell_differences(before: Before | None, now: str, flags: set[str]) -> None:
    """In what a picture that was drawn again is not the one it was, on stderr."""
    from tetrad.generation import infotext, repeat

    if before:
        for words in repeat.differences(before.text, infotext.read(now), flags):
            print(f"{UNREPEATED} {before.name} was not repeated exactly: {words}", file=sys.stderr)


def tell_mounted(studio: Any) -> None:
    """Which VAE is used, and why, on stderr, where it is not the model's own."""
    if studio.vae.path:
        print(f"VAE: {studio.vae.rule}", file=sys.stderr)


def tell_of_vae(studio: Any) -> None:
    for words in studio.notes():
        print(f"{OF_THE_VAE} {words}", file=sys.stderr)


def free(path: Path) -> Path:
    """The path, or `name-2.png` and so on where there is a file already.  E4202 where its folder cannot be written."""
    from tetrad.errors import TetradError

    try:
        path.exists()
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise TetradError("E4202", f"{path} cannot be written ({error.strerror}); change --out") from error
    if not path.parent.is_dir():
        raise TetradError(
            "E4202", f"there is no folder {path.parent} to write {path.name} in; make it first, or change --out"
        )
    if path.is_dir():
        raise TetradError("E3252", f"{path} is a folder; give --out the name of a PNG file in it")
    if path.suffix.lower() != ".png":
        raise TetradError("E3252", f"{path.name} must end in .png; a picture's prompt is written into it as PNG has it")
    if not os.access(path.parent, os.W_OK):
        raise TetradError("E4202", f"{path.parent} may not be written to; change --out, or who may write there")
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate
