"""Checkpoint formats: a single file with LDM's tensor names, and a diffusers folder."""

from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.formats import diffusers, ldm, vae
from tetrad.formats.survey import TensorSurvey
from tetrad.formats.weight_files import WeightFile
from tetrad.locales import Message, _
from tetrad.methods.base import Decoded, FactsAndProblems, FileFormat, Metadata
from tetrad.models.base import Model
from tetrad.models.checks import PURPOSES
from tetrad.models.diffusers_folder import build_folder
from tetrad.models.families import FAMILIES, family_of
from tetrad.weights import Weights


def _encode_single_file(weights: Weights, model: Model, metadata: Metadata) -> WeightFile:
    """A checkpoint file of these weights, which are a whole model of this model's family."""
    about = {name: value for name, value in weights.metadata.items() if name != "tetrad.flags"}
    about |= {name: value for name, value in metadata.items() if name != "name"}
    return WeightFile(ldm.encode(weights, model.single_file), about)


def _encode_folder(weights: Weights, model: Model, metadata: Metadata) -> diffusers.Folder:
    return build_folder(model, weights)


def decode(file: WeightFile, model: Model) -> Decoded:
    """Read a whole checkpoint.  E5102 where it is of another family."""
    family = family_of(file.tensors)
    check_family(family, model)
    return ldm.decode(file.tensors, file.metadata, model.single_file), []


def check_family(family: str, model: Model) -> None:
    """E5102 where the checkpoint's family is not the model's."""
    if family != model.family:
        title = FAMILIES[family].family_title if family in FAMILIES else family
        raise TetradError(
            "E5102",
            _("this is a {found} checkpoint, but {model} is {family}; give a checkpoint of the same family"),
            found=title,
            model=model.name,
            family=model.family_title,
        )


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


FORMATS = {
    "ldm": FileFormat(".safetensors", _encode_single_file, decode),
    "diffusers": FileFormat("", _encode_folder, decode),
}
