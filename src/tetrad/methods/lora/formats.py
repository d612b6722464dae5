"""LoRA formats: kohya's, diffusers', and LyCORIS', which is kohya's with the magnitudes of a DoRA.

The first two store a DoRA as a plain LoRA, so that a file has one meaning in every program that reads it, and
diffusers' stores every network so.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from tetrad.errors import TetradError
from tetrad.formats import bundles, kohya, peft
from tetrad.formats.weight_files import WeightFile
from tetrad.locales import Message, _
from tetrad.methods.base import Decoded, FileFormat, Metadata
from tetrad.methods.lora.bake import bake_all, bake_dora
from tetrad.methods.lora.detection import detect_family, find_unsupported_algorithm
from tetrad.methods.lora.lycoris import is_norm
from tetrad.methods.lora.weights import named_layers
from tetrad.models.base import Model
from tetrad.weights import Weights


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


FORMATS = {
    "kohya": FileFormat(".safetensors", _encode_kohya, _decode_kohya, bake_dora),
    "diffusers": FileFormat(".safetensors", _encode_peft, _decode_peft, _prepare_peft),
    "lycoris": FileFormat(".safetensors", _encode_kohya, _decode_kohya),
}
