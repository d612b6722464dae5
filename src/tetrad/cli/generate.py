"""`tetrad generate`: images from a prompt, with the networks that the prompt names."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tetrad.builtin import BUILTIN_NAME
from tetrad.cli import options
from tetrad.cli.flags import with_folder_flags
from tetrad.cli.output import choose_output_path, find_unused_path
from tetrad.cli.pipeline_notes import (
    print_device,
    print_doubt,
    print_pipeline_warnings,
    print_prompt_warnings,
    print_vae_choice,
)
from tetrad.cli.terminal import announce_loading, print_note, print_progress, print_text, print_warning
from tetrad.errors import TetradError
from tetrad.given_paths import check_init_files_exist, check_model_exists, explain_builtin_model
from tetrad.locales import _
from tetrad.paths import expand_path
from tetrad.settings.samplers import resolve_sampler_name

if TYPE_CHECKING:
    from tetrad.generation.request import Request
    from tetrad.images.infotext import Infotext

NOT_REPRODUCIBLE = "W3201"
HELP = _("Generate images from a prompt.")


@with_folder_flags
def generate(
    prompt: Annotated[
        str,
        typer.Argument(help=_('Prompt; "<lora:NAME:0.8>" adds a LoRA, the name of an embedding adds it')),
    ] = "",
    model: Annotated[str | None, typer.Option(help=options.MODEL_HELP, show_default="builtin")] = None,
    prediction_type: options.PredictionType = "",
    models_dir: options.ModelsDir = None,
    negative_prompt: Annotated[str | None, typer.Option(help=options.NEGATIVE_PROMPT_HELP)] = None,
    steps: Annotated[int | None, typer.Option(help=options.STEPS_HELP, show_default="30")] = None,
    cfg_scale: Annotated[float | None, typer.Option(help=options.CFG_SCALE_HELP, show_default="7")] = None,
    cfg_rescale: Annotated[float | None, typer.Option(help=options.CFG_RESCALE_HELP, show_default="0")] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help=_("DPM++ 2M, Euler a, UniPC, …; Karras, Exponential or AYS may follow the name"),
            show_default="DPM++ 2M",
        ),
    ] = None,
    clip_skip: Annotated[
        int | None, typer.Option(help=options.CLIP_SKIP_HELP, show_default=options.MODEL_DEFAULT)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help=_("The same seed gives the same image; -1 for a random one"), show_default="0")
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, help=_("Number of images, at this seed and the ones after it"))] = 1,
    batch_size: options.BatchSize = 4,
    width: Annotated[int | None, typer.Option(help=options.WIDTH_HELP, show_default=options.MODEL_DEFAULT)] = None,
    height: Annotated[int | None, typer.Option(help=options.HEIGHT_HELP, show_default=options.MODEL_DEFAULT)] = None,
    init_image: options.InitImage = None,
    denoising_strength: options.DenoisingStrength = None,
    mask: options.Mask = None,
    mask_blur: options.MaskBlur = None,
    png_info: Annotated[
        Path | None,
        typer.Option(
            help=_("PNG file to generate again from the parameters stored in it; other options override them")
        ),
    ] = None,
    vae: Annotated[str | None, typer.Option(help=options.VAE_HELP, show_default="Automatic")] = None,
    vae_dir: options.VaeDir = None,
    vae_precision: Annotated[
        str, typer.Option(help=_("fp32, fp16 or bf16; what overflows is decoded again in fp32, with a warning"))
    ] = "fp32",
    no_vae: Annotated[bool, typer.Option("--no-vae", help=_("Show the latents without decoding them"))] = False,
    device: options.Device = "auto",
    out: options.OutputImage = Path("image.png"),
    **folder_dirs: Path | None,
) -> None:
    """Check everything that can be checked without the model, load it, generate, and save each image as it is ready."""
    if not prompt and not png_info:
        raise TetradError("E2001", _("no prompt is given; give one, or an image to generate again with --png-info"))
    out = expand_path(out)
    find_unused_path(out)
    if sampler:
        resolve_sampler_name(sampler)
    check_init_files_exist(init_image, mask)
    check_model_exists(model or BUILTIN_NAME, may_be_name=True)
    if model is None and png_info is None and (explanation := explain_builtin_model(BUILTIN_NAME)):
        print_note(explanation)
    announce_loading()
    from tetrad import library
    from tetrad.generation.pipeline import Pipeline, find_attachments
    from tetrad.generation.reproduce import BARE_LATENTS

    print_device(device)
    original = read_original(png_info) if png_info else None
    folders = library.resolve_model_folders(models_dir, vae_dir, **folder_dirs)
    given = {
        "prompt": prompt or None,
        "negative_prompt": negative_prompt,
        "seed": seed,
        "steps": steps,
        "cfg_scale": cfg_scale,
        "cfg_rescale": cfg_rescale,
        "sampler": sampler,
        "width": width,
        "height": height,
        "clip_skip": clip_skip,
        "denoising_strength": denoising_strength,
    }
    request = build_request(given, original, folders)
    request = add_init_image(request, original, init_image, mask, mask_blur, denoising_strength)
    find_attachments(request, folders)  # raises before a model is loaded where a file is missing
    model_name = model or resolve_model(original, folders)
    print_prompt_warnings([request], [model_name], folders)
    vae = BARE_LATENTS if no_vae else vae
    changed_flags = {
        flag for flag, value in {"model": model, "vae": vae, "prompt": prompt or negative_prompt}.items() if value
    }
    prediction_type = prediction_type or resolve_prediction_type(original, library.find_checkpoint(model_name, folders))
    pipeline = Pipeline(model_name, folders, device, vae or resolve_vae(original), vae_precision, prediction_type)
    print_vae_choice(pipeline)
    print_doubt(pipeline)
    requests = [replace(request, seed=request.seed + number) for number in range(num_images)]
    save_images(
        pipeline,
        requests,
        batch_size,
        out,
        lambda infotext: print_differences(original, infotext, changed_flags, pipeline.path),
    )


@dataclass(frozen=True)
class OriginalImage:
    """An image to generate again: its file name and the parameters stored in it."""

    name: str
    infotext: "Infotext"


def read_original(path: Path) -> OriginalImage:
    """Read an image to generate again; warns on stderr about parameters that are not supported."""
    from tetrad.generation import reproduce
    from tetrad.images import png
    from tetrad.images.infotext import parse_infotext

    original_infotext = parse_infotext(png.read_infotext(expand_path(path)))
    for feature in reproduce.list_unreproducible(original_infotext):
        print_warning(
            NOT_REPRODUCIBLE,
            _("{image} cannot be reproduced exactly; not supported: {feature}"),
            image=path.name,
            feature=feature,
        )
    return OriginalImage(path.name, original_infotext)


def build_request(given: dict[str, Any], original: OriginalImage | None, folders: Any) -> "Request":
    """The request of the original image, or the default one, overridden by the given options (None: not given)."""
    from tetrad.generation import infotext, prompt_networks, reproduce
    from tetrad.generation.pipeline import resolve_lora_names
    from tetrad.generation.request import Request, resolve_seed

    settings = {key: value for key, value in given.items() if value is not None}
    if "seed" in settings:
        settings["seed"] = resolve_seed(settings["seed"])
    request = infotext.to_request(original.infotext, settings) if original else Request(**{"prompt": ""} | settings)
    resolve_sampler_name(request.sampler)
    prompt_networks.extract_networks(request.prompt)
    if original:
        hashes = reproduce.parse_hashes(original.infotext.parameters, "Lora hashes")
        request = replace(request, prompt=resolve_lora_names(request.prompt, hashes, folders))
    return request


def add_init_image(
    request: "Request",
    original: OriginalImage | None,
    image: Path | None,
    mask: Path | None,
    mask_blur: int | None,
    denoising_strength: float | None,
) -> "Request":
    """The request with the initial image and the mask, where they are given."""
    from tetrad.generation import img2img, reproduce

    parameters = original.infotext.parameters if original else {}
    if original:
        reproduce.check_init_image(original.infotext, original.name, image, mask)
    img2img.require_init_image(image, mask, denoising_strength)
    if image is None:
        return replace(request, denoising_strength=1.0)
    if mask_blur is None:
        mask_blur = int(parameters.get("Mask blur", img2img.DEFAULT_MASK_BLUR))
    init_image = img2img.load_init_image(image, mask, mask_blur, request)
    has_strength = denoising_strength is not None or "Denoising strength" in parameters
    strength = request.denoising_strength if has_strength else img2img.DEFAULT_STRENGTH
    return replace(request, init_image=init_image, denoising_strength=strength)


def resolve_model(original: OriginalImage | None, folders: Any) -> str:
    """The file of the model that the original image names by its name or its hash, or "builtin"."""
    parameters = original.infotext.parameters if original else {}
    name, model_hash = parameters.get("Model", "builtin"), parameters.get("Model hash", "")
    from tetrad import library

    if name == "builtin":
        return str(library.find_checkpoint_by_legacy_hash(model_hash, folders) or name)
    try:
        return str(library.find_named_checkpoint(name, folders))
    except TetradError as error:
        if renamed := library.find_checkpoint_by_legacy_hash(model_hash, folders):
            print_note(_("the model {name} is called {file} here, by its hash"), name=name, file=renamed.name)
            return str(renamed)
        template = _("{reason}; or give the model's file with --model")
        raise TetradError(error.code, template, reason=error.sentence) from error


def resolve_prediction_type(original: OriginalImage | None, model_path: Path) -> str:
    """What the original image's model was said to predict; "" if nothing was said, or if this is another model."""
    from tetrad import library
    from tetrad.generation import infotext

    if original is None:
        return ""
    expected_hash = original.infotext.parameters.get("Model hash", "")
    found_hash = library.get_file_hash(model_path)[:10] if model_path.is_file() else ""
    is_other_model = expected_hash != found_hash
    return "" if is_other_model else infotext.read_prediction_type(original.infotext)


def resolve_vae(original: OriginalImage | None) -> str:
    from tetrad.generation import reproduce

    return reproduce.read_vae(original.infotext) if original else "Automatic"


def save_images(
    pipeline: Any, requests: list[Any], batch_size: int, out: Path, on_first_infotext: Callable[[str], None]
) -> None:
    """Generate, save and print the path of each image; `on_first_infotext` is called with the first one's infotext."""
    from tetrad.images import png

    for number, result in enumerate(pipeline.generate(requests, batch_size, print_step)):
        print_progress("")
        path = find_unused_path(out) if number else choose_output_path(out)
        png.save_png(path, result.image, result.infotext)
        print_text(path)
        if number == 0:
            on_first_infotext(result.infotext)
    print_pipeline_warnings(pipeline)


def print_step(step: int, steps: int) -> None:
    print_progress(_("step {step}/{steps}"), step=step, steps=steps)


def print_differences(
    original: OriginalImage | None, new_infotext: str, changed_flags: set[str], model_path: Path
) -> None:
    """Warn on stderr about each way in which an image that was generated again differs from the original."""
    from tetrad import library
    from tetrad.generation import reproduce
    from tetrad.images.infotext import parse_infotext

    if not original:
        return
    model_hashes = library.list_file_hashes(model_path) if model_path.is_file() else set()
    for difference in reproduce.find_differences(
        original.infotext, parse_infotext(new_infotext), changed_flags, model_hashes
    ):
        print_warning(
            NOT_REPRODUCIBLE,
            _("{image} was not reproduced exactly: {difference}"),
            image=original.name,
            difference=difference,
        )
