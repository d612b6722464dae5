"""A picture's request as text, the way A1111 writes it into its PNGs, and back."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tetrad.diffusion.samplers import SAMPLERS, check_sampler
from tetrad.errors import TetradError
from tetrad.generation.request import Request
from tetrad.generation.starts import fingerprint

FACT = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
NEGATIVE = "Negative prompt:"
# Our spacings and what A1111 calls them; "Uniform" is its word for none.
SCHEDULES = {"": "Uniform", "Karras": "Karras", "Exponential": "Exponential", "AYS": "Align Your Steps"}
# What A1111's "Automatic" stands for; every other sampler is not spaced.
AUTOMATIC = dict.fromkeys(("DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM2", "DPM2 a"), "Karras") | {
    "DPM++ 3M SDE": "Exponential"
}
# A1111's keys in its order; those of a mask's hash, of bare latents and of the rescaling are ours.
ORDER = (
    *("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model hash", "Model", "VAE hash", "VAE"),
    *("Denoising strength", "Clip skip", "Init image hash", "RNG", "Mask blur", "Mask hash", "Bare latents"),
    *("CFG rescale", "Lora hashes", "TI hashes", "Version"),
)


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
    said = [f"{key}: {quoted(every[key])}" for key in sorted(every, key=ORDER.index) if every[key] != ""]
    return "\n".join([*lines, ", ".join(said)])


def settings(request: Request) -> dict[str, object]:
    """What a request says, by A1111's keys; "" for what does not apply."""
    sampler, spacing = SAMPLERS[check_sampler(request.sampler)]
    spaced = f"{sampler} Karras" in SAMPLERS
    start, mask = request.start, request.start.mask if request.start else None
    return {
        "Steps": request.steps,
        "Sampler": sampler,
        "Schedule type": SCHEDULES[spacing] if spaced else "",
        "CFG scale": number(request.cfg_scale),
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Denoising strength": number(request.strength) if start else "",
        "Init image hash": fingerprint(start.picture) if start else "",
        "Mask blur": start.mask_blur if start and mask is not None else "",
        "Mask hash": fingerprint(mask) if mask is not None else "",
        "Clip skip": request.clip_skip or "",
        "CFG rescale": number(request.cfg_rescale) if request.cfg_rescale else "",
        "RNG": "CPU",
    }


def of_grid(first: str, sides: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The text of a grid's first picture, and what changes along its sides x, y, z, as A1111 says it."""
    facts = {"Script": "X/Y/Z plot"}
    for letter, (name, words) in zip("XYZ", sides, strict=True):
        if name:
            facts |= {f"{letter} Type": name, f"{letter} Values": ", ".join(words)}
    return first + "".join(f", {key}: {quoted(value)}" for key, value in facts.items())


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


def request(found: Infotext, given: Mapping[str, Any] | None = None) -> Request:
    """The request that a picture was drawn by, but for the settings that are given.

    E3205 where its text does not say enough, E3201 for its sampler.
    """
    known = dict(given or {})
    try:
        for setting, read_from in SETTINGS.items():
            if setting not in known:
                known[setting] = read_from(found)
    except (KeyError, ValueError) as error:
        what = f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise TetradError("E3205", f"the picture's text does not say how it was drawn: {what}") from error
    return Request(**known)


def prompt(found: Infotext) -> str:
    """The prompt; before 2023 a hypernetwork stood among the facts."""
    if "Hypernet" not in found.facts:
        return found.prompt
    name = found.facts["Hypernet"].partition("(")[0]
    return f"{found.prompt} <hypernet:{name}:{found.facts.get('Hypernet strength', '1')}>"


def side(place: int) -> Callable[[Infotext], int]:
    return lambda found: int(found.facts["Size"].partition("x")[2 * place])


def sampler(found: Infotext) -> str:
    """The sampler with its spacing; pictures from before A1111 1.9 have both in one name."""
    name = found.facts["Sampler"]
    said = found.facts.get("Schedule type", "Uniform")
    spacing = next((ours for ours, theirs in SCHEDULES.items() if theirs == said), "")
    if said == "Automatic":
        spacing = AUTOMATIC.get(name, "")
    whole = f"{name} {spacing}".strip()
    return check_sampler(whole if whole.lower() in {known.lower() for known in SAMPLERS} else name)


SETTINGS: dict[str, Callable[[Infotext], Any]] = {
    "prompt": prompt,
    "negative": lambda found: found.negative,
    "seed": lambda found: int(found.facts["Seed"]),
    "steps": lambda found: int(found.facts["Steps"]),
    "cfg_scale": lambda found: float(found.facts["CFG scale"]),
    "sampler": sampler,
    "width": side(0),
    "height": side(1),
    "clip_skip": lambda found: int(found.facts.get("Clip skip", 0)),
    "cfg_rescale": lambda found: float(found.facts.get("CFG rescale", 0)),
    "strength": lambda found: float(found.facts.get("Denoising strength", 1)),
}
