"""`tetrad resize`: a LoRA with lower ranks."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from tetrad.cli import lora_options, options
from tetrad.cli.terminal import announce_loading, show_progress
from tetrad.locales import Message, _
from tetrad.paths import expand_path

HELP = _("Make a LoRA smaller: by rank, energy or file size; a LoHa, LoKr, DoRA or OFT becomes a plain LoRA.")


def resize(
    lora: Annotated[str, typer.Argument(help=_("LoRA of any kind, or its name in --models-dir"))],
    rank: lora_options.Rank = None,
    conv_rank: lora_options.ConvRank = None,
    energy: lora_options.Energy = None,
    max_size: lora_options.MaxSize = "",
    model: lora_options.Model = "",
    precision: lora_options.Precision = "",
    models_dir: options.ModelsDir = None,
    as_json: lora_options.Json = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help=_(".safetensors file to write; an existing file is not overwritten"),
            show_default=_("LORA-resized.safetensors"),
        ),
    ] = None,
) -> None:
    options.check_trained_file(lora, models_dir)
    if model:
        options.check_checkpoint(model, models_dir)
    announce_loading()
    from tetrad import library
    from tetrad.merging.lora_files import find_lora
    from tetrad.merging.lora_resize import resize_lora

    folders = library.resolve_model_folders(models_dir)
    path = find_lora(lora, folders)
    checkpoint = library.find_checkpoint(model, folders) if model else None
    limits = lora_options.build_limits(rank, conv_rank, energy, max_size)
    with ExitStack() as stack:
        report = resize_lora(
            path,
            expand_path(out or Path(f"{path.stem}-resized.safetensors")),
            model=checkpoint,
            precision=precision,
            on_start=lambda total: stack.enter_context(show_progress(Message(_("resizing a LoRA")), total)),
            **limits,
        )
    lora_options.print_report(report, as_json)
