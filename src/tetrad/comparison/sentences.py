"""Sentences about what differs between two files, besides the table of blocks."""

from collections.abc import Iterator

from tetrad.comparison.result import Difference
from tetrad.locales import Message, _, ngettext

_SHOWN_NAMES, _SHOWN_CHARACTERS = 3, 60


def describe_sameness(difference: Difference) -> Message | None:
    """That the files are the same, or their weights; None where they differ."""
    if difference.is_identical:
        return Message(_("The files are the same, byte for byte."))
    if not difference.has_same_weights:
        return None
    if difference.compares_changes:
        return Message(_("Both files change every layer in the same way."))
    return Message(_("The weights are the same: every tensor of A has the same values in B."))


def describe_rest(difference: Difference) -> Iterator[Message]:
    """Tensors that only one file has, other shapes and dtypes, metadata that differ, and notes."""
    if difference.is_identical:
        return
    yield from _describe_names(difference)
    yield from _describe_metadata(difference)
    yield from difference.notes


def _describe_names(difference: Difference) -> Iterator[Message]:
    """Tensors that only one file has, and those of other shapes or dtypes."""
    for side, names in zip("AB", difference.only_in, strict=True):
        if names:
            template = ngettext(
                "only in {side}: {count} tensor ({names})", "only in {side}: {count} tensors ({names})", len(names)
            )
            yield Message(template, side=side, names=_list_names(names))
    if shapes := difference.shapes:
        template = ngettext(
            "{count} tensor has another shape: {name} is {a} in A and {b} in B",
            "{count} tensors have another shape: {name} is {a} in A and {b} in B, …",
            len(shapes),
        )
        name, (shape, other) = next(iter(shapes.items()))
        yield Message(template, name=name, a=shape, b=other)
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
        yield Message(template, names=_list_names(names))


def _describe_metadata(difference: Difference) -> Iterator[Message]:
    """The metadata that differ, one line for each key."""
    for key, (first, second) in difference.metadata.items():
        values = {"key": key, "a": _shorten(first or ""), "b": _shorten(second or "")}
        if second is None:
            yield Message(_("metadata only in A: {key} = {a}"), **values)
        elif first is None:
            yield Message(_("metadata only in B: {key} = {b}"), **values)
        else:
            yield Message(_("metadata {key}: {a} in A, {b} in B"), **values)


def _list_names(names: list[str]) -> str:
    return ", ".join([*names[:_SHOWN_NAMES], *["…"] * (len(names) > _SHOWN_NAMES)])


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
