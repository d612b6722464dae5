"""`tetrad vae`: which VAE a model uses and why; pictures to latents and back; VAEs compared, put in and taken out."""

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

Model = Annotated[str, typer.Option(help="Checkpoint, diffusers folder, or builtin.")]
Choose = Annotated[str, typer.Option(help="Automatic, None (the checkpoint's own), a file's name, or a path.")]
VaeDir = Annotated[Path | None, typer.Option(help="Folder of VAE files; not given: runs.")]
ModelsDir = Annotated[Path | None, typer.Option(help="Folder of A1111, Forge or ComfyUI, whose VAEs are found too.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]


@app.command("show")
def show(
    model: Annotated[str, typer.Argument(help="Checkpoint, diffusers folder, builtin, or a VAE's own file.")],
    vae: Choose = "Automatic",
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
) -> None:
    """Say which VAE a model is used with and by which rule, its family and its hash."""
    from tetrad import library
    from tetrad.library.vae_facts import facts

    found = facts(model, vae, library.folders(models_dir, vae=vae_dir))
    for name, value in found.lines:
        print(f"{name:<11}{value}")
    warn(found.warnings)


@app.command("encode")
def encode(
    picture: Annotated[Path, typer.Argument(help="Picture file.")],
    model: Model = "builtin",
    vae: Choose = "Automatic",
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    device: Device = "auto",
    out: Annotated[
        Path | None, typer.Option(help="File to write; the picture's name with .latent.safetensors.")
    ] = None,
) -> None:
    """Turn a picture into a latent file: mean and standard deviation, at the family's scale."""
    from tetrad import library
    from tetrad.library.latents import write_latents

    out = out or picture.with_name(f"{picture.stem}.latent.safetensors")
    library.check_out(out)
    pixels = pixels_of(picture)
    opened = opened_vae(model, vae, vae_dir, models_dir, device)
    mean, std = opened.vae.encode(pixels[None])
    write_latents(out, mean[0], std[0], opened)
    warn(opened.vae.warnings)
    print(out)


@app.command("decode")
def decode(
    latents: Annotated[Path, typer.Argument(help="Latent file, as `tetrad vae encode` writes it.")],
    model: Model = "builtin",
    vae: Choose = "Automatic",
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    device: Device = "auto",
    out: Annotated[Path | None, typer.Option(help="PNG file to write; the latent file's name with .png.")] = None,
) -> None:
    """Turn a latent file into a picture."""
    from tetrad import library
    from tetrad.data.images import to_image
    from tetrad.generation import png
    from tetrad.library.latents import read_latents

    out = out or latents.with_name(f"{latents.name.removesuffix('.safetensors').removesuffix('.latent')}.png")
    library.check_out(out, ".png")
    opened = opened_vae(model, vae, vae_dir, models_dir, device)
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
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("vaes.png"),
) -> None:
    """Draw one sheet: a picture, what each VAE makes of it, and what it changed, ten times as strong."""
    from tetrad import library
    from tetrad.generation import comparison, png

    library.check_out(out, ".png")
    pixels = pixels_of(picture)
    found = []
    for choice in vae or ["None"]:
        opened = opened_vae(model, choice, vae_dir, models_dir, device)
        made = opened.vae.decode(opened.vae.encode(pixels[None])[0])[0].cpu()
        found.append(comparison.Reconstruction(opened.name, made, pixels))
        warn(opened.vae.warnings)
        print(f"{opened.name}: {found[-1]}")
    height, width = pixels.shape[1:]
    png.save(out, comparison.sheet(pixels, found, f"{picture.name}, {width} x {height}, through {len(found)} VAEs"))
    print(out)


@app.command("bake")
def bake(
    model: Annotated[Path, typer.Argument(help="Checkpoint file.")],
    vae: Annotated[Path, typer.Argument(help="VAE file or folder, or a checkpoint to take it from.")],
    out: Annotated[Path, typer.Option(help="Checkpoint to write, .safetensors; an existing file is never replaced.")],
) -> None:
    """Write a checkpoint with another VAE inside, all else bit for bit as it was."""
    from tetrad import library

    changed, warnings = library.bake(model, vae, out)
    warn(warnings)
    print(f"{changed} tensors of the VAE are other ones now; all else is as it was, bit for bit", file=sys.stderr)
    print(out)


@app.command("extract")
def extract(
    model: Annotated[str, typer.Argument(help="Checkpoint, diffusers folder, or builtin.")],
    out: Annotated[Path, typer.Option(help="VAE file to write, .safetensors; an existing file is never replaced.")],
) -> None:
    """Write the VAE inside a checkpoint to a file of its own, in its own precision."""
    from tetrad import library
    from tetrad.builtin import model_path

    library.extract(model_path(model), out)
    print(out)


def opened_vae(model: str, choice: str, vae_dir: Path | None, models_dir: Path | None, device: str) -> "Opened":
    """The VAE that these options name, on its device; which it is goes to stderr."""
    from tetrad import library
    from tetrad.training.device import chosen

    place = chosen(device)
    where = library.folders(models_dir, vae=vae_dir)
    opened = library.open_vae(model, choice, where["vae"], where["checkpoint"])
    opened.vae.network.to(place.device)
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
