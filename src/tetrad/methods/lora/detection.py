"""Detects by names and shapes of tensors which family and which algorithm a LoRA is of, without torch."""

import re
from collections.abc import Mapping, Sequence

from tetrad.formats import kohya
from tetrad.methods.base import Metadata
from tetrad.models.families import FAMILIES

_SECOND_TEXT_ENCODER = ("lora_te2_", "text_encoder_2.", *kohya.COMFYUI_PREFIXES["text_encoder_2"])
# How the tensors of other algorithms end.
_UNSUPPORTED = {".a1.weight": "GLoRA", ".b1.weight": "GLoRA", ".on_input": "(IA)³"}
_TEXT_KEYS = re.compile(
    r"attn2[._](to_k|processor\.to_k_lora)[._](lora_down|lora_A|lora\.down|lora_linear_layer\.down|down)\b.*weight$"
    r"|attn2[._]to_k\.(hada_w1_b|diff)$"
)


def detect_family(metadata: Metadata, shapes: Mapping[str, Sequence[int]]) -> str | None:
    """The title of the family that a LoRA is for: from its metadata, its text encoders or its text width."""
    families = FAMILIES.values()
    if named := _family_of_metadata(metadata):
        return named
    if any(name.startswith(_SECOND_TEXT_ENCODER) for name in shapes):
        return next(family.family_title for family in families if len(family.single_file.text_encoders) > 1)
    widths = (shape[1] for name, shape in shapes.items() if _TEXT_KEYS.search(name) and len(shape) > 1)
    return _family_of_text_width(next(widths, 0))


def _family_of_metadata(metadata: Metadata) -> str | None:
    """The title of the family that kohya's metadata or the model spec name."""
    is_v2 = metadata.get("ss_v2") == "True"
    names = (
        metadata.get("ss_base_model_version", "sd_v2" if is_v2 else ""),
        metadata.get("modelspec.architecture", ""),
    )
    families = (each for name in names for each in FAMILIES.values() if name.startswith(each.metadata_names))
    return next((family.family_title for family in families), None)


def _family_of_text_width(width: int) -> str | None:
    """The title of the family whose cross-attention has this text width."""
    return next((family.family_title for family in FAMILIES.values() if family.text_width == width), None)


def find_unsupported_algorithm(key: str, dimensions: int) -> str:
    """The algorithm whose tensor this is, by its name and number of dimensions; "" where Tetrad reads such tensors."""
    if key.endswith(".oft_blocks") and dimensions == 4:
        return "BOFT"
    return next((name for end, name in _UNSUPPORTED.items() if key.endswith(end)), "")
