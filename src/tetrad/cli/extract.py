"""`tetrad extract lora`: a LoRA from the difference of two checkpoints."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from tetrad.cli import lora_options, options
from tetrad.cli.terminal import announce_loading, print_note, show_progress
from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.paths import expand_path

app = typer.Typer(
    help=_("Make a LoRA from the difference of two checkpoints."), no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def callback() -> None: ...


@app.command("lora", help=_("Make a LoRA from the difference between a tuned checkpoint and its base."))
def extract_lora(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[BASE] TUNED",
            help=_(
                "The base and the tuned checkpoint; or only the tuned one or the folder of its run, where these say"
                " what the base is"
            ),
        ),
    ],
    rank: Annotated[
        int | None, typer.Option(min=1, help=_("Largest rank of a layer"), show_default=_("32, or any with --energy"))
    ] = None,
    conv_rank: lora_options.ConvRank = None,
    convolutions: Annotated[
        bool, typer.Option(help=_("Extract 3×3 convolutions too (LoCon); they often hold most of the change"))
    ] = True,
    energy: lora_options.Energy = None,
    max_size: lora_options.MaxSize = "",
    precision: Annotated[str, typer.Option(help=_("fp16, bf16 or fp32"))] = "fp16",
    models_dir: options.ModelsDir = None,
    as_json: lora_options.Json = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help=_(".safetensors file to write; an existing file is not overwritten"),
            show_default=_("TUNED-lora.safetensors"),
        ),
    ] = None,
) -> None:
    if len(models) > 2:
        template = _("a LoRA is extracted from two checkpoints, BASE and TUNED, not from {count}")
        raise TetradError("E2001", template, count=len(models))
    for name in models:
        options.check_checkpoint(name, models_dir)
    announce_loading()
    from tetrad import library
    from tetrad.merging.lora_extraction import extract_lora
    from tetrad.run import find_base_model

    folders = library.resolve_model_folders(models_dir)
    if len(models) == 1:
        base, tuned = find_base_model(models[0], folders)
        print_note(_("the base of {tuned} is {base}"), tuned=tuned.name, base=base)
    else:
        base, tuned = (library.find_checkpoint(name, folders) for name in models)
    out = expand_path(out or Path(f"{tuned.name if tuned.is_dir() else tuned.stem}-lora.safetensors"))
    limits = lora_options.build_limits(rank, conv_rank, energy, max_size)
    with ExitStack() as stack:
        report = extract_lora(
            base,
            tuned,
            out,
            convolutions=convolutions,
            precision=precision,
            on_start=lambda total: stack.enter_context(show_progress(Message(_("extracting a LoRA")), total)),
            **limits,
        )
    lora_options.print_report(report, as_json)
