"""Detect what a weight file is by the names of its tensors."""

from collections.abc import Collection, Mapping

from tetrad.locales import Message, _
from tetrad.methods import METHODS
from tetrad.methods.settings import MethodSettings
from tetrad.models.families import FAMILIES, family_of

# Files that are neither trained by a method nor a whole checkpoint of a supported family: a title, and the prefixes of
# tensor names that identify them. FOREIGN is checked before the families, which would match such files too.
_FOREIGN: dict[str, tuple[str, tuple[str, ...]]] = {
    "refiner": (_("a Stable Diffusion XL refiner"), ("conditioner.embedders.0.model.",)),
    "unclip": (_("a Stable unCLIP checkpoint"), ("noise_augmentor.", "embedder.model.visual.")),
    "upscaler": (_("a Stable Diffusion upscaler"), ("low_scale_model.",)),
    "controlnet": (_("a ControlNet"), ("control_model.", "input_hint_block.", "controlnet_cond_embedding.")),
    "sd3": (_("a Stable Diffusion 3 checkpoint"), ("model.diffusion_model.joint_blocks.", "joint_blocks.")),
    "flux": (_("a Flux checkpoint"), ("model.diffusion_model.double_blocks.", "double_blocks.")),
}
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "unet": (_("a U-Net without its text encoder"), ("time_embedding.linear_1.", "time_embed.0.")),
    "text": (_("a text encoder without its U-Net"), ("text_model.", "transformer.resblocks.", "encoder.layers.")),
    "vae": (_("a VAE"), ("first_stage_model.", "encoder.conv_in.", "decoder.conv_in.", "encoder.down")),
}
UNKNOWN = "unknown"


def identify(names: Collection[str]) -> str:
    """The file type: a method's type of weights, a family's name for a checkpoint, a key of FOREIGN or PARTS, or
    "unknown".
    """
    names = list(names)
    for method in METHODS.values():
        if method.artifact.matches(names):
            return method.artifact.type
    return _find_by_prefix(_FOREIGN, names) or family_of(names) or _find_by_prefix(PARTS, names) or UNKNOWN


def _find_by_prefix(file_types: Mapping[str, tuple[str, tuple[str, ...]]], names: Collection[str]) -> str:
    """The first of these file types that has a prefix of one of the names; "" for none."""
    matching = (
        file_type
        for file_type, (_title, prefixes) in file_types.items()
        if any(name.startswith(prefixes) for name in names)
    )
    return next(matching, "")


def title_of(file_type: str) -> Message:
    """A file type as a noun phrase: "a LoRA"."""
    if file_type in FAMILIES:
        return Message(_("a {family} checkpoint"), family=FAMILIES[file_type].family_title)
    titles = {method.artifact.type: method.artifact.title for method in METHODS.values()}
    titles |= {name: title for name, (title, _prefixes) in (_FOREIGN | PARTS).items()}
    return Message(titles.get(file_type, _("a file of a type that this program does not know")))


def artifact_type(file_type: str) -> str:
    """The type of weights in such a file: "checkpoint" for every family."""
    return "checkpoint" if file_type in FAMILIES else file_type


def artifact_types() -> list[str]:
    """Every type of weights that a method writes."""
    return list(dict.fromkeys(method.artifact.type for method in METHODS.values()))


def method_of(file_type: str) -> type[MethodSettings]:
    """The method that writes and reads a type of weights."""
    return next(method for method in METHODS.values() if method.artifact.type == file_type)
