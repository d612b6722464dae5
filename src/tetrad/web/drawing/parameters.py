"""The settings in the text of a generated image, by the names of a request for `worker`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tetrad.errors import TetradError
from tetrad.generation import infotext, reproduce
from tetrad.generation.request import Request
from tetrad.images.infotext import Infotext
from tetrad.locales import Message, _

SETTINGS = tuple(each.name for each in fields(Request) if each.name not in ("prompt", "init_image"))
_SETTINGS_OF_KEY = {
    "Steps": ("steps",),
    "Sampler": ("sampler",),
    "CFG scale": ("cfg_scale",),
    "Seed": ("seed",),
    "Size": ("width", "height"),
}


def describe_parameters(found: Infotext) -> dict[str, Any]:
    """The settings, the names of the model and the VAE, and what of it cannot be reproduced.

    What the text does not say has its default, and is named in "not_reproducible", like a sampler that Tetrad does not
    have. E3205 for a text without any parameter.
    """
    missing = [key for key in _SETTINGS_OF_KEY if key not in found.parameters]
    if len(missing) == len(_SETTINGS_OF_KEY):
        template = _("this text has no generation parameters; copy all of it, down to the line that begins with Steps")
        raise TetradError("E3205", template)
    defaults = Request("")
    values = {name: getattr(defaults, name) for key in missing for name in _SETTINGS_OF_KEY[key]}
    reasons = [Message(_("{key}, which it does not say"), key=key) for key in missing]
    try:
        made_by = infotext.to_request(found, values)
    except TetradError as error:
        if error.code != "E3201":
            raise
        template = _("the sampler {name}, which Tetrad does not have")
        reasons.append(Message(template, name=found.parameters["Sampler"]))
        made_by = infotext.to_request(found, values | {"sampler": defaults.sampler})
    reasons += reproduce.list_unreproducible(found)
    return {
        "prompt": made_by.prompt,
        **{name: getattr(made_by, name) for name in SETTINGS},
        "model": found.parameters.get("Model", ""),
        "vae": reproduce.read_vae(found),
        "prediction_type": infotext.read_prediction_type(found),
        "has_init_image": _has_init_image(found.parameters),
        "not_reproducible": [reason.as_record() for reason in reasons],
    }


def _has_init_image(parameters: Mapping[str, str]) -> bool:
    return "Denoising strength" in parameters and not any(key.startswith("Hires") for key in parameters)
