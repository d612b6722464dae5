"""The names by which each program finds the layers of a model in a LoRA file.

A1111: extensions-builtin/Lora/networks.py of 1.10. ComfyUI: comfy/lora.py. kohya: networks/lora.py.
"""

from collections.abc import Iterator

from tetrad.formats import kohya, ldm
from tetrad.methods.lora.weights import named_layers
from tetrad.models.base import Model


def list_a1111_names(model: Model) -> set[str]:
    """A1111 changes diffusers' names into those of the single file, and finds both below `lora_unet_`."""
    names = set()
    for layer, ldm_path in _list_unet_layers(model):
        underscored = ldm_path.replace(".", "_")
        names |= {kohya.to_kohya_name(layer), f"lora_unet_{underscored}", f"{kohya.OFT_PREFIX}{underscored}"}
    if _has_two_encoders(model):
        return names | set(_list_text_names(model, "lora_te1_"))
    # OpenCLIP's layers, those of Stable Diffusion 2, are not found below `lora_te1_`.
    return names | set(_list_text_names(model, "lora_te_", *(["lora_te1_"] if model.single_file.clip else [])))


def list_comfyui_names(model: Model) -> set[str]:
    """ComfyUI takes every spelling that tools have used, but attention by the names of diffusers' processors only."""
    names = set()
    for layer, ldm_path in _list_unet_layers(model):
        path = layer.removeprefix("unet.")
        by_processor = path.replace(".to_", ".processor.to_")
        by_processor = by_processor.removesuffix(".0") if path.endswith(".to_out.0") else by_processor
        underscored = path.replace(".", "_")
        names |= {f"lora_unet_{underscored}", f"{kohya.LYCORIS_PREFIX}{underscored}", by_processor}
        names |= {f"lora_unet_{ldm_path.replace('.', '_')}", f"unet.{by_processor}", f"diffusion_model.{ldm_path}"}
    first = "clip_l" if model.single_file.clip else "clip_h"
    for layer in _list_text_layers(model):
        part, _dot, path = layer.partition(".")
        inner = f"text_model.{path.removeprefix('text_model.')}"
        encoder = first if part == "text_encoder" else "clip_g"
        names |= {f"{part}.{inner}", f"text_encoders.{encoder}.transformer.{inner}"}
    return names | set(_list_text_names(model, "lora_te_", "lora_te1_"))


def list_kohya_names(model: Model) -> set[str]:
    """kohya's scripts have branches on the layers that they train; those of XL have the single file's names."""
    patterns = model.layers
    trained = [
        (layer, ldm_path)
        for layer, ldm_path in _list_unet_layers(model)
        if patterns.attention.fullmatch(layer) or patterns.convolutions.fullmatch(layer)
    ]
    names = {kohya.to_kohya_name(layer) for layer, _ldm_path in trained}
    if _has_two_encoders(model):
        names |= {f"lora_unet_{ldm_path.replace('.', '_')}" for _layer, ldm_path in trained}
    return names | set(_list_text_names(model, "lora_te1_" if _has_two_encoders(model) else "lora_te_"))


def _list_unet_layers(model: Model) -> Iterator[tuple[str, str]]:
    """The canonical path of each layer of the U-Net, and its path in the single file."""
    return iter(ldm.map_unet_paths([layer for layer, _module in named_layers(model)]).items())


def _list_text_layers(model: Model) -> Iterator[str]:
    return (layer for layer, _module in named_layers(model) if model.layers.text.fullmatch(layer))


def _list_text_names(model: Model, *first_prefixes: str) -> Iterator[str]:
    """kohya's names for the text encoders' layers, with these prefixes for those of the first one."""
    for layer in _list_text_layers(model):
        name = kohya.to_kohya_name(layer)
        is_first = layer.startswith("text_encoder.")
        yield from (name.replace("lora_te_", prefix, 1) for prefix in first_prefixes) if is_first else [name]


def _has_two_encoders(model: Model) -> bool:
    return len(model.single_file.text_encoders) > 1
