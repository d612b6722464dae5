"""`tetrad diff`: say what differs between two files of one type, and how much, by block."""

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Annotated

import typer

from tetrad.builtin import resolve_model_path
from tetrad.cli.terminal import announce_loading, print_json, print_text
from tetrad.given_paths import check_model_exists, missing_file_error
from tetrad.locales import Message, _, pad, translate

if TYPE_CHECKING:
    from tetrad.comparison import Difference

HELP = _("Compare two files of one type: what differs, and how much, by block.")
COLUMNS = (28, 10, 12)  # of the table: block, compared, different


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=_("Weight file, diffusers folder, or builtin"))],
    b: Annotated[str, typer.Argument(metavar="B", help=_("File or folder of the same type, in any format"))],
    base: Annotated[str, typer.Option(help=_("Checkpoint that two DoRA or OFT files are for"))] = "",
    as_json: Annotated[bool, typer.Option("--json", help=_("Print everything as one JSON object"))] = False,
) -> None:
    """Compare tensor by tensor; of two LoRAs the changes that they make, whatever their ranks and formats are."""
    for name in (a, b):
        if not (path := resolve_model_path(name)).exists():
            raise missing_file_error(path)
    if base:
        check_model_exists(base)
    announce_loading()
    from tetrad.comparison.diff import diff as compare

    difference = compare(a, b, base=base)
    if as_json:
        print_json(difference.as_record())
    else:
        for line in describe_difference(difference):
            print_text(line)


def describe_difference(difference: "Difference") -> Iterator[str | Message]:
    """The lines of a comparison for a terminal."""
    from tetrad.comparison.sentences import describe_rest, describe_sameness

    for side, path, title in zip("AB", difference.paths, difference.types, strict=True):
        yield Message(_("{side}: {path}, {type}"), side=side, path=path, type=title)
    if same := describe_sameness(difference):
        yield same
    else:
        yield from format_blocks(difference)
    yield from describe_rest(difference)


def format_blocks(difference: "Difference") -> Iterator[str]:
    """The table: how many tensors or layers of each block differ, and ‖A - B‖ / ‖A‖."""
    unit = _("layers") if difference.compares_changes else _("tensors")
    rows = [(translate(_("block")), translate(unit), translate(_("different")), "‖A - B‖ / ‖A‖")]
    blocks = [each for each in difference.blocks if each.different]
    total = difference.total
    total.block = Message(_("all"))
    for each in [*blocks, total]:
        rows.append((str(each.block), str(each.compared), str(each.different), format_share(each.relative)))
    for row in rows:
        cells = [pad(cell, width) for cell, width in zip(row, COLUMNS, strict=False)]
        yield f"  {''.join(cells)}{row[-1]}"


def format_share(share: float) -> str:
    """As a percentage; of a block that is zero in A there is none."""
    return f"{share:.3%}" if isfinite(share) else "∞"
