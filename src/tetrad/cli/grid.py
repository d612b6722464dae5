"""`tetrad grid`: an X/Y/Z plot, one sheet of a prompt with different settings."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tetrad.builtin import BUILTIN_NAME
from tetrad.cli import options
from tetrad.cli.flags import with_folder_flags
from tetrad.cli.generate import add_init_image
from tetrad.cli.output import choose_output_path, find_unused_path
from tetrad.cli.pipeline_notes import (
    print_device,
    print_doubt,
    print_pipeline_warnings,
    print_prompt_warnings,
    print_vae_choice,
)
from tetrad.cli.terminal import announce_loading, print_note, print_progress, print_text, print_warning
from tetrad.given_paths import check_init_files_exist, check_model_exists, explain_builtin_model
from tetrad.locales import _
from tetrad.paths import expand_path
from tetrad.settings.samplers import resolve_sampler_name

if TYPE_CHECKING:
    from tetrad.generation.xyz_axes import Axis, Cell

HELP = _("Generate a prompt with different settings (X/Y/Z plot).")
MISSING_CHARACTERS = "W3204"


@with_folder_flags
def grid(
    prompt: Annotated[str, typer.Argument(help=_("Prompt, with the networks it uses"))],
    x: Annotated[
        str,
        typer.Option(
            help=_(
                'What changes from column to column, like "steps: 10, 20, 30"; also seed, cfg scale, sampler,'
                " prompt-sr, lora, run, strength, model, vae, …"
            )
        ),
    ] = "networks: without, with",
    y: Annotated[
        str,
        typer.Option(help=_('What changes from row to row; a semicolon combines axes, like "prompt: a, b; seed: 1-3"')),
    ] = "",
    z: Annotated[str, typer.Option(help=_("What changes from one block of rows to the next"))] = "",
    model: Annotated[str | None, typer.Option(help=options.MODEL_HELP, show_default="builtin")] = None,
    prediction_type: options.PredictionType = "",
    models_dir: options.ModelsDir = None,
    negative_prompt: Annotated[str, typer.Option(help=options.NEGATIVE_PROMPT_HELP)] = "",
    steps: Annotated[int, typer.Option(help=options.STEPS_HELP)] = 30,
    cfg_scale: Annotated[float, typer.Option(help=options.CFG_SCALE_HELP)] = 7.0,
    cfg_rescale: Annotated[float, typer.Option(help=options.CFG_RESCALE_HELP)] = 0.0,
    sampler: Annotated[str, typer.Option(help=_("As for tetrad generate"))] = "DPM++ 2M",
    clip_skip: Annotated[int, typer.Option(help=options.CLIP_SKIP_HELP, show_default=options.MODEL_DEFAULT)] = 0,
    seed: Annotated[
        int, typer.Option(help=_("Seed of every image, unless an axis changes it; -1 for a random one"))
    ] = 0,
    width: Annotated[int, typer.Option(help=options.WIDTH_HELP, show_default=options.MODEL_DEFAULT)] = 0,
    height: Annotated[int, typer.Option(help=options.HEIGHT_HELP, show_default=options.MODEL_DEFAULT)] = 0,
    init_image: options.InitImage = None,
    denoising_strength: options.DenoisingStrength = None,
    mask: options.Mask = None,
    mask_blur: options.MaskBlur = None,
    vae: Annotated[str, typer.Option(help=options.VAE_HELP)] = "Automatic",
    vae_dir: options.VaeDir = None,
    device: options.Device = "auto",
    cell_width: Annotated[
        int, typer.Option(min=32, max=2048, help=_("Width of an image on the sheet in pixels"))
    ] = 256,
    batch_size: options.BatchSize = 4,
    title: Annotated[str, typer.Option(help=_("Title of the sheet"), show_default=_("the prompt"))] = "",
    out: options.OutputImage = Path("grid.png"),
    **folder_dirs: Path | None,
) -> None:
    """Generate X × Y × Z images, compose the sheet, and save it with the infotext of the first image and the axes."""
    out = expand_path(out)
    find_unused_path(out)
    resolve_sampler_name(sampler)
    check_init_files_exist(init_image, mask)
    check_model_exists(model or BUILTIN_NAME, may_be_name=True)
    announce_loading()
    from tetrad import library
    from tetrad.generation import infotext, xyz_axes
    from tetrad.generation.request import Request, resolve_seed
    from tetrad.images import png

    folders = library.resolve_model_folders(models_dir, vae_dir, **folder_dirs)
    request = Request(
        prompt, negative_prompt, resolve_seed(seed), steps, cfg_scale, sampler, width, height, clip_skip, cfg_rescale
    )
    if denoising_strength is not None:
        request = replace(request, denoising_strength=denoising_strength)
    request = add_init_image(request, None, init_image, mask, mask_blur, denoising_strength)
    axes = (parse_side(x, folders), parse_side(y, folders), parse_side(z, folders))
    cells = xyz_axes.expand_grid(
        xyz_axes.Cell(request, model or BUILTIN_NAME, vae), axes, lambda each: resolve_embeddings(each, folders)
    )
    all_cells = [each for level in cells for row in level for each in row]
    explanation = explain_builtin_model(BUILTIN_NAME)
    if explanation and model is None and any(each.model == BUILTIN_NAME for each in all_cells):
        print_note(explanation)
    print_device(device)
    results = generate_cells(all_cells, folders, device, batch_size, prediction_type)
    result_iterator = iter(results)
    image_grid = [[[next(result_iterator).image for _cell in row] for row in level] for level in cells]
    sheet = compose_sheet(image_grid, axes, title or prompt, cell_width)
    path = choose_output_path(out)
    png.save_png(
        path, sheet, infotext.format_grid_infotext(results[0].infotext, [(axis.name, axis.labels) for axis in axes])
    )
    warn_of_missing_characters(prompt + x + y + z + title)
    print_text(path)


def warn_of_missing_characters(text: str) -> None:
    """Warn on stderr where no installed font has the Chinese, Japanese or Korean characters of the labels."""
    from tetrad.images import fonts

    if not fonts.find_cjk_font() and any(map(fonts.needs_cjk_font, text)):
        print_warning(
            MISSING_CHARACTERS,
            _("no installed font has all characters of the labels; install {font}"),
            font="fonts-noto-cjk",
        )


def parse_side(text: str, folders: Any) -> "Axis":
    """What changes along one side of the sheet: an axis, or several with semicolons between them."""
    from tetrad.generation import xyz_axes

    if not text:
        return xyz_axes.EMPTY_AXIS
    return xyz_axes.combine_axes([parse_single_axis(each, folders) for each in xyz_axes.split_axes(text)])


def parse_single_axis(text: str, folders: Any) -> "Axis":
    """An axis; `run: NAME` is an axis of all the files that a run in the LoRA folder saved, in the order of steps."""
    from tetrad.generation import prompt_networks, xyz_axes

    name, _colon, rest = text.partition(":")
    if name.strip().lower() != "run":
        return xyz_axes.parse_axis(text)
    from tetrad import library

    artifact_type, names = library.list_run_files(rest.strip(), folders)
    tags = {artifact.type: artifact.prompt_tags[0] for artifact in prompt_networks.ARTIFACTS.values()}
    axis_name = tags.get(artifact_type, artifact_type if artifact_type in xyz_axes.AXES else "model")
    return xyz_axes.parse_axis(f"{axis_name}: " + ", ".join(f'"{each}"' for each in names))


def resolve_embeddings(cell: "Cell", folders: Any) -> "Cell":
    """The cell; with no embedding in its prompt, it joins the cells that may have one.  Raises for a missing file."""
    from tetrad.generation.pipeline import find_attachments

    uses_no_embedding = find_attachments(cell.request, folders) == find_attachments(
        cell.request, exclude_embeddings(folders)
    )
    return replace(cell, embeddings=True) if uses_no_embedding else cell


def exclude_embeddings(folders: Any) -> Any:
    return {**folders, "embedding": ()}


def generate_cells(
    cells: "list[Cell]", folders: Any, device: str, batch_size: int, prediction_type: str = ""
) -> list[Any]:
    """The images of all cells, in the cells' order; each model is loaded once."""
    from tetrad.generation.pipeline import Pipeline

    print_prompt_warnings([each.request for each in cells], {each.model for each in cells}, folders)
    results: dict[int, Any] = {}
    for model, vae in dict.fromkeys((each.model, each.vae) for each in cells):
        pipeline = Pipeline(model, folders, device, vae, prediction=prediction_type)
        print_vae_choice(pipeline)
        print_doubt(pipeline)
        for embeddings in (True, False):
            group = (model, vae, embeddings)
            indices = [n for n, each in enumerate(cells) if (each.model, each.vae, each.embeddings) == group]
            pipeline.folders = folders if embeddings else exclude_embeddings(folders)
            images = pipeline.generate([cells[index].request for index in indices], batch_size)
            for index, image in zip(indices, images, strict=True):
                results[index] = image
                print_progress(_("image {number}/{total}"), number=len(results), total=len(cells))
        print_progress("")
        print_pipeline_warnings(pipeline)
    return [results[index] for index in range(len(cells))]


def compose_sheet(
    image_grid: list[list[list[Any]]], axes: "tuple[Axis, Axis, Axis]", title: str, cell_width: int
) -> Any:
    """One sheet of all images, each `cell_width` pixels wide."""
    from tetrad.images import contact_sheet

    columns, rows, levels = (axis.labels for axis in axes)
    return contact_sheet.stack_sheets(
        [
            contact_sheet.make_contact_sheet(level, rows, columns, f"{title} · {label}" if label else title, cell_width)
            for level, label in zip(image_grid, levels, strict=True)
        ]
    )
