"""The axes of a grid: `steps: 10, 20, 30` and what each value does to a request."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from tetrad.diffusion.samplers import check_sampler
from tetrad.errors import TetradError
from tetrad.generation.prompts import KINDS, NETWORK
from tetrad.generation.ranges import MOST, numbers, values
from tetrad.generation.request import Request, any_seed

MOST_PICTURES = 1000  # of a grid
TIMES = " × "  # between the names of axes along one side
OF_NETWORKS = ("strength", "networks")  # axes that need some in the prompt


@dataclass(frozen=True)
class Cell:
    """One picture of a grid: how it is drawn, and by what."""

    request: Request
    model: str = ""  # as it is named; "" for the grid's own
    vae: str = ""
    embeddings: bool = True  # whether the words that embeddings are called by stand for them


Change = Callable[[Cell], Cell]


@dataclass(frozen=True)
class Value:
    """One place along a side: what is written there, what it does, and after which others it does it."""

    words: str
    change: Change
    rank: int = 0
    parts: tuple["Value", ...] = ()  # of which it is made, where it is one of several axes along one side


@dataclass(frozen=True)
class Axis:
    """What changes along one side of a grid."""

    name: str
    values: tuple[Value, ...]

    @property
    def words(self) -> list[str]:
        return [value.words for value in self.values]


NOTHING = Axis("", (Value("", lambda cell: cell),))
Cells = list[list[list[Cell]]]  # by the values of z, of y, of x


def crossings(start: Cell, axes: tuple[Axis, Axis, Axis], settled: Change) -> Cells:
    """Every crossing of x, y and z, each settled.

    E3241 where there are too many, where two axes are one, or where an axis changes nothing.
    """
    names = [name for axis in axes if axis.name for name in axis.name.split(TIMES)]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise TetradError("E3241", f'two axes of this grid are "{twice}", and a picture can have one value of it')
    right, across, down = (axis.values for axis in axes)
    if (count := len(right) * len(across) * len(down)) > MOST_PICTURES:
        raise TetradError("E3241", f"this grid has {count} pictures, {MOST_PICTURES} are the most; give fewer values")
    cells = [[[settled(crossed(start, i, j, k)) for i in right] for j in across] for k in down]
    along = (
        [[row[i] for level in cells for row in level] for i in range(len(right))],
        [[cell for level in cells for cell in level[j]] for j in range(len(across))],
        [[cell for row in level for cell in row] for level in cells],
    )
    for axis, lines in zip(axes, along, strict=True):
        if len(lines) > 1 and all(line == lines[0] for line in lines):
            why = "the prompt names no network" if axis.name in OF_NETWORKS else "its values come to the same"
            raise TetradError("E3241", f'the axis "{axis.name}" changes nothing: {why}; give another with --x')
    return cells


def crossed(cell: Cell, *values: Value) -> Cell:
    """A cell under a value of each axis, in the order of AXES: a strength is for the network that is named there."""
    single = [part for value in values for part in value.parts or (value,)]
    for value in sorted(single, key=lambda each: each.rank):
        cell = value.change(cell)
    return cell


def parted(text: str) -> list[str]:
    """The axes along one side, `prompt: a, b; seed: 1, 2`, each as it is typed."""
    names = "|".join(name.replace(" ", "[ _-]") for name in (*AXES, "run"))
    return re.split(rf"\s*;\s*(?=(?:{names})\s*:)", text, flags=re.IGNORECASE)


def together(along: Sequence[Axis]) -> Axis:
    """Several axes along one side: every crossing of their values, the last changing first."""
    if len(along) == 1:
        return along[0]
    crossings = product(*(axis.values for axis in along))
    made = [Value(", ".join(each.words for each in parts), lambda cell: cell, parts=parts) for parts in crossings]
    return Axis(TIMES.join(axis.name for axis in along), tuple(made))


def axis(text: str) -> Axis:
    """`name: values` as it is typed.  E3241 where it cannot be read."""
    name, colon, rest = text.partition(":")
    name = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    if not colon or name not in AXES:
        near = difflib.get_close_matches(name, AXES, n=1, cutoff=0.0)[0]
        raise TetradError("E3241", f'{text!r} is no axis; did you mean "{near}: …"? There are {", ".join(AXES)}')
    made = AXES[name](values(rest))
    if not made:
        raise TetradError(
            "E3241", f'the axis "{name}" has no values; write them with commas between, like "steps: 10, 20"'
        )
    if len(made) > MOST:
        raise TetradError("E3241", f'the axis "{name}" has {len(made)} values; {MOST} are the most')
    rank = list(AXES).index(name)
    return Axis(
        name, tuple(Value(label if name in TOLD else f"{name} {label}", change, rank) for label, change in made)
    )


Made = list[tuple[str, Change]]


def setting(field: str, kind: type) -> Callable[[Sequence[str]], Made]:
    def made(texts: Sequence[str]) -> Made:
        return [
            (f"{number:g}" if kind is float else str(number), put({field: number})) for number in numbers(texts, kind)
        ]

    return made


def seeds(texts: Sequence[str]) -> Made:
    return [(str(seed), put({"seed": seed})) for seed in map(any_seed, numbers(texts, int))]


def redrawn(texts: Sequence[str]) -> Made:
    """How much is drawn anew of the picture that drawing begins from.  E3206 where there is none."""

    def change(number: float) -> Change:
        def changed(cell: Cell) -> Cell:
            if cell.request.start is None:
                raise TetradError(
                    "E3206", "denoising is for a picture to draw over, and there is none; give it with --image"
                )
            return put({"strength": number})(cell)

        return changed

    return [(f"{number:g}", change(number)) for number in numbers(texts, float)]


def put(fields: dict[str, Any]) -> Change:
    return lambda cell: replace(cell, request=replace(cell.request, **fields))


def words(field: str) -> Callable[[Sequence[str]], Made]:
    return lambda texts: [(text, put({field: text})) for text in texts]


def samplers(texts: Sequence[str]) -> Made:
    return [(name, put({"sampler": name})) for name in map(check_sampler, texts)]


def sizes(texts: Sequence[str]) -> Made:
    made: Made = []
    for text in texts:
        width, _, height = text.lower().replace("×", "x").partition("x")
        if not (width.strip().isdigit() and height.strip().isdigit()):
            raise TetradError("E3241", f"{text!r} is no size; write 512x768")
        made.append((text, put({"width": int(width), "height": int(height)})))
    return made


def replaced(place: int) -> Callable[[Sequence[str]], Made]:
    """A1111's prompt S/R: the text at a place among the values is looked for in both prompts, and replaced by each."""

    def change(old: str, new: str) -> Change:
        def changed(cell: Cell) -> Cell:
            request = cell.request
            if old not in request.prompt + request.negative:
                raise TetradError("E3241", f"{old!r}, in whose place others are to be put, is in neither prompt")
            prompt, negative = (each.replace(old, new) for each in (request.prompt, request.negative))
            return replace(cell, request=replace(request, prompt=prompt, negative=negative))

        return changed

    return lambda texts: [(text, change(texts[place], text)) for text in texts]


def networks(tag: str) -> Callable[[Sequence[str]], Made]:
    """Each name in the place of the prompt's first network of a kind, or behind it all; `none` takes it out."""

    def named(name: str) -> Change:
        def changed(cell: Cell) -> Cell:
            prompt, asked = cell.request.prompt, "" if name.lower() == "none" else name
            for found in NETWORK.finditer(prompt):
                if KINDS.get(found[1]) == KINDS[tag]:
                    rest = found[2].partition(":")[1:]
                    said = f"<{tag}:{asked}{''.join(rest)}>" if asked else ""
                    return with_prompt(cell, prompt[: found.start()] + said + prompt[found.end() :])
            return with_prompt(cell, prompt + (f" <{tag}:{asked}:1>" if asked else ""))

        return changed

    return lambda texts: [(name, named(name)) for name in texts]


def strengths(texts: Sequence[str]) -> Made:
    """Each number as the strength of every network in the prompt."""

    def change(number: float) -> Change:
        def stronger(found: re.Match[str]) -> str:
            return f"<{found[1]}:{found[2].partition(':')[0]}:{number:g}>"

        return lambda cell: with_prompt(cell, NETWORK.sub(stronger, cell.request.prompt))

    return [(f"{number:g}", change(number)) for number in numbers(texts, float)]


def with_and_without(texts: Sequence[str]) -> Made:
    """`without, with`: the prompt as it is, and without its networks, its embeddings' names being mere words."""
    known: dict[str, Change] = {
        "without": lambda cell: replace(with_prompt(cell, NETWORK.sub("", cell.request.prompt)), embeddings=False),
        "with": lambda cell: cell,
    }
    if wrong := [text for text in texts if text not in known]:
        raise TetradError("E3241", f'{wrong[0]!r} is neither "without" nor "with"; write "networks: without, with"')
    return [(text, known[text]) for text in texts]


def with_prompt(cell: Cell, prompt: str) -> Cell:
    return replace(cell, request=replace(cell.request, prompt=prompt))


def files(field: str) -> Callable[[Sequence[str]], Made]:
    def named(name: str) -> Change:
        return lambda cell: replace(cell, model=name) if field == "model" else replace(cell, vae=name)

    return lambda texts: [(name, named(name)) for name in texts]


AXES: dict[str, Callable[[Sequence[str]], Made]] = {
    "prompt": words("prompt"),
    "prompt sr": replaced(0),
    "embedding": replaced(-1),  # a run's result is the last of what it saved, and the one that prompts say
    "negative": words("negative"),
    "seed": seeds,
    "steps": setting("steps", int),
    "cfg scale": setting("cfg_scale", float),
    "cfg rescale": setting("cfg_rescale", float),
    "sampler": samplers,
    "clip skip": setting("clip_skip", int),
    "size": sizes,
    "denoising": redrawn,
    "model": files("model"),
    "vae": files("vae"),
    "lora": networks("lora"),
    "hypernet": networks("hypernet"),
    "strength": strengths,
    "networks": with_and_without,
}
# Whose values tell by themselves what they are of.
TOLD = ("prompt", "prompt sr", "embedding", "negative", "sampler", "size", "model", "lora", "hypernet", "networks")
