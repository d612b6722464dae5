"""LoRAs merged into a checkpoint change it as they change the model in a prompt, and can be taken out again."""

from pathlib import Path

import pytest
import tiny
import torch
from lora_samples import KINDS, ON_BASE, build_model, changes_of, save_base, save_kind

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.formats import weight_files
from tetrad.merging.apply_loras import apply_loras
from tetrad.merging.lora_files import LoraChoice


def predict(model: object) -> torch.Tensor:
    rng = generator(0, 0, "x")
    z, c = torch.randn(1, 4, 8, 8, generator=rng), model.condition(["a photo"])  # type: ignore[attr-defined]
    with torch.no_grad():
        return model.predict(z, torch.tensor([500.0]), c)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_checkpoint_predicts_what_the_model_with_its_loras_does(tmp_path: Path, kind: str) -> None:
    base = save_base(tmp_path / "base")
    a, b = save_kind(tmp_path / "a", kind, 1), save_kind(tmp_path / "b", "LoRA", 2)
    merged = apply_loras([LoraChoice(a, 0.8, 0.8), LoraChoice(b, 0.5, 0.3)], base, tmp_path / "m.safetensors").path
    model = library.load_model(str(base))
    before = predict(model)
    library.attach_weights(a, model, 0.8)
    library.attach_weights(b, model, {"unet": 0.5, "text_encoder": 0.3})
    expected = predict(model)
    assert (expected - before).abs().max() > 0.01
    torch.testing.assert_close(predict(library.load_model(str(merged))), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ON_BASE])
def test_taking_loras_out_again_restores_each_element_to_the_last_bits(tmp_path: Path, kind: str) -> None:
    base = save_base(tmp_path / "base")
    a, b = save_kind(tmp_path / "a", kind, 1), save_kind(tmp_path / "b", "LoCon", 2)
    merged = apply_loras([LoraChoice(a, 1.3, 1.3), LoraChoice(b, -2, -2)], base, tmp_path / "m.safetensors").path
    restored = apply_loras([LoraChoice(a, -1.3, -1.3), LoraChoice(b, 2, 2)], merged, tmp_path / "r.safetensors").path
    before, between, after = (weight_files.read_weight_file(path).tensors for path in (base, merged, restored))
    for name, tensor in before.items():
        largest = torch.maximum(tensor.abs(), between[name].abs())
        assert ((after[name] - tensor).abs() <= 2**-22 * largest).all(), name
    assert any(not torch.equal(between[name], tensor) for name, tensor in before.items())
