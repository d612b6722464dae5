"""Generate an image again from its infotext: which files it needs, and what cannot be reproduced."""

import re
from collections.abc import Collection, Iterator, Mapping

from tetrad.errors import TetradError
from tetrad.generation.infotext import (
    A1111_TIMESTEP_SAMPLERS,
    PREDICTION_KEY,
    SCHEDULE_TYPES,
    is_from_tetrad,
)
from tetrad.images.infotext import Infotext
from tetrad.locales import Message, _, ngettext
from tetrad.settings.samplers import SAMPLERS

BARE_LATENTS = "bare"  # instead of a VAE: show the latents themselves, as a missing VAE would look
_HIRES_KEYS = ("Hires upscaler", "Hires upscale", "Hires resize")  # hires fix has a denoising strength, too
# A1111's parameters that change an image and that Tetrad does not support.
_UNSUPPORTED_PARAMETERS = {
    "Script": _("the script (only its first image is generated)"),
    "Hires upscaler": _("hires fix"),
    "Variation seed": _("the variation seed"),
    "Face restoration": _("face restoration"),
    "Refiner": _("the refiner"),
    "Tiling": _("tiling"),
    "ENSD": _("the eta noise seed delta (ENSD)"),
    "Inpaint area": _("inpainting only the masked area"),
    "Mask mode": _("the inverted mask"),
    "Masked content": _("the masked content setting"),
    "Emphasis": _("the emphasis mode"),
    "Token merging ratio": _("token merging"),
    "Eta": _("the sampler's eta"),
    "NGMS": _("negative guidance minimum sigma (NGMS)"),
    "Skip Early CFG": _("skipping early CFG"),
    "Noise Schedule": _("the noise schedule"),
}
# The values of these parameters with which they have no effect.
_OFF_VALUES = {
    **dict.fromkeys(("ENSD", "Token merging ratio", "NGMS", "Skip Early CFG"), "0"),
    **{"Tiling": "False", "Inpaint area": "Whole picture", "Mask mode": "Inpaint masked"},
    **{"Masked content": "original", "Emphasis": "Original"},
}
# Further parameters of what is named by one of the above.
_DETAIL_PATTERNS = {
    "Script": r"(Fixed )?[XYZ] (Type|Values)",
    "Hires upscaler": r"Hires .*|Token merging ratio hr",
    "Variation seed": r"Variation seed strength",
    "Refiner": r"Refiner switch at",
    "Inpaint area": r"Masked area padding",
    "NGMS": r"NGMS all steps",
}
# Parameters that are read, or that say nothing about how the image was made.
_UNDERSTOOD_PARAMETERS = {
    *("Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Model hash", "VAE", "VAE hash"),
    *("Denoising strength", "Clip skip", "Init image hash", "Mask blur", "RNG", "Lora hashes", "TI hashes"),
    *("Hypernet", "Hypernet strength", "Mask hash", "Bare latents", "CFG rescale", "Step count", "Version"),
    *("User", "Hashes", "Batch size", "Batch pos", PREDICTION_KEY),
}
_FILE_HASH_KEYS = {"model": "Model hash", "vae": "VAE hash", "image": "Init image hash", "mask": "Mask hash"}
_CHANGED_FILE = {
    "model": _("the model is a different file, {found} instead of {expected}"),
    "vae": _("the VAE is a different file, {found} instead of {expected}"),
    "image": _("the init image is a different one, {found} instead of {expected}"),
    "mask": _("the mask is a different one, {found} instead of {expected}"),
}
_MISSING_FILE = {
    "model": _("the model {expected} is not used"),
    "vae": _("the VAE {expected} is not used"),
    "image": _("the init image {expected} is not used"),
    "mask": _("the mask {expected} is not used"),
}
_CHANGED_NETWORK = {
    "Lora hashes": _("the LoRA {name} is a different file, {found} instead of {expected}"),
    "TI hashes": _("the embedding {name} is a different file, {found} instead of {expected}"),
}


def read_vae(infotext: Infotext) -> str:
    """The image's VAE: a file name, BARE_LATENTS or None; Automatic where an older A1111 did not write it."""
    if "Bare latents" in infotext.parameters:
        return BARE_LATENTS
    return infotext.parameters.get("VAE", "None" if is_from_tetrad(infotext) else "Automatic")


def check_init_image(infotext: Infotext, name: str, image: object, mask: object) -> None:
    """E3206 where the image was made from an init image or with a mask, and that is not given again."""
    parameters = infotext.parameters
    has_init_image = "Denoising strength" in parameters and not any(key in parameters for key in _HIRES_KEYS)
    if has_init_image and image is None:
        raise TetradError(
            "E3206", _("{file} was made from another image; give that image with --init-image"), file=name
        )
    if "Mask blur" in parameters and mask is None:
        raise TetradError("E3206", _("{file} was made with a mask; give that mask with --mask"), file=name)


def list_unreproducible(infotext: Infotext) -> list[Message]:
    """What made the image and is not supported or not known, as noun phrases."""
    parameters = infotext.parameters
    unsupported = [key for key in _UNSUPPORTED_PARAMETERS if parameters.get(key, "") not in ("", _OFF_VALUES.get(key))]
    reasons = [Message(_UNSUPPORTED_PARAMETERS[key]) for key in unsupported]
    if schedule := _find_unsupported_schedule(infotext):
        reasons.append(Message(_("the schedule {name}"), name=schedule))
    if "Version" in parameters and not is_from_tetrad(infotext) and parameters.get("RNG") != "CPU":
        reasons.append(Message(_("noise generated on the GPU")))
    details = "|".join(pattern for key, pattern in _DETAIL_PATTERNS.items() if key in unsupported)
    known = _UNDERSTOOD_PARAMETERS | _UNSUPPORTED_PARAMETERS.keys()
    if unknown := [key for key in parameters if key not in known and not (details and re.fullmatch(details, key))]:
        template = ngettext(
            "the parameter {keys}, which is not known", "the parameters {keys}, which are not known", len(unknown)
        )
        reasons.append(Message(template, keys=", ".join(unknown)))
    return reasons


def _find_unsupported_schedule(infotext: Infotext) -> str:
    """The schedule of an image if Tetrad does not have it, or not for the image's sampler; else ""."""
    schedule_type, sampler = (infotext.parameters.get(key, "") for key in ("Schedule type", "Sampler"))
    if schedule_type in ("", "Automatic", "Uniform") or sampler in A1111_TIMESTEP_SAMPLERS:
        return ""
    ours = next((ours for ours, theirs in SCHEDULE_TYPES.items() if theirs == schedule_type), "")
    is_missing = not ours or (sampler in SAMPLERS and f"{sampler} {ours}" not in SAMPLERS)
    return schedule_type if is_missing else ""


def find_differences(
    original: Infotext,
    reproduction: Infotext,
    changed_flags: Collection[str] = (),
    model_hashes: Collection[str] = (),
) -> Iterator[Message]:
    """How the files of a reproduction differ from those of the original, as sentences.

    `changed_flags` are the flags that were given anew ("model", "vae", "prompt"); their files may differ.
    `model_hashes` are all hashes of the model that was used: images from before 2023 have another kind of hash.
    """
    for name, key in _FILE_HASH_KEYS.items():
        if name == "image" and not is_from_tetrad(original):
            continue  # A1111 hashes the init image before it is resized
        expected, found = original.parameters.get(key, ""), reproduction.parameters.get(key, "")
        if name == "model" and expected.lower() in model_hashes:
            continue
        if name not in changed_flags and expected and expected != found:
            if found:
                yield Message(_CHANGED_FILE[name], found=found, expected=expected)
            else:
                yield Message(_MISSING_FILE[name], expected=expected)
    for key in _CHANGED_NETWORK:
        new_hashes = parse_hashes(reproduction.parameters, key)
        for name, expected in parse_hashes(original.parameters, key).items():
            if name in new_hashes and new_hashes[name] != expected:
                yield Message(_CHANGED_NETWORK[key], name=name, found=new_hashes[name], expected=expected)
            elif name not in new_hashes and key == "TI hashes" and "prompt" not in changed_flags:
                yield Message(_("there is no embedding {name}"), name=name)


def parse_hashes(parameters: Mapping[str, str], key: str) -> dict[str, str]:
    """`ink: 0123456789ab, wash: …` by name."""
    return dict(re.findall(r"([^,:]+): *(\w+)(?:,\s*|$)", parameters.get(key, "")))
