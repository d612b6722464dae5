"""The text that A1111 writes into its PNGs (infotext): format a request, make a request of it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tetrad import __version__
from tetrad.errors import TetradError
from tetrad.generation.img2img import image_hash
from tetrad.generation.request import Request
from tetrad.images.infotext import NEGATIVE_PREFIX, Infotext
from tetrad.locales import _
from tetrad.models.prediction import check_prediction_name
from tetrad.settings.samplers import SAMPLERS, find_nearest_sampler, resolve_sampler_name

# Our noise schedules and A1111's names for them; "Uniform" means none.
SCHEDULE_TYPES = {"": "Uniform", "Karras": "Karras", "Exponential": "Exponential", "AYS": "Align Your Steps"}
# The schedule that A1111's "Automatic" means; for all other samplers it means none.
_AUTOMATIC_SCHEDULES = {
    **dict.fromkeys(("DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DPM2", "DPM2 a"), "Karras"),
    **dict.fromkeys(("DPM++ 2M SDE", "DPM++ 3M SDE"), "Exponential"),
}
A1111_TIMESTEP_SAMPLERS = ("DDIM", "PLMS", "UniPC")  # A1111 writes a schedule for these, but does not use it
PREDICTION_KEY = "Prediction type"  # what a person said that the model predicts
# A1111's keys in its order; Prediction type, Mask hash, Bare latents, CFG rescale and Step count are ours.
_PARAMETER_ORDER = (
    *("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model hash", "Model", PREDICTION_KEY),
    *("VAE hash", "VAE"),
    *("Denoising strength", "Clip skip", "Init image hash", "RNG", "Mask blur", "Mask hash", "Bare latents"),
    *("CFG rescale", "Step count", "Lora hashes", "TI hashes", "Version"),
)


def format_infotext(request: Request, file_parameters: Mapping[str, object]) -> str:
    """A request in A1111's format, with parameters that name the files."""
    lines = [request.prompt, *([f"{NEGATIVE_PREFIX} {request.negative_prompt}"] if request.negative_prompt else [])]
    parameters = {**_request_parameters(request), **file_parameters}
    entries = [
        f"{key}: {quote(parameters[key])}"
        for key in sorted(parameters, key=_parameter_position)
        if parameters[key] != ""
    ]
    return "\n".join([*lines, ", ".join(entries)])


def _request_parameters(request: Request) -> dict[str, object]:
    """A request under A1111's keys; "" where a key does not apply."""
    sampler, schedule = SAMPLERS[resolve_sampler_name(request.sampler)]
    has_schedule = f"{sampler} Karras" in SAMPLERS
    init_image, mask = request.init_image, request.init_image.mask if request.init_image else None
    return {
        "Steps": request.steps,
        "Sampler": sampler,
        "Schedule type": SCHEDULE_TYPES[schedule] if has_schedule else "",
        "CFG scale": _format_number(request.cfg_scale),
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Denoising strength": _format_number(request.denoising_strength) if init_image else "",
        "Init image hash": image_hash(init_image.image) if init_image else "",
        "Mask blur": init_image.mask_blur if init_image and mask is not None else "",
        "Mask hash": image_hash(mask) if mask is not None else "",
        "Clip skip": request.clip_skip or "",
        "CFG rescale": _format_number(request.cfg_rescale) if request.cfg_rescale else "",
        "RNG": "CPU",
        "Step count": "A1111" if request.a1111_steps else "",
    }


def format_grid_infotext(first_infotext: str, sides: Sequence[tuple[str, Sequence[str]]]) -> str:
    """The infotext of a grid: that of its first image, and the axes x, y, z as A1111 writes them."""
    parameters = {"Script": "X/Y/Z plot"}
    for letter, (name, labels) in zip("XYZ", sides, strict=True):
        if name:
            parameters |= {f"{letter} Type": name, f"{letter} Values": ", ".join(labels)}
    return first_infotext + "".join(f", {key}: {quote(value)}" for key, value in parameters.items())


def _format_number(value: float) -> str:
    """The shortest text that parses back to the same number."""
    return str(int(value)) if value == int(value) else repr(float(value))


def quote(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(",\n:") else text


def to_request(infotext: Infotext, overrides: Mapping[str, Any] | None = None) -> Request:
    """The request that made an image, with `overrides` in place of its own settings.

    E3205 where the infotext lacks a setting, E3201 for an unknown sampler.
    """
    settings = dict(overrides or {})
    name = ""
    try:
        for name, read_value in _SETTING_READERS.items():
            if name not in settings:
                settings[name] = read_value(infotext)
    except KeyError as error:
        raise TetradError(
            "E3205",
            _("the image's text has no {name}; give another image, or all settings as flags"),
            name=error.args[0],
        ) from error
    except ValueError as error:
        template = _("in the image's text, the value of {setting} is not a number; give it with {flag}")
        flag = name.replace("_", "-")
        raise TetradError("E3205", template, setting=flag.replace("-", " "), flag=f"--{flag}") from error
    return Request(**settings)


def is_from_tetrad(infotext: Infotext) -> bool:
    return infotext.parameters.get("Version", "").startswith("tetrad")


def read_prompt(infotext: Infotext) -> str:
    """The prompt; before 2023 A1111 wrote a hypernetwork as a parameter instead of a tag in the prompt."""
    if "Hypernet" not in infotext.parameters:
        return infotext.prompt
    name = infotext.parameters["Hypernet"].partition("(")[0]
    return f"{infotext.prompt} <hypernet:{name}:{infotext.parameters.get('Hypernet strength', '1')}>"


def read_prediction_type(infotext: Infotext) -> str:
    """What a person said that the image's model predicts; "" for nothing.  E3205 where it cannot be read."""
    name = infotext.parameters.get(PREDICTION_KEY, "")
    try:
        check_prediction_name(name)
    except TetradError as error:
        template = _("the image's text has a setting that cannot be read: {reason}")
        raise TetradError("E3205", template, reason=error.sentence) from error
    return name


def _make_side_reader(index: int) -> Callable[[Infotext], int]:
    return lambda infotext: int(infotext.parameters["Size"].partition("x")[2 * index])


def read_sampler(infotext: Infotext) -> str:
    """The sampler with its schedule; before A1111 1.9 both were one name.  E3201 where Tetrad does not have it."""
    name = infotext.parameters["Sampler"]
    if name in A1111_TIMESTEP_SAMPLERS and not is_from_tetrad(infotext):
        return _resolve_image_sampler(name)
    schedule_type = infotext.parameters.get("Schedule type", "Uniform")
    schedule = next((ours for ours, theirs in SCHEDULE_TYPES.items() if theirs == schedule_type), "")
    if schedule_type == "Automatic":
        schedule = _AUTOMATIC_SCHEDULES.get(name, "")
    full_name = f"{name} {schedule}".strip()
    return _resolve_image_sampler(full_name if full_name.lower() in {known.lower() for known in SAMPLERS} else name)


def _resolve_image_sampler(name: str) -> str:
    try:
        return resolve_sampler_name(name)
    except TetradError as error:
        raise TetradError(
            "E3201",
            _(
                "the image was made with the sampler '{name}', which Tetrad does not have; give another one, for"
                ' example --sampler "{nearest}"'
            ),
            name=name,
            nearest=find_nearest_sampler(name),
        ) from error


_SETTING_READERS: dict[str, Callable[[Infotext], Any]] = {
    "prompt": read_prompt,
    "negative_prompt": lambda infotext: infotext.negative_prompt,
    "seed": lambda infotext: int(infotext.parameters["Seed"]),
    "steps": lambda infotext: int(infotext.parameters["Steps"]),
    "cfg_scale": lambda infotext: float(infotext.parameters["CFG scale"]),
    "sampler": read_sampler,
    "width": _make_side_reader(0),
    "height": _make_side_reader(1),
    "clip_skip": lambda infotext: int(infotext.parameters.get("Clip skip", 0)),
    "cfg_rescale": lambda infotext: float(infotext.parameters.get("CFG rescale", 0)),
    "denoising_strength": lambda infotext: float(infotext.parameters.get("Denoising strength", 1)),
    "a1111_steps": lambda infotext: not is_from_tetrad(infotext) or infotext.parameters.get("Step count") == "A1111",
}


def _parameter_position(key: str) -> int:
    """The position of a key in the infotext; an unknown key comes before the last one (Version)."""
    return _PARAMETER_ORDER.index(key) if key in _PARAMETER_ORDER else len(_PARAMETER_ORDER) - 2


def format_request(request: Request, prompt: str, model_name: str) -> str:
    """The infotext of a request with another prompt: the one that was typed, with its network tags."""
    file_parameters = {"Model": Path(model_name).stem, "Version": f"tetrad {__version__}"}
    return format_infotext(replace(request, prompt=prompt), file_parameters)
