"""Files with a weight after a colon, as merges take them: `cat.safetensors:0.8`, `cat.safetensors:te=0.5:unet=1`."""

import math
from collections.abc import Collection
from pathlib import Path

from tetrad.builtin import BUILTIN_NAME
from tetrad.errors import TetradError
from tetrad.formats.suffixes import WEIGHT_FILE_SUFFIXES
from tetrad.locales import _
from tetrad.paths import expand_path

WHOLE = ""  # the part whose weight has no name before it
LORA_PARTS = ("te", "unet")  # of a LoRA, which may have a weight each, as in a prompt


def split_weights(text: str, parts: Collection[str] = ()) -> tuple[str, dict[str, float]]:
    """The file and its weights by part, `WHOLE` for the number alone; no weights where there are none.

    A file that has the whole text as its name is that file, and the colon of a Windows drive is part of a path. E2006
    where what follows the colon is not a number, or where a part has two weights.
    """
    file, weights = text, dict[str, float]()
    while WHOLE not in weights and not expand_path(file).exists():
        rest, _colon, last = file.rpartition(":")
        part, _equals, number = last.rpartition("=")
        weight = _parse_number(number) if part in (WHOLE, *parts) else None
        if weight is None or not math.isfinite(weight):
            if weight is not None or part in parts or _is_file(rest):
                template = _("'{number}' after {file} is not a number; write it like {example}")
                name = rest
                while name.rpartition(":")[2].partition("=")[0] in parts:
                    name = name.rpartition(":")[0]
                example = f"{Path(name).name}:0.5"
                raise TetradError("E2006", template, number=last, file=rest, example=example)
            break
        if not rest:
            break
        if part in weights or (weights and part == WHOLE):
            template = _("{text} has several weights for one file; give one of them")
            raise TetradError("E2006", template, text=text)
        file, weights[part] = rest, weight
    return file, weights


def _parse_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_file(name: str) -> bool:
    """Whether what stands before a colon can only be a file, so that a weight is meant behind it."""
    is_path = bool(name) and expand_path(name).exists()
    return is_path or name == BUILTIN_NAME or Path(name).suffix.lower() in WEIGHT_FILE_SUFFIXES
