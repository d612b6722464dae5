"""`tetrad diff`: say what differs between two files of one type, and how much, by block."""

from collections.abc import Iterator
from math import isfinite
from typing import TYPE_CHECKING, Annotated

import typer

from tetrad.builtin import resolve_model_path
from tetrad.cli.terminal import announce_loading, print_json, print_text
from tetrad.given_paths import check_model_exists, missing_file_error
from tetrad.locales import Message, _, ngettext, pad, translate

if TYPE_CHECKING:
    from tetrad.comparison import Difference

HELP = _("Compare two files of one type: what differs, and how much, by block.")
SHOWN_NAMES, SHOWN_CHARACTERS = 3, 60
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
    for side, path, title in zip("AB", difference.paths, difference.types, strict=True):
        yield Message(_("{side}: {path}, {type}"), side=side, path=path, type=title)
    if difference.is_identical:
        yield Message(_("The files are the same, byte for byte."))
        return
    if difference.has_same_weights:
        template = _("The weights are the same: every tensor of A has the same values in B.")
        changes = _("Both files change every layer in the same way.")
        yield Message(changes if difference.compares_changes else template)
    else:
        yield from format_blocks(difference)
    yield from describe_names(difference)
    yield from describe_metadata(difference)
    yield from difference.notes


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


def describe_names(difference: "Difference") -> Iterator[Message]:
    """Tensors that only one file has, and those of other shapes or dtypes."""
    for side, names in zip("AB", difference.only_in, strict=True):
        if names:
            template = ngettext(
                "only in {side}: {count} tensor ({names})", "only in {side}: {count} tensors ({names})", len(names)
            )
            yield Message(template, side=side, names=list_names(names))
    if shapes := difference.shapes:
        template = ngettext(
            "{count} tensor has another shape: {name} is {a} in A and {b} in B",
            "{count} tensors have another shape: {name} is {a} in A and {b} in B, …",
            len(shapes),
        )
        name, (first, second) = next(iter(shapes.items()))
        yield Message(template, name=name, a=first, b=second)
    for (first, second), count in difference.dtypes.items():
        template = ngettext(
            "{count} tensor is {a} in A and {b} in B", "{count} tensors are {a} in A and {b} in B", count
        )
        yield Message(template, a=first, b=second)
    if names := difference.not_finite:
        template = ngettext(
            "{count} tensor contains NaN or Inf, so it is not compared: {names}",
            "{count} tensors contain NaN or Inf, so they are not compared: {names}",
            len(names),
        )
        yield Message(template, names=list_names(names))


def describe_metadata(difference: "Difference") -> Iterator[Message]:
    """The metadata that differ, one line for each key."""
    for key, (first, second) in difference.metadata.items():
        values = {"key": key, "a": shorten(first or ""), "b": shorten(second or "")}
        if second is None:
            yield Message(_("metadata only in A: {key} = {a}"), **values)
        elif first is None:
            yield Message(_("metadata only in B: {key} = {b}"), **values)
        else:
            yield Message(_("metadata {key}: {a} in A, {b} in B"), **values)


def list_names(names: list[str]) -> str:
    return ", ".join([*names[:SHOWN_NAMES], *["…"] * (len(names) > SHOWN_NAMES)])


def shorten(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
