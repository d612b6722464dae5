"""Open a file of another trainer: its letters, its language (TOML, JSON, YAML, a command line), and its mistakes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.documents import MAX_DOCUMENT_BYTES, BadDocument, open_regular, parse_json, parse_toml, parse_yaml
from tetrad.errors import TetradError
from tetrad.interchange.commands import Command, find_commands
from tetrad.locales import Message, _

COMMAND_SUFFIXES = (".sh", ".bat", ".cmd", ".ps1")
_COMMENT = re.compile(r"^\s*(?://|/\*|#)")
_LAST_COMMA = re.compile(r",\s*[}\]]")
_CURLY_QUOTES = "“”„‟‘’"


@dataclass(frozen=True)
class Document:
    """A file: plain values, or the commands in it."""

    path: Path
    values: Any = None
    commands: tuple[Command, ...] = ()
    suffix: str = ""  # ".toml", ".json" or ".yaml"; "" for commands
    notes: tuple[Message, ...] = ()


def open_document(path: Path) -> Document:
    """Read a file.  E3161 where it is missing, empty, or not of the language that it seems to be in."""
    text, notes = _read_text(path)
    if not text.strip():
        raise unreadable_error(path, Message(_("it is empty")))
    suffix = _find_suffix(path, text)
    if not suffix:
        return Document(path, commands=find_commands(path, text), notes=notes)
    try:
        values = {".json": parse_json, ".yaml": parse_yaml, ".toml": parse_toml}[suffix](text)
    except ValueError as error:
        raise unreadable_error(path, _EXPLANATIONS[suffix](text, error)) from error
    if not values:
        raise unreadable_error(path, Message(_("it is empty")))
    return Document(path, values, suffix=suffix, notes=notes)


def unreadable_error(path: Path, reason: Message | str) -> TetradError:
    """E3161: the file cannot be read."""
    return TetradError("E3161", _("the configuration {file} cannot be read: {reason}"), file=path, reason=reason)


def _read_text(path: Path) -> tuple[str, tuple[Message, ...]]:
    """The text of a file in UTF-8, in UTF-16 with a mark, or else in GB18030, which is said."""
    try:
        with open_regular(path) as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise unreadable_error(path, error.strerror or "") from error
    if len(content) > MAX_DOCUMENT_BYTES:
        raise unreadable_error(path, Message(_("it has more than {limit:,} bytes"), limit=MAX_DOCUMENT_BYTES))
    is_utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16",) if is_utf16 else ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding).replace("\r\n", "\n")
        except UnicodeDecodeError:
            continue
        if encoding == "gb18030":
            return text, (Message(_("the file is not in UTF-8 and was read as GB18030 (Chinese)")),)
        return text, ()
    raise unreadable_error(path, Message(_("it is not text in UTF-8, UTF-16 or GB18030")))


def _find_suffix(path: Path, text: str) -> str:
    """The language of a file by the end of its name, or else by how it begins; "" for command lines."""
    suffix = {".yml": ".yaml"}.get(path.suffix.lower(), path.suffix.lower())
    if suffix in (".toml", ".json", ".yaml"):
        return suffix
    if suffix in COMMAND_SUFFIXES or ".py" in text:
        return ""
    return ".json" if text.lstrip()[0] in "{[" else ".toml"


def _explain_toml(text: str, error: ValueError) -> Message | str:
    """What is wrong in a TOML file, with the usual reasons: typographic quotes, and the backslashes of Windows."""
    if not isinstance(error, BadDocument):
        return _reason_of(error)
    line, column = error.line, error.column
    lines = text.split("\n")
    content = lines[line - 1] if line <= len(lines) else ""
    if found := next((each for each in content if each in _CURLY_QUOTES), ""):
        template = _('line {line}, column {column} has the typographic quote {quote}; use the straight quote " instead')
        return Message(template, line=line, column=content.index(found) + 1, quote=found)
    if error.args and "overwrite" in str(error.args[0]) and "=" in content:
        template = _("line {line} gives {key} again, which TOML does not allow; remove one of the two")
        return Message(template, line=line, key=content.partition("=")[0].strip())
    if "\\" in content and '"' in content:
        return Message(
            _(
                "line {line} has a path with single backslashes, which TOML reads as special characters; write it with"
                " / or in single quotes: {content}"
            ),
            line=line,
            content=content.replace("\\", "/").strip(),
        )
    return Message(
        _("line {line}, column {column} is not valid TOML: {content}"), line=line, column=column, content=content
    )


def _explain_json(text: str, error: ValueError) -> Message | str:
    """What is wrong in a JSON file, with the usual reasons: comments, a last comma, and a file that is cut off."""
    if not isinstance(error, BadDocument):
        return _reason_of(error)
    for number, content in enumerate(text.split("\n"), start=1):
        if _COMMENT.match(content):
            return Message(_("line {line} is a comment, which JSON does not allow; remove it"), line=number)
        if number == error.line and _COMMENT.match(content[max(0, error.column - 1) :]):
            return Message(_("line {line} ends with a comment, which JSON does not allow; remove it"), line=number)
    if comma := _LAST_COMMA.search(text):
        number = text.count("\n", 0, comma.start()) + 1
        return Message(
            _("line {line} ends with a comma before a closing bracket, which JSON does not allow"), line=number
        )
    if not text.rstrip().endswith(("}", "]")):
        template = _("the file is cut off at line {line}, column {column}; it does not end with a closing bracket")
        end = text.rstrip("\n")
        return Message(template, line=end.count("\n") + 1, column=len(end) - end.rfind("\n"))
    return Message(_("line {line}, column {column} is not valid JSON"), line=error.line, column=error.column)


def _explain_yaml(text: str, error: ValueError) -> Message | str:
    """What is wrong in a YAML file, with the usual reason: tabs."""
    for number, content in enumerate(text.split("\n"), start=1):
        if content[: len(content) - len(content.lstrip())].count("\t"):
            return Message(_("line {line} is indented with a tab; YAML needs spaces, not tabs"), line=number)
    mark = getattr(error.args[0], "problem_mark", None) if error.args else None
    if mark is None:
        return _reason_of(error)
    return Message(_("line {line}, column {column} is not valid YAML"), line=mark.line + 1, column=mark.column + 1)


def _reason_of(error: ValueError) -> Message | str:
    reason = error.args[0] if error.args else error
    return reason if isinstance(reason, Message) else str(reason)


_EXPLANATIONS = {".toml": _explain_toml, ".json": _explain_json, ".yaml": _explain_yaml}
