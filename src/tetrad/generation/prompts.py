"""What a prompt says beside its words: the networks it asks for."""

import math
import re
from dataclasses import dataclass

from tetrad.errors import TetradError

NETWORK = re.compile(r"<(\w+):([^>]+)>")


@dataclass(frozen=True)
class Network:
    """`<lora:NAME:strength>`."""

    name: str
    strength: float = 1.0


@dataclass(frozen=True)
class Prompt:
    """The words the text encoder reads, and the LoRAs the prompt asks for, in order."""

    text: str
    loras: tuple[Network, ...]


def parsed(prompt: str) -> Prompt:
    """Take `<lora:NAME:strength>` out of a prompt.  E3202 for another network or a strength that is none."""
    loras = []
    for kind, arguments in NETWORK.findall(prompt):
        if kind != "lora":
            raise TetradError("E3202", f"<{kind}:{arguments}> cannot be used; this version knows <lora:NAME:strength>")
        name, _, strength = arguments.partition(":")
        try:
            number = float(strength or 1.0)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise TetradError("E3202", f"<lora:{arguments}>: {strength!r} is no number; write <lora:{name}:0.8>")
        loras.append(Network(name, number))
    return Prompt(" ".join(NETWORK.sub("", prompt).split()), tuple(loras))
