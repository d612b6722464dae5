"""Options of the commands that make a LoRA from other files, and their report."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from tetrad.cli.terminal import print_json, print_note, print_text
from tetrad.errors import TetradError
from tetrad.locales import Message, _, in_english, ngettext

if TYPE_CHECKING:
    from tetrad.merging.lora_output import LoraReport

Rank = Annotated[int | None, typer.Option(min=1, help=_("Largest rank of a layer"), show_default=False)]
ConvRank = Annotated[
    int | None, typer.Option(min=1, help=_("Largest rank of a 3×3 convolution"), show_default=_("that of --rank"))
]
Energy = Annotated[
    float | None,
    typer.Option(
        help=_(
            "Keep as few ranks as hold this share of each layer's change (of its squared norm), such as 0.9; 1: all"
        ),
        show_default=False,
    ),
]
MaxSize = Annotated[
    str,
    typer.Option(
        help=_("Keep the ranks that hold most of the change in a file of this size, such as 50MB"), show_default=False
    ),
]
Model = Annotated[
    str,
    typer.Option(
        help=_("Their checkpoint, which a DoRA and an OFT need, and any model of unusual size"), show_default=False
    ),
]
Precision = Annotated[str, typer.Option(help=_("fp16, bf16 or fp32"), show_default=_("that of the files"))]
Json = Annotated[bool, typer.Option("--json", help=_("Print the report with every layer as one JSON object"))]
_SIZE = re.compile(r"(\d+\.?\d*|\.\d+)\s*([kmg]?)(i?)b?", re.IGNORECASE)
PART_TITLES = {"unet": _("U-Net"), "text_encoder": _("text encoder"), "text_encoder_2": _("second text encoder")}
SMALLEST_LOSS = 5e-5  # that is shown
_POWERS = {"k": 1, "m": 2, "g": 3, "": 2}


def parse_size(text: str) -> int | None:
    """50MB, 1.5 GiB, or 50 for megabytes, as bytes; None for "".  E5322 for anything else."""
    if not text:
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise TetradError("E5322", _("--max-size must be a size like 50MB; it is '{value}'"), value=text)
    unit = 1024.0 if match[3] else 1000.0
    return round(float(match[1]) * unit ** _POWERS[match[2].lower()])


def build_limits(
    rank: int | None, conv_rank: int | None, energy: float | None, max_size: str
) -> dict[str, float | None]:
    """What the options limit, as the functions of `merging` take it."""
    return {"rank": rank, "conv_rank": conv_rank, "energy": energy, "max_bytes": parse_size(max_size)}


def print_report(report: "LoraReport", notes: Iterable[Message], as_json: bool) -> None:
    """What each part of the model has lost, and what no LoRA holds, on stderr; the path, or all as JSON, on stdout."""
    if as_json:
        print_json(in_english({**report.as_record(), "notes": list(notes)}))
        return
    for part, layers in report.by_part().items():
        ranks = sorted({layer.rank for layer in layers})
        template = ngettext(
            "{part}: {count} layer of rank {ranks}; {lost} of its change is lost",
            "{part}: {count} layers of rank {ranks}; {lost} of their change is lost",
            len(layers),
        )
        shown = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} … {ranks[-1]}"
        lost = f"{report.lost_share(f'{part}.'):.2%}"
        print_note(Message(template, part=Message(PART_TITLES[part]), ranks=shown, lost=lost))
    worst = max(report.layers, key=lambda layer: layer.lost_share, default=None)
    if worst and worst.lost_share >= SMALLEST_LOSS:
        print_note(_("{layer} loses most of its change: {lost}"), layer=worst.path, lost=f"{worst.lost_share:.2%}")
    for kind, share in report.left_out_shares.items():
        print_note(
            _("{share} of the whole change is not in the LoRA: {kind}"), share=f"{share:.2%}", kind=Message(kind)
        )
    for note in notes:
        print_note(note)
    print_text(report.path)
