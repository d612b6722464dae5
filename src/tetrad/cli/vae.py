"""`tetrad vae`: which VAE a model uses and why; pictures to latents and back; VAEs compared, put in and taken out."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from tetrad.library.baking import Opened

app = typer.Typer(
    help="What stands between pictures and latents: look at it, compare it, change it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Model = Annotated[str, typer.Option(help="Checkpoint, its name in --models-dir, diffusers folder, or builtin.")]
Choose = Annotated[str, typer.Option(help="Automatic, None (the checkpoint's own), a file's name, or a path.")]
VaeDir = Annotated[Path | None, typer.Option(help="Folder of VAE files; not given: runs.")]
ModelsDir = Annotated[Path | None, typer.Option(help="Folder of A1111, Forge or ComfyUI, whose VAEs are found too.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
Precision = Annotated[
    str, typer.Option(help="fp32, fp16 or bf16; where half overflows, it is done again in fp32, and said.")
]


@app.command("show")
def show(
    model: Annotated[str, typer.Argument(help="Checkpoint, diffusers folder, builtin, or a VAE's own file.")],
    vae: Choose = "Automatic",
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Say which VAE a model is used with and by which rule, its family and its hash."""
    from tetrad import library
    from tetrad.errors import TetradError
    from tetrad.library.vae_facts import facts

    found = facts(model, vae, library.folders(models_dir, vae=vae_dir))
    if as_json:
        print(json.dumps({**found.lines, "warnings": found.warnings}, ensure_ascii=False))
    else:
        for name, value in found.lines.items():
            print(f"{name:<11}{value}")
        warn(found.warnings)
    if found.missing:
        raise TetradError("E5201", found.missing)


@app.command("encode")
def encode(
    picture: Annotated[Path, typer.Argument(help="Picture file.")],
    model: Model = "builtin",
    vae: Choose = "Automatic",
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    out: Annotated[
        Path | None, typer.Option(help="File to write; not given: the picture's name with .latent.safetensors.")
    ] = None,
) -> None:
    """Turn a picture into a latent file: mean and standard deviation, at the family's scale."""
    from tetrad import library
    from tetrad.library.latents import write_latents

    out = out or picture.with_name(f"{picture.stem}.latent.safetensors")
    library.check_out(out)
    pixels = pixels_of(picture)
    opened = opened_vae(model, vae, vae_dir, models_dir, device, precision)
    mean, std = opened.encode(pixels[None])
    write_latents(out, mean[0], std[0], opened)
    warn(opened.vae.warnings)
    print(out)


@app.command("decode")
def decode(
    latents: Annotated[Path, typer.Argument(help="Latent file of `tetrad vae encode` or ComfyUI.")],
    model: Model = "builtin",
    vae: Choose = "Automatic",
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    out: Annotated[Path | None, typer.Option(help="PNG file to write; not given: the latent file's name.")] = None,
) -> None:
    """Turn a latent file into a picture."""
    from tetrad import library
    from tetrad.data.images import to_image
    from tetrad.generation import png
    from tetrad.library.latents import read_latents

    out = out or latents.with_name(
        f"{latents.name.removesuffix('.safetensors').removesuffix('.latent') or 'picture'}.png"
    )
    library.check_out(out, ".png")
    opened = opened_vae(model, vae, vae_dir, models_dir, device, precision)
    png.save(out, to_image(opened.vae.decode(read_latents(latents, opened)[None])[0]))
    warn(opened.vae.warnings)
    print(out)


@app.command("compare")
def compare(
    picture: Annotated[Path, typer.Argument(help="Picture file.")],
    vae: Annotated[
        list[str] | None, typer.Option(help="A VAE to compare, by name or path; None is the checkpoint's own.")
    ] = None,
    model: Model = "builtin",
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("vaes.png"),
) -> None:
    """Draw one sheet: a picture, what each VAE makes of it, and what it changed, ten times as strong."""
    from tetrad import library
    from tetrad.generation import comparison, png

    library.check_out(out, ".png")
    pixels = pixels_of(picture)
    found = []
    for choice in vae or ["None"]:
        opened = opened_vae(model, choice, vae_dir, models_dir, device, precision)
        made = opened.vae.decode(opened.encode(pixels[None])[0])[0].cpu()
        found.append(comparison.Reconstruction(opened.name, made, pixels))
        warn(opened.vae.warnings)
        print(f"{opened.name}: {found[-1]}")
    height, width = pixels.shape[1:]
    through = "1 VAE" if len(found) == 1 else f"{len(found)} VAEs"
    png.save(out, comparison.sheet(pixels, found, f"{picture.name}, {width} x {height}, through {through}"))
    print(out)


@app.command("bake")
def bake(
    model: Annotated[str, typer.Argument(help="Checkpoint file, its name in --models-dir, or builtin.")],
    vae: Annotated[str, typer.Argument(help="VAE file or folder, its name, or a checkpoint to take it from.")],
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, .safetensors; not given: both names, here. Nothing is written over."),
    ] = None,
) -> None:
    """Write a checkpoint with another VAE inside, all else bit for bit as it was."""
    from tetrad import library
    from tetrad.errors import TetradError

    where = library.folders(models_dir, vae=vae_dir)
    path = library.checkpoint(model, where)
    source = library.choose_vae(path, vae, where["vae"], where["checkpoint"]).path
    if source is None:
        raise TetradError("E5206", f"{vae} leaves {path.name} its own VAE; name the one to put into it")
    out = out or Path(f"{name_of(model, path)}-{source.stem.removesuffix('.vae')}.safetensors")
    changed, warnings = library.bake(path, source, out)
    warn(warnings)
    print(f"of the VAE {changed} tensors are others now; all else is as it was, bit for bit", file=sys.stderr)
    print(out)


@app.command("extract")
def extract(
    model: Annotated[str, typer.Argument(help="Checkpoint, its name in --models-dir, diffusers folder, or builtin.")],
    models_dir: ModelsDir = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, .safetensors; not given: NAME-vae, here. Nothing is written over."),
    ] = None,
) -> None:
    """Write the VAE inside a checkpoint to a file of its own, in its own precision."""
    from tetrad import library

    path = library.checkpoint(model, library.folders(models_dir))
    out = out or Path(f"{name_of(model, path)}-vae.safetensors")
    library.extract(path, out)
    print(out)


def name_of(model: str, path: Path) -> str:
    """What a file made of a checkpoint is called after."""
    return model if model == "builtin" else path.name if path.is_dir() else path.stem


def opened_vae(
    model: str, choice: str, vae_dir: Path | None, models_dir: Path | None, device: str, precision: str
) -> "Opened":
    """The VAE that these options name, on its device; which it is goes to stderr."""
    from tetrad import library
    from tetrad.training.device import chosen, numbers

    place, dtype = chosen(device), numbers(precision)
    opened = library.open_vae(model, choice, library.folders(models_dir, vae=vae_dir))
    opened.vae.network.to(place.device)
    opened.vae.dtype = dtype
    print(f"VAE: {opened.choice.rule}", file=sys.stderr)
    warn(opened.choice.warnings)
    return opened


def pixels_of(picture: Path) -> "Tensor":
    """A picture's pixels (3, H, W) in 0…1, cut to sides of a multiple of 8; what was cut is said."""
    from tetrad.data.images import BadImage, load, to_tensor
    from tetrad.errors import TetradError

    if not picture.is_file():
        raise TetradError("E4001", f"there is no picture {picture}")
    try:
        image = load(picture)
    except BadImage as bad:
        raise TetradError(bad.code, f"{picture}: {bad.reason}") from bad
    size = (image.width // 8 * 8, image.height // 8 * 8)
    if size != image.size:
        print(f"{picture.name} is cut to {size[0]} × {size[1]}: sides must be multiples of 8", file=sys.stderr)
    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    return to_tensor(image.crop((left, top, left + size[0], top + size[1])))


def warn(warnings: "list[str] | tuple[str, ...]") -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
