"""A picture's request as text, the way A1111 writes it into its PNGs, and back."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tetrad.diffusion.samplers import SAMPLERS, check_sampler
from tetrad.errors import TetradError
from tetrad.generation.request import Request

FACT = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
NEGATIVE = "Negative prompt:"
# Our spacings and what A1111 calls them; "Uniform" is its word for none.
SCHEDULES = {"": "Uniform", "Karras": "Karras", "Exponential": "Exponential", "AYS": "Align Your Steps"}
# What A1111's "Automatic" stands for; every other sampler is not spaced.
AUTOMATIC = dict.fromkeys(("DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM2", "DPM2 a"), "Karras") | {
    "DPM++ 3M SDE": "Exponential"
}
# What changes a picture and is not drawn here, where it is there at all.
UNREPEATED = {
    "Hires upscaler": "the second pass",
    "Variation seed": "the variation",
    "Face restoration": "the face restoration",
    "Refiner": "the refiner",
    "Tiling": "the tiling",
    "ENSD": "the second seed",
}


@dataclass(frozen=True)
class Infotext:
    """What is written in a picture: two prompts as they were typed, and facts by A1111's names."""

    prompt: str
    negative: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def written(request: Request, facts: Mapping[str, object]) -> str:
    """A request as A1111 writes it, with facts about the files that drew it."""
    lines = [request.prompt, *([f"{NEGATIVE} {request.negative}"] if request.negative else [])]
    every = {**settings(request), **facts}
    return "\n".join([*lines, ", ".join(f"{key}: {quoted(value)}" for key, value in every.items() if value != "")])


def settings(request: Request) -> dict[str, object]:
    """A1111's keys, in its order; `CFG rescale` is ours."""
    sampler, spacing = SAMPLERS[check_sampler(request.sampler)]
    spaced = f"{sampler} Karras" in SAMPLERS
    return {
        "Steps": request.steps,
        "Sampler": sampler,
        "Schedule type": SCHEDULES[spacing] if spaced else "",
        "CFG scale": number(request.cfg_scale),
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Denoising strength": number(request.strength) if request.start else "",
        "Clip skip": request.clip_skip or "",
        "CFG rescale": number(request.cfg_rescale) if request.cfg_rescale else "",
        "RNG": "CPU",
    }


def number(value: float) -> str:
    """The shortest way to write a number that reads back as the same one."""
    return str(int(value)) if value == int(value) else repr(float(value))


def quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(",\n:") else text


def read(text: str) -> Infotext:
    """An infotext by A1111's rules: the last line is the facts where it holds three at least."""
    lines = text.strip().split("\n")
    facts = {key: unquoted(value) for key, value in FACT.findall(lines[-1])}
    if len(facts) < 3:
        facts = {}
    else:
        lines.pop()
    starts = [number for number, line in enumerate(lines) if line.strip().startswith(NEGATIVE)]
    split = starts[0] if starts else len(lines)
    negative = "\n".join(line.strip() for line in lines[split:]).removeprefix(NEGATIVE)
    return Infotext("\n".join(line.strip() for line in lines[:split]).strip(), negative.strip(), facts)


def unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value


def request(found: Infotext) -> Request:
    """The request that a picture was drawn by.  E3205 where its text does not say enough, E3201 for its sampler."""
    facts = found.facts
    try:
        width, _, height = facts["Size"].partition("x")
        asked = Request(
            found.prompt,
            found.negative,
            seed=int(facts["Seed"]),
            steps=int(facts["Steps"]),
            cfg_scale=float(facts["CFG scale"]),
            sampler=sampler(facts),
            width=int(width),
            height=int(height),
            clip_skip=int(facts.get("Clip skip", 0)),
            cfg_rescale=float(facts.get("CFG rescale", 0)),
        )
        return replace(asked, strength=float(facts.get("Denoising strength", 1)))
    except (KeyError, ValueError) as error:
        what = f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise TetradError("E3205", f"the picture's text does not say how it was drawn: {what}") from error


def sampler(facts: Mapping[str, str]) -> str:
    """The sampler with its spacing; pictures from before A1111 1.9 have both in one name."""
    name = facts["Sampler"]
    said = facts.get("Schedule type", "Uniform")
    spacing = next((ours for ours, theirs in SCHEDULES.items() if theirs == said), "")
    if said == "Automatic":
        spacing = AUTOMATIC.get(name, "")
    whole = f"{name} {spacing}".strip()
    return check_sampler(whole if whole.lower() in {known.lower() for known in SAMPLERS} else name)


def unrepeated(found: Infotext) -> list[str]:
    """What made the picture and cannot be done again, in words."""
    facts: dict[str, Any] = dict(found.facts)
    left = [words for key, words in UNREPEATED.items() if facts.get(key, "0") not in ("0", "")]
    said = facts.get("Schedule type", "Automatic")
    if said not in (*SCHEDULES.values(), "Automatic"):
        left.append(f"the schedule {said}")
    if "Version" in facts and not facts["Version"].startswith("tetrad") and facts.get("RNG") != "CPU":
        left.append("the noise, which came from the graphics card")
    return left
