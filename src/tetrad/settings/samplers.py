"""The names of samplers: those of A1111, and how other programs spell them."""

import difflib
import re
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.settings.values import match_any_case, spelled_as

SOLVERS = (
    *("DPM++ 2M", "DPM++ 2M SDE", "DPM++ 3M SDE", "DPM++ SDE", "DPM++ 2S a", "Euler", "Euler a", "Heun"),
    *("DPM2", "DPM2 a", "UniPC", "DDIM", "LCM"),
)
SPACINGS = ("", "Karras", "Exponential", "AYS")
SOLVERS_WITHOUT_SPACING = ("DDIM", "LCM")  # they use time steps, not noise levels
# The solver and the spacing of noise levels of each sampler.
SAMPLERS = {
    f"{solver} {spacing}".strip(): (solver, spacing)
    for solver in SOLVERS
    for spacing in SPACINGS
    if not spacing or solver not in SOLVERS_WITHOUT_SPACING
}
SAMPLERS["DPM++ 3M SDE"] = ("DPM++ 3M SDE", "Exponential")  # with even time steps it diverges when there are many
# How ComfyUI, k-diffusion and kohya spell what A1111 spells otherwise.
NAME_ALIASES = {"dpmpp": "dpm++", "ancestral": "a", "uni pc": "unipc", "dpm 2": "dpm2", "align your steps": "ays"}


def resolve_sampler_name(name: str) -> str:
    """The name in SAMPLERS for a name in any case, or as ComfyUI spells it.  E3201 if there is no such sampler."""
    known = {key.lower(): key for key in SAMPLERS}
    requested = " ".join(name.lower().replace("_", " ").split())
    for theirs, ours in NAME_ALIASES.items():
        requested = requested.replace(theirs, ours)
    if requested in known:
        return known[requested]
    values: dict[str, Any] = {
        "name": name,
        "solvers": ", ".join(solver for solver in SOLVERS if solver not in SOLVERS_WITHOUT_SPACING),
        "spacings": ", ".join(filter(None, SPACINGS)),
        "unspaced": ", ".join(SOLVERS_WITHOUT_SPACING),
    }
    if closest := difflib.get_close_matches(requested, known, n=1):
        raise TetradError(
            "E3201",
            _(
                "there is no sampler '{name}'; did you mean '{nearest}'? The samplers are {unspaced}, and {solvers}, "
                "alone or followed by {spacings}"
            ),
            nearest=known[closest[0]],
            **values,
        )
    raise TetradError(
        "E3201",
        _("there is no sampler '{name}'; the samplers are {unspaced}, and {solvers}, alone or followed by {spacings}"),
        **values,
    )


def find_nearest_sampler(name: str) -> str:
    """The sampler with the most similar name, or the default one."""
    return next(iter(difflib.get_close_matches(name, SAMPLERS, n=1)), "DPM++ 2M")


def match_spellings(name: str) -> str:
    """A regular expression that matches the spellings of a sampler's name which `resolve_sampler_name` knows."""
    pattern = match_any_case(name)
    for theirs, ours in NAME_ALIASES.items():
        own, other = match_any_case(ours), match_any_case(theirs)
        if ours == "a":
            pattern = re.sub(rf" {re.escape(own)}(?= |$)", lambda found: f" (?:{own}|{other})", pattern)  # noqa: B023
        else:
            pattern = pattern.replace(own, f"(?:{own}|{other})")
    return rf"[\s_]*{pattern}[\s_]*".replace(" ", r"[\s_]+")


SamplerName = Annotated[
    str,
    AfterValidator(resolve_sampler_name),
    WithJsonSchema({"anyOf": [{"type": "string", "enum": list(SAMPLERS)}, spelled_as(map(match_spellings, SAMPLERS))]}),
]
