"""LoRAs merged into a checkpoint change it as they change the model in a prompt, and can be taken out again."""

from pathlib import Path

import torch
from lora_samples import KINDS, ON_BASE, save_base, save_kind

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.formats import weight_files
from tetrad.merging.lora_files import LoraChoice
from tetrad.merging.lora_into_checkpoint import merge_loras_into
from tetrad.models.base import Model


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
