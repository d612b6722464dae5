"""A LoRA from ComfyUI's own trainer or its extraction has the same effect as the same tensors under kohya's names."""

from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.formats import ldm
from tetrad.inspection.inspect import inspect_path
from tetrad.methods.lora.weights import named_layers
from tetrad.models.base import Model

TEXT_PREFIXES = {"sd1": {"text_encoder": "clip_l"}, "sd2": {"text_encoder": "clip_h"}}
TEXT_PREFIXES |= {"sdxl": {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}}


def make_tensor(name: str, *shape: int) -> Tensor:
    return 0.1 * torch.randn(shape, generator=generator(0, 0, name))


def comfyui_names(model: Model) -> dict[str, str]:
    """Each layer's name in ComfyUI: its path in a single file, or transformers' path of a text encoder."""
    layers = [path for path, _module in named_layers(model) if not path.startswith("vae.")]
    names = {path: f"diffusion_model.{ldm_path}" for path, ldm_path in ldm.map_unet_paths(layers).items()}
    for path in layers:
        part, _, rest = path.partition(".")
        if encoder := TEXT_PREFIXES[model.family].get(part):
            names[path] = f"text_encoders.{encoder}.transformer.text_model.{rest.removeprefix('text_model.')}"
    return names


def train_as_comfyui(model: Model) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A file as the node TrainLoRA writes it, and the change of each weight and bias by its canonical name.

    Matrices are flat for convolutions too; norms have `diff`; biases have `diff_b`.
    """
    modules, names = dict(named_layers(model)), comfyui_names(model)
    file, changes = {}, {}
    for path, name in names.items():
        weight, bias = modules[path].weight, modules[path].bias
        assert isinstance(weight, Tensor)
        if weight.ndim > 1:
            up, down = make_tensor(f"{path} up", len(weight), 2), make_tensor(f"{path} down", 2, weight[0].numel())
            file |= {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, f"{name}.alpha": torch.tensor(1.0)}
            changes[f"{path}.weight"] = (up @ down / 2).reshape(weight.shape)
        else:
            file[f"{name}.diff"] = changes[f"{path}.weight"] = make_tensor(path, *weight.shape)
        if isinstance(bias, Tensor):
            file[f"{name}.diff_b"] = changes[f"{path}.bias"] = make_tensor(f"{path} bias", *bias.shape)
    return file, changes


def predict(model: Model) -> Tensor:
    with torch.no_grad():
        latents = torch.randn(1, 4, 8, 8, generator=generator(1, 0, "z"))
        return model.predict(latents, torch.tensor([300]), model.condition(["a photo of zkr"]))


@pytest.mark.parametrize("family", list(TEXT_PREFIXES))
def test_comfyuis_own_lora_is_read(family: str, tmp_path: Path) -> None:
    model = tiny.build_model(family=family)
    file, changes = train_as_comfyui(model)
    save_file(file, tmp_path / "zkr.safetensors")
    inspection = inspect_path(str(tmp_path / "zkr.safetensors"))
    assert inspection.kind == "lora" and inspection.facts["format"] == "ComfyUI" and not inspection.trouble
    library.attach_weights(tmp_path / "zkr.safetensors", model)

    expected = tiny.build_model(family=family)
    for name, parameter in (
        (f"{part}.{key}", p) for part, net in expected.parts().items() for key, p in net.named_parameters()
    ):
        if name in changes:
            parameter.data += changes[name]
    torch.testing.assert_close(predict(model), predict(expected), atol=1e-4, rtol=1e-3)
    assert not torch.allclose(predict(model), predict(tiny.build_model(family=family)), atol=0.01)


def test_a_change_of_a_bias_alone_is_read(tmp_path: Path) -> None:
    file = {"diffusion_model.out.2.diff_b": torch.ones(4)}
    file |= {"diffusion_model.time_embed.0.lora_up.weight": torch.zeros(128, 1)}
    file |= {"diffusion_model.time_embed.0.lora_down.weight": torch.zeros(1, 32)}
    save_file(file, tmp_path / "zkr.safetensors")
    model = tiny.build_model()
    before = predict(model)
    library.attach_weights(tmp_path / "zkr.safetensors", model)
    torch.testing.assert_close(predict(model), before + 1)
