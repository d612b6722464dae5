"""`tetrad convert`: write a file in another format, and say what that format cannot hold."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tetrad.builtin import resolve_model_path
from tetrad.cli.terminal import announce_loading, print_note, print_progress, print_text
from tetrad.event_file import ProgressRecord
from tetrad.given_paths import check_model_exists, missing_file_error
from tetrad.locales import Message, _

HELP = _("Write a checkpoint, LoRA, embedding or hypernetwork in another format.")


def convert(
    file: Annotated[str, typer.Argument(help=_("Weight file, image with an embedding, diffusers folder, or builtin"))],
    to: Annotated[
        str,
        typer.Option(
            help=_(
                "Format: safetensors, ckpt or diffusers for a checkpoint; kohya, diffusers or lycoris for a LoRA;"
                " safetensors, pt or png for an embedding; kohya or diffusers to make a hypernetwork a LoRA"
            ),
            show_default=_("by the name after --out"),
        ),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help=_("File or folder to write; an existing one is not overwritten"),
            show_default=_("the file's name with the format's ending"),
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help=_("fp32, fp16, bf16 or fp8 (e4m3)"), show_default=_("that of the file"))
    ] = "",
    ema: Annotated[str, typer.Option(help=_("EMA weights of a checkpoint: keep, drop, or use instead"))] = "keep",
    model: Annotated[
        str, typer.Option(help=_("Base model, for hypernetworks and for DoRA and OFT as plain LoRAs"))
    ] = "",
    rank: Annotated[
        int, typer.Option(help=_("Rank of the new LoRA"), min=0, show_default=_("as large as it needs to be"))
    ] = 0,
    strength: Annotated[float, typer.Option(help=_("Strength of the hypernetwork that becomes a LoRA"))] = 1.0,
    prompts: Annotated[
        Path | None,
        typer.Option(help=_("Text file with prompts, on which a LoRA imitates a hypernetwork that is not linear")),
    ] = None,
    bundle: Annotated[
        list[Path] | None, typer.Option(help=_("Embedding to put into the LoRA; may be repeated"))
    ] = None,
    split: Annotated[
        bool, typer.Option("--split", help=_("Write the embeddings in a LoRA as files beside the result"))
    ] = False,
    image: Annotated[Path | None, typer.Option(help=_("Image into which the embedding is put"))] = None,
    prediction_type: Annotated[str, typer.Option(help=_("epsilon or v, where the checkpoint does not say"))] = "",
) -> None:
    for each in (file, *filter(None, (prompts, image)), *(bundle or ())):
        if not (path := resolve_model_path(each)).exists():
            raise missing_file_error(path)
    if model:
        check_model_exists(model)
    announce_loading()
    from tetrad.conversion import convert as conversion

    result = conversion.convert(
        file,
        to,
        out,
        on_progress=_make_progress(Message(_("converting {file}"), file=Path(file).name)),
        precision=precision,
        ema=ema,
        model=model,
        rank=rank,
        strength=strength,
        prompts=prompts,
        bundle=tuple(bundle or ()),
        split=split,
        image=image,
        prediction_type=prediction_type,
    )
    for note in result.notes:
        print_note(note)
    for path in result.paths:
        print_text(path)


def _make_progress(title: Message) -> Callable[[int, int], None]:
    """A function that shows and records how much is done."""
    record: list[ProgressRecord] = []

    def show(done: int, total: int) -> None:
        if not record or record[0].total != total:
            record[:] = [ProgressRecord(title, total)]
        record[0].show(done)
        print_progress(_("{done} of {total}") if done < total else "", done=done, total=total)

    return show
