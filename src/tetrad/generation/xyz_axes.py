"""The axes of an X/Y/Z grid: parse `steps: 10, 20, 30`, and apply each value to a request."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from tetrad.errors import TetradError
from tetrad.generation.prompt_networks import NETWORK_TAGS, remove_networks, replace_network, replace_strengths
from tetrad.generation.request import Request, resolve_seed
from tetrad.generation.xyz_values import MAX_AXIS_VALUES, parse_numbers, parse_size, split_values
from tetrad.locales import _
from tetrad.settings.samplers import resolve_sampler_name

_MAX_GRID_IMAGES = 1000
_AXIS_SEPARATOR = " × "  # between the names of axes along one side
_NETWORK_AXES = ("strength", "networks")  # axes that change nothing without a network in the prompt


@dataclass(frozen=True)
class Cell:
    """One image of a grid: its request, its model and its VAE."""

    request: Request
    model: str = ""  # a name or path; "": the grid's own
    vae: str = ""
    embeddings: bool = True  # False: names of embeddings are plain words


_CellChange = Callable[[Cell], Cell]


@dataclass(frozen=True)
class _AxisValue:
    """One value of an axis: its label on the sheet and the change that it makes; lower priorities are applied first."""

    label: str
    change: _CellChange
    priority: int = 0
    parts: tuple["_AxisValue", ...] = ()  # the values that it combines, where one side has several axes


@dataclass(frozen=True)
class Axis:
    """The values along one side of a grid."""

    name: str
    values: tuple[_AxisValue, ...]

    @property
    def labels(self) -> list[str]:
        return [value.label for value in self.values]


EMPTY_AXIS = Axis("", (_AxisValue("", lambda cell: cell),))
CellGrid = list[list[list[Cell]]]  # indexed by z, y, x


def expand_grid(base_cell: Cell, axes: tuple[Axis, Axis, Axis], resolve_cell: _CellChange) -> CellGrid:
    """All combinations of the values of x, y and z, each passed through `resolve_cell`.

    E3241 where there are too many, where two axes have the same name, or where an axis changes nothing.
    """
    names = [name for axis in axes if axis.name for name in axis.name.split(_AXIS_SEPARATOR)]
    if duplicate := next((name for name in names if names.count(name) > 1), ""):
        raise TetradError(
            "E3241", _('two axes of this grid are "{axis}"; an image can have only one value of it'), axis=duplicate
        )
    x_values, y_values, z_values = (axis.values for axis in axes)
    if (image_count := len(x_values) * len(y_values) * len(z_values)) > _MAX_GRID_IMAGES:
        raise TetradError(
            "E3241",
            _("this grid has {images} images and at most {limit} are allowed; give fewer values"),
            images=image_count,
            limit=_MAX_GRID_IMAGES,
        )
    cells = [[[resolve_cell(apply_values(base_cell, i, j, k)) for i in x_values] for j in y_values] for k in z_values]
    _check_axes_change_cells(axes, cells)
    return cells


def _check_axes_change_cells(axes: tuple[Axis, Axis, Axis], cells: CellGrid) -> None:
    """E3241 where all values of an axis give the same cells."""
    slices = (
        [[row[i] for level in cells for row in level] for i in range(len(axes[0].values))],
        [[cell for level in cells for cell in level[j]] for j in range(len(axes[1].values))],
        [[cell for row in level for cell in row] for level in cells],
    )
    for axis, axis_slices in zip(axes, slices, strict=True):
        if len(axis_slices) > 1 and all(line == axis_slices[0] for line in axis_slices):
            if axis.name in _NETWORK_AXES:
                template = _(
                    'the axis "{axis}" changes nothing because the prompt has no network; add one, or give another axis'
                )
            else:
                template = _(
                    'the axis "{axis}" changes nothing because all its values give the same image; give other values'
                )
            raise TetradError("E3241", template, axis=axis.name)


def apply_values(cell: Cell, *values: _AxisValue) -> Cell:
    """A cell with a value of each axis applied, in the order of AXES: networks first, then their strengths."""
    single_values = [part for value in values for part in value.parts or (value,)]
    for value in sorted(single_values, key=lambda each: each.priority):
        cell = value.change(cell)
    return cell


def split_axes(text: str) -> list[str]:
    """Split the axes of one side, `prompt: a, b; seed: 1, 2`, at the semicolons between them."""
    names = "|".join(name.replace(" ", "[ _-]") for name in (*AXES, "run"))
    return re.split(rf"\s*;\s*(?=(?:{names})\s*:)", text, flags=re.IGNORECASE)


def combine_axes(axes: Sequence[Axis]) -> Axis:
    """Several axes along one side: all combinations of their values; the last axis changes fastest."""
    if len(axes) == 1:
        return axes[0]
    combinations = product(*(axis.values for axis in axes))
    axis_values = [
        _AxisValue(", ".join(each.label for each in parts), lambda cell: cell, parts=parts) for parts in combinations
    ]
    return Axis(_AXIS_SEPARATOR.join(axis.name for axis in axes), tuple(axis_values))


def parse_axis(text: str) -> Axis:
    """Parse `name: values`.  E3241 where it cannot be read."""
    name, colon, rest = text.partition(":")
    name = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    if not colon or name not in AXES:
        raise TetradError(
            "E3241",
            _('"{text}" is not an axis; did you mean "{nearest}: …"? The axes are {known}'),
            text=text,
            nearest=difflib.get_close_matches(name, AXES, n=1, cutoff=0.0)[0],
            known=", ".join(AXES),
        )
    entries = AXES[name](split_values(rest))
    if not entries:
        raise TetradError(
            "E3241",
            _('the axis "{axis}" has no values; separate them with commas, such as "steps: 10, 20"'),
            axis=name,
        )
    if len(entries) > MAX_AXIS_VALUES:
        raise TetradError(
            "E3241", _('the axis "{axis}" has more than {limit} values; give fewer'), axis=name, limit=MAX_AXIS_VALUES
        )
    priority = list(AXES).index(name)
    return Axis(
        name,
        tuple(
            _AxisValue(label if name in _SELF_EXPLANATORY_AXES else f"{name} {label}", change, priority)
            for label, change in entries
        ),
    )


_AxisEntries = list[tuple[str, _CellChange]]  # labels and what they change


def _set_numbers(field: str, number_type: type) -> Callable[[Sequence[str]], _AxisEntries]:
    def parse_entries(texts: Sequence[str]) -> _AxisEntries:
        return [
            (f"{number:g}" if number_type is float else str(number), _set_fields({field: number}))
            for number in parse_numbers(texts, number_type)
        ]

    return parse_entries


def _set_seeds(texts: Sequence[str]) -> _AxisEntries:
    return [(str(seed), _set_fields({"seed": seed})) for seed in map(resolve_seed, parse_numbers(texts, int))]


def _set_denoising(texts: Sequence[str]) -> _AxisEntries:
    """Denoising strengths.  E3206 where there is no init image."""

    def change(number: float) -> _CellChange:
        def apply(cell: Cell) -> Cell:
            if cell.request.init_image is None:
                raise TetradError(
                    "E3206", _('the axis "denoising" needs an image to start from; give one with --init-image')
                )
            return _set_fields({"denoising_strength": number})(cell)

        return apply

    return [(f"{number:g}", change(number)) for number in parse_numbers(texts, float)]


def _set_fields(fields: dict[str, Any]) -> _CellChange:
    return lambda cell: replace(cell, request=replace(cell.request, **fields))


def _set_texts(field: str) -> Callable[[Sequence[str]], _AxisEntries]:
    return lambda texts: [(text, _set_fields({field: text})) for text in texts]


def _set_samplers(texts: Sequence[str]) -> _AxisEntries:
    return [(name, _set_fields({"sampler": name})) for name in map(resolve_sampler_name, texts)]


def _set_sizes(texts: Sequence[str]) -> _AxisEntries:
    return [(text, _set_fields(dict(zip(("width", "height"), parse_size(text), strict=True)))) for text in texts]


def _search_and_replace(index: int) -> Callable[[Sequence[str]], _AxisEntries]:
    """A1111's prompt S/R: the value at `index` is searched for in both prompts and replaced by each value."""

    def change(old: str, new: str) -> _CellChange:
        def apply(cell: Cell) -> Cell:
            request = cell.request
            if old not in request.prompt and old not in request.negative_prompt:
                raise TetradError(
                    "E3241",
                    _('the text to replace, "{text}", is in neither the prompt nor the negative prompt'),
                    text=old,
                )
            prompt, negative_prompt = (each.replace(old, new) for each in (request.prompt, request.negative_prompt))
            return replace(cell, request=replace(request, prompt=prompt, negative_prompt=negative_prompt))

        return apply

    return lambda texts: [(text, change(texts[index], text)) for text in texts]


def _set_networks(tag: str) -> Callable[[Sequence[str]], _AxisEntries]:
    """Replace the prompt's first network of this type, or append it; the name `none` removes it."""

    def change(name: str) -> _CellChange:
        new_name = "" if name.lower() == "none" else name
        return lambda cell: _with_prompt(cell, replace_network(cell.request.prompt, tag, new_name))

    return lambda texts: [(name, change(name)) for name in texts]


def _set_strengths(texts: Sequence[str]) -> _AxisEntries:
    """Set the strength of every network in the prompt."""

    def change(strength: float) -> _CellChange:
        return lambda cell: _with_prompt(cell, replace_strengths(cell.request.prompt, strength))

    return [(f"{number:g}", change(number)) for number in parse_numbers(texts, float)]


def _toggle_networks(texts: Sequence[str]) -> _AxisEntries:
    """`without, with`: the prompt without its networks (and names of embeddings as plain words), and as it is."""

    def remove(cell: Cell) -> Cell:
        return replace(_with_prompt(cell, remove_networks(cell.request.prompt)), embeddings=False)

    changes: dict[str, _CellChange] = {"without": remove, "with": lambda cell: cell}
    if unknown_values := [text for text in texts if text not in changes]:
        raise TetradError(
            "E3241",
            _('"{text}" is not a value of the axis "networks"; write "networks: without, with"'),
            text=unknown_values[0],
        )
    return [(text, changes[text]) for text in texts]


def _with_prompt(cell: Cell, prompt: str) -> Cell:
    return replace(cell, request=replace(cell.request, prompt=prompt))


def _set_files(field: str) -> Callable[[Sequence[str]], _AxisEntries]:
    def use_file(name: str) -> _CellChange:
        return lambda cell: replace(cell, model=name) if field == "model" else replace(cell, vae=name)

    return lambda texts: [(name, use_file(name)) for name in texts]


AXES: dict[str, Callable[[Sequence[str]], _AxisEntries]] = {
    "prompt": _set_texts("prompt"),
    "prompt sr": _search_and_replace(0),
    "embedding": _search_and_replace(-1),  # the last value is the run's final file, whose name is in the prompt
    "negative prompt": _set_texts("negative_prompt"),
    "seed": _set_seeds,
    "steps": _set_numbers("steps", int),
    "cfg scale": _set_numbers("cfg_scale", float),
    "cfg rescale": _set_numbers("cfg_rescale", float),
    "sampler": _set_samplers,
    "clip skip": _set_numbers("clip_skip", int),
    "size": _set_sizes,
    "denoising": _set_denoising,
    "model": _set_files("model"),
    "vae": _set_files("vae"),
    **{tag: _set_networks(tag) for tag in NETWORK_TAGS},
    "strength": _set_strengths,
    "networks": _toggle_networks,
}
# The values of these axes are clear without the axis name in the label.
_SELF_EXPLANATORY_AXES = {
    *("prompt", "prompt sr", "embedding", "negative prompt", "sampler", "size", "model", "networks"),
    *NETWORK_TAGS,
}
