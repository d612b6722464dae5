"""LoRAs merged into a checkpoint change it as they change the model in a prompt, and can be taken out again."""

from pathlib import Path

import lora_samples
import pytest
import tiny
import torch
from lora_samples import KINDS, ON_BASE, save_base, save_kind

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.formats import weight_files
from tetrad.merging.lora_files import LoraChoice
from tetrad.merging.lora_into_checkpoint import merge_loras_into
from tetrad.methods.lora.layer import weight_of
from tetrad.methods.lora.weights import named_layers
from tetrad.models.base import Model
from tetrad.weights import Weights

UNET_LAYER = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v"
OPENCLIP_LAYERS = {
    "sd2": [("", "encoder.layers.0.self_attn.k_proj"), ("", "encoder.layers.1.mlp.fc2")],
    "sdxl": [
        ("", "encoder.layers.0.self_attn.q_proj"),
        ("_2", "text_model.encoder.layers.0.self_attn.v_proj"),
        ("_2", "text_model.encoder.layers.1.mlp.fc1"),
        ("_2", "text_projection"),
    ],
}


def predict(model: Model) -> torch.Tensor:
    z = torch.randn(1, 4, 8, 8, generator=generator(0, 0, "x"))
    with torch.no_grad():
        return model.predict(z, torch.tensor([500.0]), model.condition(["a photo"]))


def test_a_merged_checkpoint_predicts_what_the_model_with_its_loras_does(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    loras = {kind: save_kind(tmp_path / kind, kind, seed) for seed, kind in enumerate(KINDS)}
    choices = [LoraChoice(path, 0.8, -0.3) for path in loras.values()]
    merge_loras_into(choices, base, tmp_path / "m.safetensors")
    model = library.load_model(str(base))
    prediction, strengths = predict(model), {"unet": 0.8, "text_encoder": -0.3}
    for path in loras.values():
        library.attach_weights(path, model, strengths)
        previous, prediction = prediction, predict(model)
        assert (prediction - previous).abs().max() > 1e-3, path  # each of them has an effect
    merged = predict(library.load_model(str(tmp_path / "m.safetensors")))
    torch.testing.assert_close(merged, prediction, atol=1e-5, rtol=1e-5)


def test_taking_loras_out_again_restores_each_element_to_the_last_bits(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    loras = [save_kind(tmp_path / kind, kind, seed) for seed, kind in enumerate(KINDS) if kind not in ON_BASE]
    merged, restored = tmp_path / "m.safetensors", tmp_path / "r.safetensors"
    merge_loras_into([f"{path}:{number - 3.3}" for number, path in enumerate(loras)], base, merged)
    merge_loras_into([f"{path}:{3.3 - number}" for number, path in enumerate(loras)], merged, restored)
    before, between, after = (weight_files.read_weight_file(path).tensors for path in (base, merged, restored))
    for name, tensor in before.items():
        largest = torch.maximum(tensor.abs(), between[name].abs())
        assert ((after[name] - tensor).abs() <= 2**-22 * largest).all(), name
    assert sum(not torch.equal(between[name], tensor) for name, tensor in before.items()) > 5


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_every_layer_of_other_families_changes_by_its_own_change(tmp_path: Path, family: str) -> None:
    """Their files have OpenCLIP's q, k and v in one tensor, and a projection that is transposed."""
    model = tiny.build_model(family=family)
    base = tiny.save_checkpoint(tmp_path / "base", model, model.weights().metadata, "fp32")
    paths = [f"text_encoder{suffix}.{path}" for suffix, path in OPENCLIP_LAYERS[family]]
    tensors: dict[str, torch.Tensor] = {}
    for path in [*paths, UNET_LAYER]:
        out, ins = weight_of(dict(named_layers(model))[path]).shape
        down, up = lora_samples.randn(1, path, 4, ins), lora_samples.randn(2, path, out, 4)
        tensors |= {f"{path}.down": down, f"{path}.up": up, f"{path}.alpha": torch.tensor(2.0)}
    lora = library.save_weights(tmp_path / "a", Weights("lora", tensors), model, model.metadata)
    out_path = tmp_path / "m.safetensors"
    merge_loras_into([f"{lora}:0.6"], base, out_path)
    merged = library.load_model(str(out_path)).weights().tensors
    for name, tensor in library.load_model(str(base)).weights().tensors.items():
        path = name.removesuffix(".weight")
        change = 0.3 * tensors[f"{path}.up"] @ tensors[f"{path}.down"] if f"{path}.up" in tensors else 0.0
        torch.testing.assert_close(merged[name], tensor + change, atol=1e-6, rtol=1e-6)
