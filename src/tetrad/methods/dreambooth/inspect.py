"""Describes a checkpoint by its tensors' names and shapes: family, prediction, parts and problems."""

from pathlib import Path
from typing import Any

from tetrad.formats import ldm, vae
from tetrad.formats.survey import TensorSurvey
from tetrad.locales import Message, _
from tetrad.methods.base import FactsAndProblems, Metadata
from tetrad.models.checks import PURPOSES
from tetrad.models.families import FAMILIES, family_of


def describe_file(path: Path, survey: TensorSurvey, metadata: Metadata, content_hash: str) -> FactsAndProblems:
    """Family, prediction, which parts the file contains, and problems."""
    family, problems = FAMILIES[family_of(survey.shapes)], []
    flags = {"tetrad.flags": " ".join(flag for flag in ldm.FLAG_KEYS if flag in survey.shapes)}
    known = family.resolve_prediction({**metadata, **flags})
    keys, _unmatched = vae.find_vae_keys(survey.shapes)
    if not keys:
        problems.append(
            Message(_("the file contains no VAE; put a VAE file of the same name beside it, or choose one with --vae"))
        )
    facts: dict[str, Any] = {
        _("family"): family.family_title,
        _("predicts"): (
            Message(_("{prediction} ({reason})"), prediction=known.prediction, reason=known.reason)
            if known
            else Message(_("not stated; tested when the model is loaded"))
        ),
        _("VAE"): Message(_("inside")) if keys else Message(_("none inside")),
        _("U-Net parameters"): survey.count_parameters(f"{ldm.UNET_PREFIX}."),
    }
    if ema_parameters := survey.count_parameters("model_ema."):
        facts[_("EMA parameters")] = ema_parameters
    channels = survey.shapes.get(f"{ldm.UNET_PREFIX}.input_blocks.0.0.weight", (0, family.channels))[1]
    if channels != family.channels:
        purpose = PURPOSES.get(channels, _("a model for another purpose"))
        template = _("its U-Net has {found} input channels, not {expected}: it is {purpose}")
        problems.append(Message(template, found=channels, expected=family.channels, purpose=Message(purpose)))
    return facts, problems
