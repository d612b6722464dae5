"""What the words of a prompt mean: A1111's grammar, from text to the pieces a text encoder reads at each sampler step.

Read from the outside in: `AND` parts a prompt into several, `[from:to:when]` and `[a|b]` say what each of them is at a
step, and brackets weigh what is left. Nothing here raises: brackets that do not close have a meaning too.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from tetrad.models.text import Piece, Text

ROUND, SQUARE = 1.1, 1 / 1.1  # what a pair of brackets multiplies a weight by
HEAVIEST = 1000.0  # a weight past this says nothing more; brackets nested by the hundred overflow otherwise
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"

COMMENT = re.compile(r"#[^\n]*")
AND = re.compile(r"\bAND\b(?!_PERP|_SALT|_TOPK)")
AND_WEIGHT = re.compile(r"\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*$")
ATTENTION = re.compile(rf"\\[()\[\]\\]|\\|[(\[]|:\s*({NUMBER})\s*\)|[)\]]|[^\\()\[\]:]+|:")
BREAK = re.compile(r"\s*\bBREAK\b\s*")
EDITING = re.compile(r"(?:[^\\\[\]():|]|\\.)+|[\[\]():|\\]")
WHEN = re.compile(rf"\s*({NUMBER}(?:[eE][+-]?\d+)?)\s*")


@dataclass(frozen=True)
class Part:
    """One side of an `AND`: how much it counts, and what it says at each sampler step."""

    weight: float
    texts: tuple[Text, ...]


def read(prompt: str, steps: int) -> tuple[Part, ...]:
    """A prompt without networks, part by part, step by step."""
    return tuple(Part(weight, by_step(text, steps)) for text, weight in composed(without_comments(prompt)))


def read_negative(prompt: str, steps: int) -> tuple[Text, ...]:
    """A negative prompt step by step; `AND` is a word in it."""
    return by_step(without_comments(prompt), steps)


def without_comments(prompt: str) -> str:
    """`#` and what follows it on its line is for whoever reads the prompt, not for the model."""
    return COMMENT.sub("", prompt)


def literal(text: str) -> str:
    """A prompt that says a text as it stands: its brackets are brackets and weigh nothing."""
    return re.sub(r"[\\()\[\]]", r"\\\g<0>", text)


def by_step(text: str, steps: int) -> tuple[Text, ...]:
    known = {said: pieces(said) for said in dict.fromkeys(edited(text, steps))}
    return tuple(known[said] for said in edited(text, steps))


def composed(prompt: str) -> tuple[tuple[str, float], ...]:
    """`a :0.7 AND b` → a and its weight, b and 1."""
    return tuple(weighed(text) for text in AND.split(prompt))


def weighed(text: str) -> tuple[str, float]:
    found = AND_WEIGHT.search(text)
    return (text[: found.start()], bounded(float(found[1]))) if found else (text.rstrip(), 1.0)


# Attention: (x) [x] (x:1.2) \( BREAK ---------------------------------------------------------------------------------


def pieces(text: str) -> tuple[Piece, ...]:
    """A text in stretches of equal weight.

    `(x)` weighs 1.1, `[x]` 1/1.1, `(x:1.2)` 1.2, and nested brackets multiply. The two kinds close independently; one
    that is never closed runs to the end, a closing one too many is a letter. A lone backslash vanishes.
    """
    found: list[Piece] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    spans: dict[str, list[Span]] = {"(": [], "[": []}
    for token in ATTENTION.finditer(text):
        said, weight = token[0], token[1]
        if said in opened:
            opened[said].append(len(found))
        elif (said == ")" or weight is not None) and opened["("]:
            spans["("].append((opened["("].pop(), len(found), ROUND if weight is None else float(weight)))
        elif said == "]" and opened["["]:
            spans["["].append((opened["["].pop(), len(found), SQUARE))
        else:
            found += broken(said[1:] if said.startswith("\\") else said)
    for bracket, factor in (("(", ROUND), ("[", SQUARE)):
        spans[bracket] += [(start, len(found), factor) for start in opened[bracket]]
    weights = [one * other for one, other in zip(*(products(each, len(found)) for each in spans.values()), strict=True)]
    weighed = [replace(piece, weight=bounded(weight)) for piece, weight in zip(found, weights, strict=True)]
    return tuple(merged(weighed)) or (Piece(""),)


Span = tuple[int, int, float]  # from which piece, to which, the factor


def products(spans: Sequence[Span], count: int) -> list[float]:
    """What each of so many pieces is multiplied by; of two spans that meet one holds the other."""
    waiting = sorted(spans, key=lambda span: (-span[0], span[1]))
    around: list[tuple[int, float]] = []  # where it ends, the product so far
    found = []
    for place in range(count):
        while around and around[-1][0] <= place:
            around.pop()
        while waiting and waiting[-1][0] <= place:
            _, end, factor = waiting.pop()
            if end > place:
                around.append((end, bounded((around[-1][1] if around else 1.0) * factor)))
        found.append(around[-1][1] if around else 1.0)
    return found


def bounded(weight: float) -> float:
    return max(-HEAVIEST, min(HEAVIEST, weight))


def broken(text: str) -> Iterator[Piece]:
    """A stretch parted at `BREAK`; two that follow each other leave an empty piece, so an empty chunk."""
    for number, stretch in enumerate(BREAK.split(text)):
        if stretch or number:
            yield Piece(stretch, 1.0, breaks=number > 0)


def merged(found: Sequence[Piece]) -> Iterator[Piece]:
    """Neighbours of one weight as one piece, so that words are tokenized across brackets that change nothing."""
    current: Piece | None = None
    for piece in found:
        if current and not piece.breaks and (piece.weight == current.weight or not current.text):
            current = Piece(current.text + piece.text, piece.weight, current.breaks)
        else:
            if current:
                yield current
            current = piece
    if current:
        yield current


# Editing: [from:to:when] [a|b] ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scheduled:
    """`[before:after:when]`: `before` up to and with a step, `after` from then on."""

    before: Sequence["Node"]
    after: Sequence["Node"]
    when: str

    def at(self, step: int, steps: int) -> Sequence["Node"]:
        """A number with a point is a share of all steps, one without is a step."""
        last = float(self.when) * (steps if "." in self.when else 1)
        return self.before if step <= int(max(0.0, min(last, steps))) else self.after


@dataclass(frozen=True)
class Alternate:
    """`[a|b]`: a, b, a, b, …"""

    options: Sequence[Sequence["Node"]]

    def at(self, step: int, steps: int) -> Sequence["Node"]:
        return self.options[(step - 1) % len(self.options)]


Node = str | Scheduled | Alternate


def edited(text: str, steps: int) -> tuple[str, ...]:
    """What a text with `[from:to:when]` and `[a|b]` is at each of the steps."""
    nodes = tree(text)
    if nodes is None or all(isinstance(node, str) for node in nodes):
        return (text,) * steps
    return tuple(spoken(nodes, step, steps) for step in range(1, steps + 1))


def spoken(nodes: Sequence[Node], step: int, steps: int) -> str:
    waiting = list(reversed(nodes))
    words = []
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            words.append(node)
        else:
            waiting.extend(reversed(node.at(step, steps)))
    return "".join(words)


@dataclass
class Open:
    """A bracket that is not closed yet, and what stands in it so far, parted by `:` or `|`."""

    bracket: str  # "(", "[", or "" for the text as a whole
    parts: list[list[Node]] = field(default_factory=lambda: [[]])
    separators: list[str] = field(default_factory=list)

    def separate(self, mark: str) -> None:
        self.separators.append(mark)
        self.parts.append([])

    def flat(self) -> list[Node]:
        """All of it as it was written; what was closed inside stays what it is."""
        nodes: list[Node] = [self.bracket, *self.parts[0]]
        for mark, part in zip(self.separators, self.parts[1:], strict=True):
            nodes += [mark, *part]
        return nodes

    def closed(self, bracket: str) -> list[Node] | None:
        """What the group means; None where these brackets make no group."""
        marks = "".join(self.separators)
        if self.bracket + bracket == "()":
            return [*self.flat(), ")"] if marks in ("", ":") else None
        if self.bracket + bracket != "[]":
            return None
        if not marks:
            return [*self.flat(), "]"]
        if set(marks) == {"|"}:
            return [Alternate(self.parts)]
        when = WHEN.fullmatch("".join(map(str, self.parts[-1])))
        if marks in (":", "::") and when:
            before, after = ([], self.parts[0]) if marks == ":" else self.parts[:2]
            return [Scheduled(before, after, when[1])]
        return None


def tree(text: str) -> list[Node] | None:
    """A text with its schedules in place; None where a bar or a backslash stands where it means nothing.

    A1111 then leaves the whole text unedited. A bracket that makes no group is a letter, and so are all around it.
    """
    opened = [Open("")]
    for token in EDITING.findall(text):
        if token == "\\" or (token == "|" and len(opened) == 1):
            return None
        if token in "([":
            opened.append(Open(token))
        elif token in ":|" and len(opened) > 1:
            opened[-1].separate(token)
        elif token in ")]" and (group := opened[-1].closed(token)) is not None:
            opened.pop()
            opened[-1].parts[-1] += group
        else:
            if token in ")]" and not collapsed(opened):
                return None
            opened[-1].parts[-1].append(token)
    return opened[0].parts[0] if collapsed(opened) else None


def collapsed(opened: list[Open]) -> bool:
    """Turn all open brackets into letters; False where a bar stands in one, which nothing can mean."""
    whole, *waiting = opened
    del opened[1:]
    for one in waiting:
        if "|" in one.separators:
            return False
        whole.parts[0] += one.flat()
    return True
