"""Options of the commands that make a LoRA from other files, and their report."""

import re
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
_SIZE = re.compile(r"(\d+\.?\d*|\.\d+)\s*([kmg]?)(i?)(b?)", re.IGNORECASE)
PART_TITLES = {"unet": _("U-Net"), "text_encoder": _("text encoder"), "text_encoder_2": _("second text encoder")}
SMALLEST_ERROR = 5e-5  # that is shown
_POWERS = {"b": 0, "k": 1, "m": 2, "g": 3, "": 2}
# Of what no LoRA holds: the kinds of `LoraReport.left_out`.
_KIND_TITLES = {
    "biases": _("biases"),
    "convolutions": _("convolutions"),
    "norms": _("norms"),
    "other layers": _("other layers"),
}


def parse_size(text: str) -> int | None:
    """50MB, 1.5 GiB, or 50 for megabytes, as bytes; None for "".  E5322 for anything else."""
    if not text:
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise TetradError("E5322", _("--max-size must be a size like 50MB; it is '{value}'"), value=text)
    unit = 1024.0 if match[3] else 1000.0
    return round(float(match[1]) * unit ** _POWERS[(match[2] or match[4]).lower()])


def build_limits(
    rank: int | None, conv_rank: int | None, energy: float | None, max_size: str
) -> dict[str, float | None]:
    """What the options limit, as the functions of `merging` take it."""
    return {"rank": rank, "conv_rank": conv_rank, "energy": energy, "max_bytes": parse_size(max_size)}


def print_report(report: "LoraReport", as_json: bool) -> None:
    """What each part of the model has lost, and what no LoRA holds, on stderr; the path, or all as JSON, on stdout."""
    if as_json:
        print_json(in_english(report.as_record()))
        return
    for part, layers in report.by_part().items():
        ranks = sorted({layer.rank for layer in layers})
        template = ngettext(
            "{part}: {count} layer of rank {ranks} keeps {energy} of the energy of its change (error {error})",
            "{part}: {count} layers of rank {ranks} keep {energy} of the energy of their change (error {error})",
            len(layers),
        )
        shown, error = str(ranks[0]) if len(ranks) == 1 else f"{ranks[0]} … {ranks[-1]}", report.error(f"{part}.")
        values = {"part": Message(PART_TITLES[part]), "energy": f"{1 - error**2:.2%}", "error": f"{error:.2%}"}
        print_note(Message(template, ranks=shown, **values))
    worst = max(report.layers, key=lambda layer: layer.error, default=None)
    if worst and worst.error >= SMALLEST_ERROR:
        print_note(_("the largest error is that of {layer}, {error}"), layer=worst.path, error=f"{worst.error:.2%}")
    if empty := sum(not layer.rank for layer in report.layers):
        template = ngettext(
            "{count} layer is left out", "{count} layers are left out, since other layers hold more", empty
        )
        print_note(Message(template))
    for kind, share in report.left_out_shares.items():
        template_of_kind = _("{kind}: not in the LoRA, with {share} of the energy of the whole change")
        print_note(template_of_kind, kind=Message(_KIND_TITLES[kind]), share=f"{share:.2%}")
    for note in report.notes:
        print_note(note)
    print_text(report.path)
