"""How other programs read a trained file: the rules of their loaders, as far as they decide what a file means.

A1111's `networks.py`, `network.py` and `textual_inversion.py`, ComfyUI's `lora.py`, `sd1_clip.py` and
`nodes_hypernetwork.py`, kohya's `networks/lora.py` and `gen_img.py`, diffusers' own code.
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tiny
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from parity import sd1_pipeline
from safetensors.torch import load_file
from torch import Tensor, nn

from tetrad.models.base import Model
from tetrad.models.tokenizer import load_tokenizer

# The layers of a U-Net by diffusers' paths, and of the text encoder by transformers' paths.
Layers = Mapping[str, nn.Module]
ATTENTION = (".to_q", ".to_k", ".to_v", ".to_out.0")
COMFYUI_ACTIVATIONS = {"linear": nn.Identity, "relu": nn.ReLU, "leakyrelu": nn.LeakyReLU, "elu": nn.ELU}
COMFYUI_ACTIVATIONS |= {"swish": nn.Hardswish, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
COMFYUI_ACTIVATIONS |= {"softsign": nn.Softsign, "mish": nn.Mish}
# A1111 has all of torch's, by their names in lower case; "swish" is none of them.
A1111_ACTIVATIONS = {name.lower(): getattr(nn.modules.activation, name) for name in nn.modules.activation.__all__}
A1111_ACTIVATIONS |= COMFYUI_ACTIVATIONS


def kohya_name(path: str) -> str:
    part, _, rest = path.partition(".")
    return {"unet": "lora_unet_", "text_encoder": "lora_te_text_model_"}[part] + rest.replace(".", "_")


def comfyui_names(path: str) -> list[str]:
    """The names under which ComfyUI looks a layer up in a LoRA."""
    part, _, rest = path.partition(".")
    if part == "text_encoder":
        return [kohya_name(path), f"text_encoder.text_model.{rest}"]
    by_processor = rest.replace(".to_", ".processor.to_").removesuffix(".0") if rest.endswith(ATTENTION) else rest
    return [kohya_name(path), by_processor, f"unet.{by_processor}"]


COMFYUI_SUFFIXES = {  # up: down
    ".lora_up.weight": ".lora_down.weight",
    "_lora.up.weight": "_lora.down.weight",
    ".lora_B.weight": ".lora_A.weight",
    ".lora.up.weight": ".lora.down.weight",
    ".lora_linear_layer.up.weight": ".lora_linear_layer.down.weight",
}


def read_lycoris_as_web_ui(file: Mapping[str, Tensor], name: str, layer: nn.Module) -> Tensor | None:
    """The change of a LoHa, a LoKr, or a LoRA with a core, which A1111 and ComfyUI compute in the same way."""
    found = {key.removeprefix(f"{name}."): each.float() for key, each in file.items() if key.startswith(f"{name}.")}
    weight, alpha = layer.weight, float(found.get("alpha", torch.tensor(1.0)))
    assert isinstance(weight, Tensor)

    def product(one: str, two: str, core: str) -> Tensor:
        if core in found:
            return torch.einsum("ijkl,jr,ip->prkl", found[core], found[two], found[one])
        return found[one] @ found[two]

    if "hada_w1_a" in found:
        first, second = product("hada_w1_a", "hada_w1_b", "hada_t1"), product("hada_w2_a", "hada_w2_b", "hada_t2")
        change = first * second * (alpha / len(found["hada_w1_b"]))
    elif {"lokr_w1", "lokr_w1_a"} & found.keys():
        rank = next((len(found[key]) for key in ("lokr_w2_b", "lokr_w1_b") if key in found), None)
        w1 = found["lokr_w1"] if "lokr_w1" in found else product("lokr_w1_a", "lokr_w1_b", "")
        w2 = found["lokr_w2"] if "lokr_w2" in found else product("lokr_w2_a", "lokr_w2_b", "lokr_t2")
        change = torch.kron(w1[:, :, None, None] if w2.ndim == 4 else w1, w2.contiguous()) * (
            alpha / rank if rank else 1.0
        )
    elif "lora_mid.weight" in found:
        up, down = found["lora_up.weight"].flatten(1), found["lora_down.weight"].flatten(1)
        change = torch.einsum("mnkl,im,nj->ijkl", found["lora_mid.weight"], up, down) * (alpha / len(down))
    else:
        return None
    change = change.reshape(weight.shape)
    return by_columns(weight, change, found["dora_scale"]) if "dora_scale" in found else change


def rotate(file: Mapping[str, Tensor], name: str, layer: nn.Module, constraint: float) -> Tensor:
    """The change of an OFT, with Cayley's rotation of each block; the norm of Q is at most the constraint, if any."""
    blocks, weight = file[f"{name}.oft_blocks"], layer.weight
    assert isinstance(weight, Tensor)
    q = blocks - blocks.mT
    if constraint and q.norm() > constraint:
        q = q * constraint / q.norm()
    identity = torch.eye(len(q[0]))
    rotation = torch.block_diag(*((identity + q) @ torch.linalg.inv(identity - q)).mT)
    return (rotation @ weight.flatten(1)).reshape(weight.shape) - weight


def read_as_comfyui(file: Mapping[str, Tensor], layers: Layers) -> dict[str, Tensor]:
    """The change of each layer's weight that ComfyUI finds a LoRA to make."""
    changes = {}
    for path, layer in layers.items():
        if (change := read_lycoris_as_web_ui(file, kohya_name(path), layer)) is not None:
            changes[path] = change
            continue
        if f"{kohya_name(path)}.oft_blocks" in file:  # the scales are ignored, the constraint is not that of LyCORIS
            changes[path] = rotate(file, kohya_name(path), layer, float(file[f"{kohya_name(path)}.alpha"]))
        for name in comfyui_names(path):
            for up_suffix, down_suffix in COMFYUI_SUFFIXES.items():
                if (up := file.get(name + up_suffix)) is not None:
                    change = multiply(up, file[name + down_suffix], file.get(f"{name}.alpha"), layer)
                    scale = file.get(f"{name}.dora_scale")
                    changes[path] = change if scale is None else by_columns(layer.weight, change, scale)
    return changes


def read_as_a1111(file: Mapping[str, Tensor], layers: Layers) -> dict[str, Tensor]:
    """The same for A1111 1.10, which takes every `dora_scale` for one value for each column."""
    changes = {}
    for path, layer in layers.items():
        name = kohya_name(path)
        if (change := read_lycoris_as_web_ui(file, name, layer)) is not None:
            changes[path] = change
            continue
        if f"{name}.oft_blocks" in file:
            weight, scale = layer.weight, file.get(f"{name}.rescale", torch.ones(()))
            assert isinstance(weight, Tensor)
            rotated = weight + rotate(file, name, layer, float(file[f"{name}.alpha"]) * len(weight))
            changes[path] = scale * rotated - weight
        if (up := file.get(f"{name}.lora_up.weight")) is not None:
            change = multiply(up, file[f"{name}.lora_down.weight"], file.get(f"{name}.alpha"), layer)
            scale = file.get(f"{name}.dora_scale")
            changes[path] = change if scale is None else by_columns(layer.weight, change, scale)
    return changes


def read_as_kohya(file: Mapping[str, Tensor], layers: Layers) -> dict[str, Tensor]:
    """The same for kohya's scripts, which drop all but a plain LoRA's tensors; diffusers drops a `dora_scale` too."""
    kept = ("lora_down.weight", "lora_up.weight", "alpha")
    return read_as_a1111({name: tensor for name, tensor in file.items() if name.endswith(kept)}, layers)


def multiply(up: Tensor, down: Tensor, alpha: Tensor | None, layer: nn.Module) -> Tensor:
    scale = 1.0 if alpha is None else float(alpha) / len(down)
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return scale * (up.flatten(1).float() @ down.flatten(1).float()).reshape(weight.shape)


def by_columns(weight: Tensor | nn.Module, change: Tensor, scale: Tensor) -> Tensor:
    """A DoRA with the norm of each input's column, whatever the scale's shape: it is broadcast."""
    assert isinstance(weight, Tensor)
    merged = weight + change
    norm = merged.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *[1] * (weight.ndim - 2))
    return merged * (scale / norm) - weight


def read_hypernetwork_as_comfyui(content: Mapping[Any, Any]) -> dict[int, list[nn.Sequential]]:
    """ComfyUI's networks: built from the order of the tensors; dropout stays active, since nothing turns it off."""
    networks = {}
    for width, sides in content.items():
        if isinstance(width, int):
            networks[width] = [build_comfyui_network(side, content) for side in sides]
    return networks


def build_comfyui_network(tensors: Mapping[str, Tensor], content: Mapping[Any, Any]) -> nn.Sequential:
    names = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    modules: list[nn.Module] = []
    step = 2 if content["is_layer_norm"] else 1
    for first in range(0, len(names), step):
        is_last, is_penultimate = first == len(names) - 1, first == len(names) - 2
        linear = nn.Linear(*reversed(tensors[f"{names[first]}.weight"].shape))
        linear.load_state_dict({key: tensors[f"{names[first]}.{key}"] for key in ("weight", "bias")})
        modules.append(linear)
        if content["activation_func"] != "linear" and (not is_last or content["activate_output"]):
            modules.append(COMFYUI_ACTIVATIONS[content["activation_func"]]())
        if step == 2:
            norm = nn.LayerNorm(len(tensors[f"{names[first + 1]}.weight"]))
            norm.load_state_dict({key: tensors[f"{names[first + 1]}.{key}"] for key in ("weight", "bias")})
            modules.append(norm)
        if content["use_dropout"] and not is_last and (not is_penultimate or content["last_layer_dropout"]):
            modules.append(nn.Dropout(0.3))
    return nn.Sequential(*modules)


def read_hypernetwork_as_a1111(content: Mapping[Any, Any]) -> dict[int, list[nn.Sequential]]:
    """A1111's networks: built from the settings; a tensor's number is the position of its module, dropout included."""
    structure, dropout = content["layer_structure"], content["dropout_structure"]
    networks: dict[int, list[nn.Sequential]] = {}
    for width, sides in content.items():
        for side in sides if isinstance(width, int) else ():
            modules: list[nn.Module] = []
            for number in range(len(structure) - 1):
                modules.append(nn.Linear(int(width * structure[number]), int(width * structure[number + 1])))
                is_last = number == len(structure) - 2
                if content["activation_func"] != "linear" and (not is_last or content["activate_output"]):
                    modules.append(A1111_ACTIVATIONS[content["activation_func"]]())
                if content["is_layer_norm"]:
                    modules.append(nn.LayerNorm(int(width * structure[number + 1])))
                if dropout[number + 1] > 0:
                    modules.append(nn.Dropout(dropout[number + 1]))
            network = nn.Sequential(*modules)
            network.load_state_dict({re.sub(r"^linear\.", "", name): tensor for name, tensor in side.items()})
            networks.setdefault(width, []).append(network.eval())
    return networks


def read_embedding_as_a1111(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The vectors that A1111 takes from a file, by text encoder: the first rule that applies."""
    if "string_to_param" in content:
        (vectors,) = content["string_to_param"].values()
        return {"text_encoder": vectors}
    if {"clip_l", "clip_g"} <= content.keys():
        return {"text_encoder": content["clip_l"], "text_encoder_2": content["clip_g"]}
    (vectors,) = content.values()
    return {"text_encoder": vectors if vectors.ndim > 1 else vectors[None]}


def read_embedding_as_comfyui(content: Mapping[str, Any], text_encoders: int) -> dict[str, Tensor]:
    """The same for ComfyUI: each text encoder looks for its own key, else it takes the first value."""
    vectors = {}
    for number, key in enumerate(("clip_l", "clip_g")[:text_encoders]):
        if "string_to_param" in content:
            found = next(iter(content["string_to_param"].values()))
        else:
            found = content[key] if key in content else next(iter(content.values()))
        vectors["text_encoder" if number == 0 else "text_encoder_2"] = found
    return vectors


def read_embedding_as_kohya(content: Mapping[str, Any], text_encoders: int) -> dict[str, Tensor]:
    """The same for kohya's scripts."""
    if text_encoders > 1:
        return {"text_encoder": content["clip_l"], "text_encoder_2": content["clip_g"]}
    return {"text_encoder": next(iter(content.get("string_to_param", content).values()))}


def read_embedding_as_diffusers(content: Mapping[str, Any], text_encoders: int) -> dict[str, Tensor]:
    """The same for diffusers; for two text encoders its guide gives it each tensor by itself."""
    if text_encoders > 1:
        return {"text_encoder": content["clip_l"], "text_encoder_2": content["clip_g"]}
    if len(content) == 1:
        return {"text_encoder": next(iter(content.values()))}
    assert content["name"]  # its token
    return {"text_encoder": content["string_to_param"]["*"]}


def read_lora_as_diffusers(path: Path) -> dict[str, Tensor]:
    """The change of each layer's weight that diffusers itself makes, since it is installed here."""
    pipeline = sd1_pipeline.build(tiny.build_model(is_shallow=True), tokenizer=load_tokenizer())
    networks = {"unet": pipeline.unet, "text_encoder": pipeline.text_encoder}
    before = {
        f"{part}.{name}": weight.clone() for part, network in networks.items() for name, weight in weights(network)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # PEFT warns about alphas that it does not apply
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name, local_files_only=True)
    pipeline.fuse_lora()
    after = {f"{part}.{name}": weight for part, network in networks.items() for name, weight in weights(network)}
    return {name: after[name] - weight for name, weight in before.items() if not torch.equal(after[name], weight)}


def weights(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weight of each layer, also where PEFT wrapped it."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and "lora_" not in name:
            yield name.removesuffix(".base_layer"), module.weight.detach()


def read_checkpoint_file(path: Path, model: Model) -> dict[str, Tensor]:
    """The canonical tensors that A1111, ComfyUI and kohya's scripts load from a single file of Stable Diffusion 1.

    They load by the names of the networks that the file was made for; diffusers' converters have a table of these.
    """
    file = load_file(path)
    parts = {
        "unet": convert_ldm_unet_checkpoint(dict(file), dict(model.unet.config)),
        "text_encoder": convert_ldm_clip_checkpoint(dict(file)),
        "vae": convert_ldm_vae_checkpoint(dict(file), dict(model.vae.network.config)),
    }
    return {
        f"{part}.{name.removeprefix('text_model.')}": tensor
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }


def read_checkpoint_folder(path: Path) -> dict[str, Tensor]:
    """The canonical tensors that diffusers loads from a folder: the index names the parts, each with its file."""
    index = json.loads((path / "model_index.json").read_text("utf-8"))
    files = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
    tensors = {}
    for part, stem in files.items():
        library, _class = index[part]
        assert library in ("diffusers", "transformers")
        content = load_file(path / part / f"{stem}.safetensors")
        tensors |= {f"{part}.{name.removeprefix('text_model.')}": tensor for name, tensor in content.items()}
    return tensors
