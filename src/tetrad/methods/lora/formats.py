"""LoRA formats: kohya's, diffusers', and LyCORIS', which is kohya's with the magnitudes of a DoRA.

The first two store a DoRA as a plain LoRA, so that a file has one meaning in every program that reads it, and
diffusers' stores every network so.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from tetrad.errors import TetradError
from tetrad.formats import bundles, kohya, peft
from tetrad.formats.weight_files import WeightFile
from tetrad.locales import Message, _
from tetrad.methods.base import Decoded, FileFormat, Metadata
from tetrad.methods.lora.bake import bake_all, bake_dora
from tetrad.methods.lora.lycoris import is_norm
from tetrad.methods.lora.weights import named_layers
from tetrad.models.base import Model
from tetrad.models.families import FAMILIES
from tetrad.weights import Weights

_SECOND_TEXT_ENCODER = ("lora_te2_", "text_encoder_2.", *kohya.COMFYUI_PREFIXES["text_encoder_2"])
# How the tensors of other algorithms end.
_UNSUPPORTED = {".a1.weight": "GLoRA", ".b1.weight": "GLoRA", ".on_input": "(IA)³"}
_TEXT_KEYS = re.compile(
    r"attn2[._](to_k|processor\.to_k_lora)[._](lora_down|lora_A|lora\.down|lora_linear_layer\.down|down)\b.*weight$"
    r"|attn2[._]to_k\.(hada_w1_b|diff)$"
)


def _encode_kohya(weights: Weights, model: Model, metadata: Metadata) -> WeightFile:
    tensors = kohya.encode(weights, [layer for layer, _module in named_layers(model)])
    return WeightFile(
        tensors, kohya.add_model_hashes(tensors, {key: value for key, value in metadata.items() if key != "name"})
    )


def _decode_kohya(file: WeightFile, model: Model) -> Decoded:
    """Read a kohya LoRA, without embeddings inside.  E5102 where its metadata or shapes are of another family."""
    file = bundles.remove_embeddings(file)
    _check_algorithm(file)
    base = detect_family(file.metadata, {name: tensor.shape for name, tensor in file.tensors.items()})
    if base not in (None, model.family_title):
        raise TetradError(
            "E5102",
            _(
                "this is a LoRA for {base}, but {model} is {family}; give a {base} checkpoint with --model, or train"
                " this LoRA again on {family}"
            ),
            base=base,
            model=model.name,
            family=model.family_title,
        )
    layers = dict(named_layers(model))
    weights, unmatched = kohya.decode(file.tensors, layers, file.metadata)
    return replace(weights, tensors=_rename_norm_changes(weights.tensors, layers)), unmatched


def _check_algorithm(file: WeightFile) -> None:
    """E5135 for an algorithm that is not supported, by the names of its tensors."""
    for key, tensor in file.tensors.items():
        algorithm = find_unsupported_algorithm(key, tensor.ndim)
        if algorithm:
            raise TetradError(
                "E5135",
                _(
                    "{file} is a {algorithm} (it contains {tensor}), which Tetrad does not read; use it in A1111 or"
                    " ComfyUI, or get this network as a LoRA, LoHa, LoKr or OFT"
                ),
                file=file.stem,
                algorithm=algorithm,
                tensor=key,
            )


def find_unsupported_algorithm(key: str, dimensions: int) -> str:
    """The algorithm whose tensor this is, by its name and number of dimensions; "" where Tetrad reads such tensors."""
    if key.endswith(".oft_blocks") and dimensions == 4:
        return "BOFT"
    return next((name for end, name in _UNSUPPORTED.items() if key.endswith(end)), "")


def _rename_norm_changes(tensors: Mapping[str, Tensor], layers: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """ComfyUI calls the change of a norm `diff`, as that of every other layer; LyCORIS, and so Tetrad, `w_norm`."""
    renamed = {}
    for name, tensor in tensors.items():
        layer, _dot, tensor_name = name.rpartition(".")
        new_name = {"diff": "w_norm", "diff_b": "b_norm"}.get(tensor_name) if is_norm(layers[layer]) else None
        renamed[f"{layer}.{new_name}" if new_name else name] = tensor
    return renamed


def _encode_peft(weights: Weights, model: Model, metadata: Metadata) -> WeightFile:
    about = {key: value for key, value in metadata.items() if key not in ("name", peft.CONFIG_METADATA_KEY)}
    return WeightFile(peft.encode(weights), {"format": "pt", **about})


def _decode_peft(file: WeightFile, model: Model) -> Decoded:
    file = bundles.remove_embeddings(file)
    return peft.decode(file.tensors, [layer for layer, _module in named_layers(model)], file.metadata)


def _prepare_peft(weights: Weights, model: Model) -> tuple[Weights, Message | None]:
    baked, loss = bake_all(weights, model)
    return peft.fold_alpha(baked), loss


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


FORMATS = {
    "kohya": FileFormat(".safetensors", _encode_kohya, _decode_kohya, bake_dora),
    "diffusers": FileFormat(".safetensors", _encode_peft, _decode_peft, _prepare_peft),
    "lycoris": FileFormat(".safetensors", _encode_kohya, _decode_kohya),
}
