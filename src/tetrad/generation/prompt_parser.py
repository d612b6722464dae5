"""Parse A1111's prompt syntax into weighted spans of text for each sampler step.

The order is that of A1111: `AND` splits a prompt into parts, `[from:to:when]` and `[a|b]` give each part's text at each
step, and brackets set weights in that text. Nothing here raises an error; unbalanced brackets have a meaning too.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from tetrad.models.clip import PromptSpan, Text

_ROUND_BRACKET_FACTOR, _SQUARE_BRACKET_FACTOR = 1.1, 1 / 1.1  # a pair of brackets multiplies the weight by this
MAX_WEIGHT = 1000.0  # weights are limited to this, as hundreds of nested brackets would overflow
_NUMBER_PATTERN = r"[+-]?(?:\d+\.?\d*|\.\d+)"

_COMMENT = re.compile(r"#[^\n]*")
AND = re.compile(r"\bAND\b(?!_PERP|_SALT|_TOPK)")
_AND_WEIGHT = re.compile(r"\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+))\s*$")
_ATTENTION_TOKEN = re.compile(rf"\\[()\[\]\\]|\\|[(\[]|:\s*({_NUMBER_PATTERN})\s*\)|[)\]]|[^\\()\[\]:]+|:")
BREAK = re.compile(r"\s*\bBREAK\b\s*")
_EDITING_TOKEN = re.compile(r"(?:[^\\\[\]():|]|\\.)+|[\[\]():|\\]")
_EDIT_STEP = re.compile(rf"\s*({_NUMBER_PATTERN}(?:[eE][+-]?\d+)?)\s*")


@dataclass(frozen=True)
class _Subprompt:
    """One part of a prompt with `AND`: its weight, and its text at each sampler step."""

    weight: float
    texts: tuple[Text, ...]


def parse_prompt(prompt: str, steps: int) -> tuple[_Subprompt, ...]:
    """Parse a prompt without network tags into its parts, each with its text at each step."""
    return tuple(
        _Subprompt(weight, _parse_per_step(text, steps)) for text, weight in split_subprompts(strip_comments(prompt))
    )


def parse_negative_prompt(prompt: str, steps: int) -> tuple[Text, ...]:
    """Parse a negative prompt into its text at each step; `AND` is a plain word in it."""
    return _parse_per_step(strip_comments(prompt), steps)


def strip_comments(prompt: str) -> str:
    """Remove comments: `#` and the rest of its line."""
    return _COMMENT.sub("", prompt)


def escape_brackets(text: str) -> str:
    """Escape brackets and backslashes, so that they are plain text in a prompt."""
    return re.sub(r"[\\()\[\]]", r"\\\g<0>", text)


def _parse_per_step(text: str, steps: int) -> tuple[Text, ...]:
    spans_by_text = {version: parse_attention(version) for version in dict.fromkeys(expand_edits(text, steps))}
    return tuple(spans_by_text[version] for version in expand_edits(text, steps))


def split_subprompts(prompt: str) -> tuple[tuple[str, float], ...]:
    """`a :0.7 AND b` → (a, 0.7), (b, 1)."""
    return tuple(_split_weight(text) for text in AND.split(prompt))


def _split_weight(text: str) -> tuple[str, float]:
    match = _AND_WEIGHT.search(text)
    return (text[: match.start()], _clamp_weight(float(match[1]))) if match else (text.rstrip(), 1.0)


# Attention: (x) [x] (x:1.2) \( BREAK ---------------------------------------------------------------------------------


def parse_attention(text: str) -> tuple[PromptSpan, ...]:
    """Split a text into spans of equal weight.

    `(x)` has weight 1.1, `[x]` 1/1.1, `(x:1.2)` 1.2; nested brackets multiply. Round and square brackets are matched
    independently of each other. A bracket that is never closed extends to the end, an extra closing bracket is plain
    text, and a backslash before another character is removed.
    """
    spans: list[PromptSpan] = []
    open_brackets: dict[str, list[int]] = {"(": [], "[": []}
    bracket_spans: dict[str, list[_BracketSpan]] = {"(": [], "[": []}
    for token in _ATTENTION_TOKEN.finditer(text):
        token_text, weight = token[0], token[1]
        if token_text in open_brackets:
            open_brackets[token_text].append(len(spans))
        elif (token_text == ")" or weight is not None) and open_brackets["("]:
            bracket_spans["("].append(
                (open_brackets["("].pop(), len(spans), _ROUND_BRACKET_FACTOR if weight is None else float(weight))
            )
        elif token_text == "]" and open_brackets["["]:
            bracket_spans["["].append((open_brackets["["].pop(), len(spans), _SQUARE_BRACKET_FACTOR))
        else:
            spans += _split_breaks(token_text[1:] if token_text.startswith("\\") else token_text)
    for bracket, factor in (("(", _ROUND_BRACKET_FACTOR), ("[", _SQUARE_BRACKET_FACTOR)):
        bracket_spans[bracket] += [(start, len(spans), factor) for start in open_brackets[bracket]]
    weights = [
        one * other
        for one, other in zip(*(multiply_factors(each, len(spans)) for each in bracket_spans.values()), strict=True)
    ]
    weighted_spans = [replace(span, weight=_clamp_weight(weight)) for span, weight in zip(spans, weights, strict=True)]
    return tuple(_merge_equal_weights(weighted_spans)) or (PromptSpan(""),)


_BracketSpan = tuple[int, int, float]  # first span, end span (exclusive), factor


def multiply_factors(bracket_spans: Sequence[_BracketSpan], count: int) -> list[float]:
    """The product of the factors around each of `count` spans; bracket spans are nested or disjoint."""
    pending = sorted(bracket_spans, key=lambda span: (-span[0], span[1]))
    open_spans: list[tuple[int, float]] = []  # end span, product of the factors up to this bracket
    weights = []
    for index in range(count):
        while open_spans and open_spans[-1][0] <= index:
            open_spans.pop()
        while pending and pending[-1][0] <= index:
            _start, end, factor = pending.pop()
            if end > index:
                open_spans.append((end, _clamp_weight((open_spans[-1][1] if open_spans else 1.0) * factor)))
        weights.append(open_spans[-1][1] if open_spans else 1.0)
    return weights


def _clamp_weight(weight: float) -> float:
    return max(-MAX_WEIGHT, min(MAX_WEIGHT, weight))


def _split_breaks(text: str) -> Iterator[PromptSpan]:
    """Split at `BREAK`; two in a row leave an empty span, and so an empty chunk."""
    for number, part in enumerate(BREAK.split(text)):
        if part or number:
            yield PromptSpan(part, 1.0, starts_new_chunk=number > 0)


def _merge_equal_weights(spans: Sequence[PromptSpan]) -> Iterator[PromptSpan]:
    """Merge neighbours of equal weight, so that brackets that change nothing do not change the tokens either."""
    current: PromptSpan | None = None
    for span in spans:
        if current and not span.starts_new_chunk and (span.weight == current.weight or not current.text):
            current = PromptSpan(current.text + span.text, span.weight, current.starts_new_chunk)
        else:
            if current:
                yield current
            current = span
    if current:
        yield current


# Editing: [from:to:when] [a|b] ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ScheduledEdit:
    """`[before:after:when]`: `before` up to and including a step, `after` from then on."""

    before: Sequence["_Node"]
    after: Sequence["_Node"]
    when: str

    def select(self, step: int, steps: int) -> Sequence["_Node"]:
        """The active side; `when` is a fraction of all steps if it has a decimal point, else a step."""
        last = float(self.when) * (steps if "." in self.when else 1)
        return self.before if step <= int(max(0.0, min(last, steps))) else self.after


@dataclass(frozen=True)
class Alternation:
    """`[a|b]`: a, b, a, b, …"""

    options: Sequence[Sequence["_Node"]]

    def select(self, step: int, steps: int) -> Sequence["_Node"]:
        return self.options[(step - 1) % len(self.options)]


_Node = str | _ScheduledEdit | Alternation


def expand_edits(text: str, steps: int) -> tuple[str, ...]:
    """A text with `[from:to:when]` and `[a|b]`, at each of the steps."""
    nodes = _parse_edits(text)
    if nodes is None or all(isinstance(node, str) for node in nodes):
        return (text,) * steps
    return tuple(_render_step(nodes, step, steps) for step in range(1, steps + 1))


def find_edited_text(text: str) -> str:
    """All text that is inside `[from:to:when]` or `[a|b]`."""
    pending = [node for node in _parse_edits(text) or [] if not isinstance(node, str)]
    texts = []
    while pending:
        node = pending.pop()
        options = node.options if isinstance(node, Alternation) else (node.before, node.after)
        for each in (each for option in options for each in option):
            if isinstance(each, str):
                texts.append(each)
            else:
                pending.append(each)
    return "".join(texts)


def _render_step(nodes: Sequence[_Node], step: int, steps: int) -> str:
    pending = list(reversed(nodes))
    texts = []
    while pending:
        node = pending.pop()
        if isinstance(node, str):
            texts.append(node)
        else:
            pending.extend(reversed(node.select(step, steps)))
    return "".join(texts)


@dataclass
class _OpenBracket:
    """A bracket that is not closed yet, and its content so far, split at `:` and `|`."""

    bracket: str  # "(", "[", or "" for the text as a whole
    parts: list[list[_Node]] = field(default_factory=lambda: [[]])
    separators: list[str] = field(default_factory=list)

    def add_separator(self, mark: str) -> None:
        self.separators.append(mark)
        self.parts.append([])

    def flatten(self) -> list[_Node]:
        """The bracket as plain text; edits inside it that are complete stay edits."""
        nodes: list[_Node] = [self.bracket, *self.parts[0]]
        for mark, part in zip(self.separators, self.parts[1:], strict=True):
            nodes += [mark, *part]
        return nodes

    def close(self, bracket: str) -> list[_Node] | None:
        """The nodes of the closed bracket; None if these brackets do not match."""
        marks = "".join(self.separators)
        if self.bracket + bracket == "()":
            return [*self.flatten(), ")"] if marks in ("", ":") else None
        if self.bracket + bracket != "[]":
            return None
        if not marks:
            return [*self.flatten(), "]"]
        if set(marks) == {"|"}:
            return [Alternation(self.parts)]
        when = _EDIT_STEP.fullmatch("".join(map(str, self.parts[-1])))
        if marks in (":", "::") and when:
            before, after = ([], self.parts[0]) if marks == ":" else self.parts[:2]
            return [_ScheduledEdit(before, after, when[1])]
        return None


def _parse_edits(text: str) -> list[_Node] | None:
    """Parse edits and alternations; None where `|` or a backslash has no meaning: A1111 then leaves the text as it is.

    A bracket that is not an edit is plain text, and so are the open brackets around it.
    """
    open_brackets = [_OpenBracket("")]
    for token in _EDITING_TOKEN.findall(text):
        if token == "\\" or (token == "|" and len(open_brackets) == 1):
            return None
        if token in "([":
            open_brackets.append(_OpenBracket(token))
        elif token in ":|" and len(open_brackets) > 1:
            open_brackets[-1].add_separator(token)
        elif token in ")]" and (group := open_brackets[-1].close(token)) is not None:
            open_brackets.pop()
            open_brackets[-1].parts[-1] += group
        else:
            if token in ")]" and not _collapse_brackets(open_brackets):
                return None
            open_brackets[-1].parts[-1].append(token)
    return open_brackets[0].parts[0] if _collapse_brackets(open_brackets) else None


def _collapse_brackets(open_brackets: list[_OpenBracket]) -> bool:
    """Turn all open brackets into plain text; False where one contains `|`, which has no meaning there."""
    outermost, *unclosed = open_brackets
    del open_brackets[1:]
    for bracket in unclosed:
        if "|" in bracket.separators:
            return False
        outermost.parts[0] += bracket.flatten()
    return True
