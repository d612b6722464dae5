"""The text that A1111 writes into its images, and into text files beside them (infotext): parse it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tetrad.documents import parse_json

NEGATIVE_PREFIX = "Negative prompt:"
_PARAMETER_PATTERN = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


@dataclass(frozen=True)
class Infotext:
    """The text of an image: both prompts as they were typed, and the parameters under A1111's names."""

    prompt: str
    negative_prompt: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_infotext(text: str) -> Infotext:
    """Parse by A1111's rules: the last line holds the parameters if it has at least three."""
    lines = text.strip().split("\n")
    parameters = {key: _unquote(value) for key, value in _PARAMETER_PATTERN.findall(lines[-1])}
    if len(parameters) < 3:
        parameters = {}
    else:
        lines.pop()
    negative_starts = [number for number, line in enumerate(lines) if line.strip().startswith(NEGATIVE_PREFIX)]
    split = negative_starts[0] if negative_starts else len(lines)
    negative_prompt = "\n".join(line.strip() for line in lines[split:]).removeprefix(NEGATIVE_PREFIX)
    return Infotext("\n".join(line.strip() for line in lines[:split]).strip(), negative_prompt.strip(), parameters)


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return str(parse_json(value))
        except ValueError:
            return value
    return value
