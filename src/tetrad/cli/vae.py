"""`tetrad vae`: show which VAE a model uses, encode and decode images, compare VAEs, bake and extract them."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tetrad.cli.terminal import announce_loading, print_json, print_note, print_text
from tetrad.errors import TetradError
from tetrad.given_paths import check_model_exists
from tetrad.locales import Message, _, in_english, ngettext, pad, translate
from tetrad.paths import expand_path

if TYPE_CHECKING:
    from torch import Tensor

    from tetrad.library.vae.bake import CheckpointVae

app = typer.Typer(
    help=_("Show, compare and exchange VAEs, which turn images into latents and back."),
    no_args_is_help=True,
    rich_markup_mode=None,
)

Model = Annotated[str, typer.Option(help=_("Checkpoint, its name in --models-dir, diffusers folder, or builtin"))]
VaeOption = Annotated[
    str, typer.Option(help=_("Automatic, None (the model's own VAE), a name in the VAE folders, or a path"))
]
VaeDir = Annotated[Path | None, typer.Option(help=_("Folder to search for VAE files"), show_default="runs")]
ModelsDir = Annotated[Path | None, typer.Option(help=_("Folder of A1111, Forge or ComfyUI to search for all files"))]
Device = Annotated[str, typer.Option(help=_("auto, cpu, cuda or mps"))]
Precision = Annotated[
    str, typer.Option(help=_("fp32, fp16 or bf16; what overflows is computed again in fp32, with a warning"))
]
ImageFile = Annotated[Path, typer.Argument(help=_("Image file"))]


@app.command("show", help=_("Show which VAE a model uses, by which rule, its family and its hash."))
def show(
    model: Annotated[str, typer.Argument(help=_("Checkpoint, diffusers folder, VAE file, or builtin"))],
    vae: VaeOption = "Automatic",
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print everything as one JSON object"))] = False,
) -> None:
    check_inputs(model)
    from tetrad import library
    from tetrad.library.vae.describe import describe_vae

    description = describe_vae(model, vae, library.resolve_model_folders(models_dir, vae_dir))
    if as_json:
        record = in_english({**description.facts, "warnings": description.warnings})
        print_json(record)
    else:
        for label, value in description.facts.items():
            print_text(f"{pad(translate(label), 11)}{value}")
        print_warnings(description.warnings)
    if description.error:
        raise description.error


@app.command("encode", help=_("Encode an image as a latent file: mean and standard deviation of the scaled latents."))
def encode(
    image: ImageFile,
    model: Model = "builtin",
    vae: VaeOption = "Automatic",
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    out: Annotated[
        Path | None, typer.Option(help=_("File to write"), show_default=_("the image's name with .latent.safetensors"))
    ] = None,
) -> None:
    check_inputs(model, image)
    from tetrad import library
    from tetrad.library.vae.latents import write_latents

    out = expand_path(out or image.with_name(f"{image.stem}.latent.safetensors"))
    library.check_output_path(out)
    pixels = load_pixels(image)
    loaded_vae = load_vae(model, vae, vae_dir, models_dir, device, precision)
    mean, std = loaded_vae.encode(pixels[None])
    write_latents(out, mean[0], std[0], loaded_vae)
    print_warnings(loaded_vae.vae.warnings)
    print_text(out)


@app.command("decode", help=_("Decode a latent file to an image."))
def decode(
    latents: Annotated[Path, typer.Argument(help=_("Latent file of `tetrad vae encode` or ComfyUI"))],
    model: Model = "builtin",
    vae: VaeOption = "Automatic",
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    out: Annotated[
        Path | None, typer.Option(help=_("PNG file to write"), show_default=_("the latent file's name with .png"))
    ] = None,
) -> None:
    check_inputs(model)
    from tetrad import library
    from tetrad.images import png
    from tetrad.images.tensors import to_image
    from tetrad.library.vae.latents import read_latents

    stem = latents.name.removesuffix(".safetensors").removesuffix(".latent") or "image"
    out = expand_path(out or latents.parent / f"{stem}.png")
    library.check_output_path(out, ".png")
    loaded_vae = load_vae(model, vae, vae_dir, models_dir, device, precision)
    png.save_png(out, to_image(loaded_vae.vae.decode(read_latents(latents, loaded_vae)[None])[0]))
    print_warnings(loaded_vae.vae.warnings)
    print_text(out)


@app.command("compare", help=_("Show on one sheet how VAEs change an image."))
def compare(
    image: ImageFile,
    vae: Annotated[
        list[str] | None,
        typer.Option(help=_("VAE to compare, by name or path; may be repeated; None is the model's own VAE")),
    ] = None,
    model: Model = "builtin",
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    out: Annotated[Path, typer.Option(help=_("PNG file to write"))] = Path("vaes.png"),
) -> None:
    """The sheet shows the image, what each VAE decodes from its latents, and the difference times ten."""
    check_inputs(model, image)
    from tetrad import library
    from tetrad.images import fonts, png, vae_comparison

    out = expand_path(out)
    library.check_output_path(out, ".png")
    pixels = load_pixels(image)
    reconstructions = []
    for vae_name in vae or ["None"]:
        loaded_vae = load_vae(model, vae_name, vae_dir, models_dir, device, precision)
        label = str(loaded_vae.choice.label)
        reconstruction = loaded_vae.vae.decode(loaded_vae.encode(pixels[None])[0])[0].cpu()
        reconstructions.append(vae_comparison.Reconstruction(label, reconstruction, pixels))
        print_warnings(loaded_vae.vae.warnings)
        print_text(Message(_("{name}: {measurements}"), name=label, measurements=reconstructions[-1]))
    height, width = pixels.shape[1:]
    template = ngettext(
        "{image}, {width} x {height}, encoded and decoded by {count} VAE",
        "{image}, {width} x {height}, encoded and decoded by {count} VAEs",
        len(reconstructions),
    )
    title = Message(template, image=image.name, width=width, height=height)
    png.save_png(out, vae_comparison.make_comparison_sheet(pixels, reconstructions, fonts.label_text(title)))
    print_text(out)


@app.command("bake", help=_("Write a checkpoint with another VAE inside; everything else stays the same, bit for bit."))
def bake(
    model: Annotated[str, typer.Argument(help=_("Checkpoint file, its name in --models-dir, or builtin"))],
    vae: Annotated[
        str, typer.Argument(help=_("VAE file or folder, its name in the VAE folders, or a checkpoint that contains it"))
    ],
    vae_dir: VaeDir = None,
    models_dir: ModelsDir = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help=_(".safetensors file to write; an existing file is not overwritten"),
            show_default=_("CHECKPOINT-VAE.safetensors"),
        ),
    ] = None,
) -> None:
    check_inputs(model)
    from tetrad import library

    folders = library.resolve_model_folders(models_dir, vae_dir)
    path = library.find_checkpoint(model, folders)
    source = library.choose_vae(path, vae, folders["vae"], folders["checkpoint"]).path
    if source is None:
        template = _("{vae} stands for the VAE that {checkpoint} has already; name the VAE to bake into it")
        raise TetradError("E5206", template, vae=vae, checkpoint=path.name)
    out = expand_path(out or Path(f"{output_stem(model, path)}-{source.stem.removesuffix('.vae')}.safetensors"))
    changed_count, warnings = library.bake_vae(path, source, out)
    print_warnings(warnings)
    template = ngettext(
        "{count} tensor of the VAE was changed; everything else is the same, bit for bit",
        "{count} tensors of the VAE were changed; everything else is the same, bit for bit",
        changed_count,
    )
    print_note(template)
    print_text(out)


@app.command("extract", help=_("Write the VAE inside a checkpoint to a separate file, in its own precision."))
def extract(
    model: Annotated[str, typer.Argument(help=_("Checkpoint, its name in --models-dir, diffusers folder, or builtin"))],
    models_dir: ModelsDir = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help=_(".safetensors file to write; an existing file is not overwritten"),
            show_default=_("CHECKPOINT-vae.safetensors"),
        ),
    ] = None,
) -> None:
    check_inputs(model)
    from tetrad import library

    path = library.find_checkpoint(model, library.resolve_model_folders(models_dir))
    out = expand_path(out or Path(f"{output_stem(model, path)}-vae.safetensors"))
    library.extract_vae(path, out)
    print_text(out)


def output_stem(model: str, path: Path) -> str:
    """The first part of an output file's name: the checkpoint's."""
    if model == "builtin":
        return model
    return path.name if path.is_dir() else path.stem


def load_vae(
    model: str, vae_name: str, vae_dir: Path | None, models_dir: Path | None, device: str, precision: str
) -> "CheckpointVae":
    """The VAE that these options choose, on its device; prints on stderr which one it is and why."""
    from tetrad import library
    from tetrad.models.device import dtype_of, select_device

    device_spec, dtype = select_device(device), dtype_of(precision)
    loaded_vae = library.open_checkpoint_vae(model, vae_name, library.resolve_model_folders(models_dir, vae_dir))
    loaded_vae.vae.network.to(device_spec.device)
    loaded_vae.vae.dtype = dtype
    print_note(_("VAE: {reason}"), reason=loaded_vae.choice.reason)
    print_warnings(loaded_vae.choice.warnings)
    return loaded_vae


def check_inputs(model: str, image_path: Path | None = None) -> None:
    """E4001 where there is no such image, E5001 where the model's path does not exist; before torch is loaded."""
    if image_path and not image_path.is_file():
        raise TetradError("E4001", _("there is no image {path}"), path=image_path)
    check_model_exists(model, may_be_name=True)
    announce_loading()


def load_pixels(image_path: Path) -> "Tensor":
    """An image's pixels (3, H, W) in 0…1, cropped to multiples of 8; prints on stderr where it is cropped."""
    from tetrad.images.diagnosis import BadImage
    from tetrad.images.load import load_image
    from tetrad.images.tensors import to_tensor

    try:
        image = load_image(image_path)
    except BadImage as error:
        raise TetradError(error.code, _("{file}: {reason}"), file=image_path, reason=error.reason) from error
    size = (image.width // 8 * 8, image.height // 8 * 8)
    if size != image.size:
        template = _("{file} is cropped to {width} × {height}, because width and height must be multiples of 8")
        print_note(template, file=image_path.name, width=size[0], height=size[1])
    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    return to_tensor(image.crop((left, top, left + size[0], top + size[1])))


def print_warnings(warnings: "Iterable[str | Message]") -> None:
    for warning in warnings:
        print_note(_("warning: {warning}"), warning=warning)
