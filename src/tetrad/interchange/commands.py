"""Command lines of sd-scripts in shell files, batch files and error messages.  Nothing in them is run."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.locales import Message, _

_SCRIPT = re.compile(r"(?:^|[\\/])((?:sdxl_)?train(?:_\w+)?|fine_tune|\w+_train(?:_\w+)?)\.py$")
_LINE_ENDS = {"\\": "\\", "^": "^", "`": "`"}
_ASSIGNMENT = re.compile(
    r"^\s*(?:export\s+|set\s+\"?|\$(?:env:)?)?([A-Za-z_]\w*)\s*=\s*(\"[^\"$`%]*\"|'[^']*'|[^\s\"'$`%()#]*)\s*\"?\s*(?:#.*)?$",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"\$\(\(.*?\)\)|\$\(.*?\)|\$\{(\w+)\}|\$(?:env:)?(\w+)|%(\w+)%", re.IGNORECASE)
# A list of options that the script fills: bash's "${args[@]}", PowerShell's $args or @args as a word of its own.
_LIST = re.compile(r"(?<=\s)\"?(?:\$\{(\w+)\[[@*]\]\}|[$@](\w+))\"?(?=\s|$)")
# Where the script adds options to it.
_ADDITION = re.compile(r"\$?(\w+)(?:\.Add\(|\s*\+=\s*\(?)\s*[\"']?(--[^\"')]*)", re.IGNORECASE)
# What ends a command in its line: the next command, or where its output goes.
_SHELL_END = re.compile(r"^(?:[12&]?>>?.*|&|&&|;|\|\|?|<|2>&1)$")
_PRINTED_LIST = re.compile(r"\[(?:'[^']*'|\"[^\"]*\")(?:,\s*(?:'[^']*'|\"[^\"]*\"))*\]")
_COMMENT = re.compile(r"^\s*(?:#|::|rem\s)", re.IGNORECASE)


@dataclass(frozen=True)
class Command:
    """One run of a script: the words before its name (accelerate's), its name without .py, and the words after it."""

    line: int
    launcher: tuple[str, ...]
    script: str
    words: tuple[str, ...]
    notes: tuple[Message, ...] = ()


def find_commands(path: Path, text: str) -> tuple[Command, ...]:
    """Every command that runs one of sd-scripts' scripts.  E3162 where a variable's value is not in the file."""
    if match := _PRINTED_LIST.search(text):
        return tuple(_as_commands(ast.literal_eval(match[0]), text.count("\n", 0, match.start()) + 1))
    keeps_backslashes = path.suffix.lower() in (".bat", ".cmd", ".ps1")
    variables: dict[str, str] = {}
    commands: list[Command] = []
    lists: dict[str, list[str]] = {}  # options that the script adds to a list, by the list's name
    for match in _ADDITION.finditer(text):
        lists.setdefault(match[1].lower(), []).append(match[2].strip())
    for number, line in _join_lines(text):
        if _COMMENT.match(line):
            continue
        if assigned := _ASSIGNMENT.match(line):
            variables[assigned[1].lower()] = assigned[2].strip("\"'")
        elif ".py" in line and "--" in line:
            kept, notes = _leave_out_lists(line, variables, lists)
            filled = _fill_variables(path, kept, variables)
            commands += _as_commands(_split(path, number, filled, keeps_backslashes), number, notes)
    return tuple(commands)


def _join_lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line with those that continue it, and its number."""
    start, joined = 1, ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not joined:
            start = number
        stripped = line.rstrip()
        if stripped and stripped[-1] in _LINE_ENDS:
            joined += stripped[:-1] + " "
            continue
        yield start, joined + line
        joined = ""
    if joined:
        yield start, joined


def _leave_out_lists(
    line: str, variables: Mapping[str, str], lists: Mapping[str, list[str]]
) -> tuple[str, tuple[Message, ...]]:
    """The line without lists of options that the script fills while it runs, and what may be in each of them."""
    notes: list[Message] = []

    def leave_out(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not match[1] and (name.lower() in variables or name.lower() not in lists):
            return match[0]
        template = _("{name} is a list of options that the script fills while it runs, so it is left out: {options}")
        options = ", ".join(dict.fromkeys(lists.get(name.lower(), ()))) or "–"
        notes.append(Message(template, name=match[0].strip('"'), options=options))
        return ""

    return _LIST.sub(leave_out, line), tuple(notes)


def _fill_variables(path: Path, line: str, variables: Mapping[str, str]) -> str:
    """The line with the variables that earlier lines set."""
    unknown: list[str] = []

    def fill(match: re.Match[str]) -> str:
        name = match[1] or match[2] or match[3] or ""
        if name.lower() in variables:
            return variables[name.lower()]
        unknown.append(match[0])
        return match[0]

    filled = _VARIABLE.sub(fill, line)
    if unknown:
        template = _(
            "{file} uses {variables}, which only the shell that runs it can fill in; write the values into the"
            " command, or save it with the values"
        )
        raise TetradError("E3162", template, file=path, variables=", ".join(dict.fromkeys(unknown)))
    return filled


def _split(path: Path, number: int, line: str, keeps_backslashes: bool) -> list[str]:
    """The words of a line, as its shell splits them."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    if keeps_backslashes:
        lexer.escape = ""
    try:
        return list(lexer)
    except ValueError as error:
        template = _("the configuration {file} cannot be read: {reason}")
        reason = Message(_("line {line} has a quote that is not closed"), line=number)
        raise TetradError("E3161", template, file=path, reason=reason) from error


def _as_commands(words: list[str], number: int, notes: tuple[Message, ...] = ()) -> Iterator[Command]:
    """The commands in a line, each up to where the shell ends it."""
    for index, word in enumerate(words):
        if match := _SCRIPT.search(word):
            rest = words[index + 1 :]
            end = next((place for place, each in enumerate(rest) if _ends_command(each)), len(rest))
            last = [each.removesuffix(";") for each in rest[end : end + 1] if not _SHELL_END.match(each)]
            yield Command(number, tuple(words[:index]), match[1], (*rest[:end], *last), notes)
            yield from _as_commands(rest[end + 1 :], number)
            return


def _ends_command(word: str) -> bool:
    return word.endswith(";") or bool(_SHELL_END.match(word))


def parse_words(
    words: tuple[str, ...], flags: frozenset[str], lists: frozenset[str], known: frozenset[str]
) -> dict[str, object]:
    """Keys and values of a command's words, as argparse reads them: an unambiguous beginning of a name counts.

    A switch is True; a list takes the words up to the next `--`. What is given twice counts the last time. A word that
    belongs to no option stands for itself.
    """
    values: dict[str, object] = {}
    index = 0
    while index < len(words):
        name, has_value, value = words[index].partition("=")
        index += 1
        if not name.startswith("--"):
            values[name] = True
            continue
        key = _complete(name[2:], known)
        if key in lists:
            items = [value] if has_value else []
            while index < len(words) and not words[index].startswith("--"):
                items.append(words[index])
                index += 1
            values[key] = [item.strip() for item in items]
        elif key in flags:
            values[key] = value if has_value else True
        elif has_value:
            values[key] = value
        elif index < len(words) and not words[index].startswith("--"):
            values[key] = words[index]
            index += 1
        else:
            values[key] = True
    return values


def _complete(name: str, known: frozenset[str]) -> str:
    if name in known:
        return name
    candidates = [each for each in known if each.startswith(name)]
    return candidates[0] if len(candidates) == 1 else name
