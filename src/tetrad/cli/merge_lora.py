"""`tetrad merge lora`: combine LoRAs into one LoRA, or merge them into a checkpoint."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from tetrad.cli import lora_options, options
from tetrad.cli.terminal import announce_loading, print_json, print_note, print_text, show_progress
from tetrad.errors import TetradError
from tetrad.locales import Message, _, in_english, ngettext
from tetrad.paths import expand_path
from tetrad.weighted_files import LORA_PARTS, split_weights

HELP = _("Combine LoRAs into one LoRA, exactly or within a rank, or merge them into a checkpoint.")


def merge_lora(
    loras: Annotated[
        list[str],
        typer.Argument(
            metavar="LORA[:STRENGTH]...",
            help=_(
                "LoRAs of any kind with their strengths: a.safetensors:0.8, or a.safetensors:te=0.5:unet=1; a strength"
                " below 0 takes a LoRA out again"
            ),
        ),
    ],
    into: Annotated[
        str, typer.Option(help=_("Checkpoint file to merge them into, instead of making a LoRA"), show_default=False)
    ] = "",
    model: lora_options.Model = "",
    rank: lora_options.Rank = None,
    conv_rank: lora_options.ConvRank = None,
    energy: lora_options.Energy = None,
    max_size: lora_options.MaxSize = "",
    precision: lora_options.Precision = "",
    models_dir: options.ModelsDir = None,
    as_json: lora_options.Json = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help=_(".safetensors file to write; an existing file is not overwritten"),
            show_default=_("A-B-merged.safetensors"),
        ),
    ] = None,
) -> None:
    for text in loras:
        options.check_trained_file(split_weights(text, LORA_PARTS)[0], models_dir)
    if into or model:
        options.check_checkpoint(into or model, models_dir)
    announce_loading()
    from tetrad import library
    from tetrad.merging.lora_files import LoraChoice
    from tetrad.merging.lora_into_checkpoint import merge_loras_into
    from tetrad.merging.lora_merge import merge_loras

    folders = library.resolve_model_folders(models_dir)
    choices = [LoraChoice.parse(text, folders) for text in loras]
    checkpoint = library.find_checkpoint(into or model, folders) if into or model else None
    limits = lora_options.build_limits(rank, conv_rank, energy, max_size)
    if into:
        check_unlimited(limits, model)
    stems = [checkpoint.stem] if into and checkpoint else []
    stems += [choice.path.stem for choice in choices]
    out = expand_path(out or Path(f"{'-'.join(stems)}-merged.safetensors"))
    with ExitStack() as stack:

        def on_start(total: int) -> Callable[[], None]:
            template = ngettext("merging {count} LoRA", "merging {count} LoRAs", len(choices))
            return stack.enter_context(show_progress(Message(template), total))

        if into and checkpoint:
            merged = merge_loras_into(choices, checkpoint, out, precision=precision, on_start=on_start)
        else:
            report = merge_loras(choices, out, model=checkpoint, precision=precision, on_start=on_start, **limits)
    if not into:
        lora_options.print_report(report, as_json)
    elif as_json:
        print_json(in_english({"file": str(merged.path), "notes": merged.notes}))
    else:
        for note in merged.notes:
            print_note(note)
        print_text(merged.path)


def check_unlimited(limits: dict[str, float | None], model: str) -> None:
    """E5322 for options that have no effect where LoRAs are merged into a checkpoint."""
    given = [name for name, value in (*limits.items(), ("model", model or None)) if value is not None]
    if given:
        template = _("{option} has no effect with --into: a checkpoint takes every rank, and is the model itself")
        flags = {"conv_rank": "--conv-rank", "max_bytes": "--max-size"}
        raise TetradError("E5322", template, option=flags.get(given[0], f"--{given[0]}"))
