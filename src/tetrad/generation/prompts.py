"""What a prompt says beside its words: the networks it asks for, and what may be meant otherwise than it counts."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tetrad.errors import TetradError
from tetrad.generation import grammar
from tetrad.generation.request import Request
from tetrad.models.text import pieces

NETWORK = re.compile(r"<(\w+):([^>]+)>")
KINDS = {"lora": "lora", "lyco": "lora", "hypernet": "hypernetwork"}  # tag → kind of file
STRONGEST = 100.0
HEAVY = 10.0  # a weight past this spoils a picture; it is mostly a time of day in brackets


@dataclass(frozen=True)
class Network:
    """`<lora:NAME:0.8>`, `<lora:NAME:te=0.5:unet=1>`, `<hypernet:NAME:0.6>`."""

    kind: str  # of file: "lora", "hypernetwork"
    name: str
    strength: float = 1.0  # on the U-Net
    text_strength: float = 1.0  # on the text encoder, for a kind that reaches it


@dataclass(frozen=True)
class Prompt:
    """The words, brackets and all, and the networks the prompt asks for, in order."""

    text: str
    networks: tuple[Network, ...]


def parsed(prompt: str) -> Prompt:
    """Take comments and then `<kind:name:…>` out of a prompt.  E3202 for a kind nobody knows or an odd strength."""
    prompt = grammar.without_comments(prompt)
    networks = tuple(network(kind, arguments) for kind, arguments in NETWORK.findall(prompt))
    return Prompt(NETWORK.sub("", prompt), networks)


def doubts(request: Request) -> Iterator[str]:
    """What in a request's prompts counts otherwise than whoever wrote it may think, a sentence each."""
    negative = grammar.without_comments(request.negative)
    for said in NETWORK.finditer(negative):
        if said[1] in KINDS:
            yield f"{said[0]} in the negative prompt is read as words; a network is asked for in the prompt itself"
    if any(line.strip().startswith("Negative prompt:") for line in request.prompt.splitlines()):
        yield "'Negative prompt:' in the prompt is read as words; what is not to be drawn is given with --negative"
    parts = grammar.read(parsed(request.prompt).text, request.steps)
    texts = {text for part in parts for text in part.texts} | {*grammar.read_negative(negative, request.steps)}
    heavy = {piece.text.strip(): piece.weight for text in texts for piece in pieces(text) if abs(piece.weight) > HEAVY}
    heavy |= {f"part {number} of AND": part.weight for number, part in enumerate(parts, 1) if abs(part.weight) > HEAVY}
    for what, weight in heavy.items():
        most = " (no weight counts more)" if abs(weight) == grammar.HEAVIEST else ""
        words = what if len(what) <= 40 else what[:40] + "…"
        yield f"{words!r} has the weight {weight:g}{most}, and past 2 pictures are spoiled; \\( and \\) weigh nothing"


def network(tag: str, arguments: str) -> Network:
    """A1111's reading: what has one `=` is named, the rest goes by its place.

    A second number of a LoRA is for the U-Net, which else does as the text encoder.
    """
    said = f"<{tag}:{arguments}>"
    if tag not in KINDS:
        known = ", ".join(f"<{each}:NAME:0.8>" for each in ("lora", "hypernet"))
        raise TetradError("E3202", f"{said} cannot be used; there are {known}")
    parts = [part.strip() for part in arguments.split(":")]
    by_name = dict(part.split("=") for part in parts if part.count("=") == 1)
    by_place = [part for part in parts if part.count("=") != 1]
    most, names = {"lora": (3, {"te", "unet"}), "hypernetwork": (2, set())}[KINDS[tag]]
    if not by_place or not by_place[0] or len(by_place) > most or by_name.keys() - names:
        raise TetradError("E3202", f"{said} cannot be read; write <{tag}:NAME:0.8>, for a LoRA also :te=0.5:unet=1")
    text = strength(said, by_name.get("te", by_place[1] if len(by_place) > 1 else "1"))
    unet = by_name.get("unet", by_place[2] if len(by_place) > 2 else "")
    return Network(KINDS[tag], by_place[0], strength(said, unet) if unet else text, text)


def strength(said: str, number: str) -> float:
    try:
        found = float(number or 1.0)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise TetradError("E3202", f"{said}: {number!r} is no number; write a strength like 0.8")
    if abs(found) > STRONGEST:
        raise TetradError("E3204", f"{said}: a strength of {number} draws only noise; 0.5 to 1.2 is usual")
    return found
