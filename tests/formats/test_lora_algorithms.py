"""Files of other algorithms than LoRA: OFT is read, and the others are named for what they are."""

from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

from tetrad import library
from tetrad.errors import TetradError
from tetrad.inspection.inspect import inspect_path
from tetrad.methods.lora.detection import detect_family

LAYER = "unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"  # 32 × 32


@pytest.mark.parametrize("prefix", ["oft", "lora"])
def test_the_oft_of_kohya_and_of_lycoris_rotates_a_layers_outputs(prefix: str, tmp_path: Path) -> None:
    blocks = 0.3 * torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    save_file(
        {f"{prefix}_{LAYER}.oft_blocks": blocks, f"{prefix}_{LAYER}.alpha": torch.tensor(0.0)},
        tmp_path / "zkr.safetensors",
    )
    inspection = inspect_path(str(tmp_path / "zkr.safetensors"))
    assert (inspection.kind, inspection.facts["algorithm"], inspection.trouble) == ("lora", "OFT", [])
    model = tiny.build_model()
    layer = model.parts()["unet"].get_submodule("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q")
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(1))
    before = layer(x)
    library.attach_weights(tmp_path / "zkr.safetensors", model)
    after = layer(x)
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(after.reshape(3, 4, 8).norm(dim=2), before.reshape(3, 4, 8).norm(dim=2))


@pytest.mark.parametrize(
    ("metadata", "shapes", "family"),
    [
        ({"ss_base_model_version": "sd_1.5"}, {}, "1"),
        ({"ss_base_model_version": "sd_2.1"}, {}, "2"),
        ({"ss_v2": "True"}, {}, "2"),
        ({"ss_base_model_version": "unknown", "modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, {}, "XL"),
        ({}, {"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.hada_w1_b": (8, 768)}, "1"),
    ],
)
def test_the_family_of_any_algorithm_is_found(
    metadata: dict[str, str], shapes: dict[str, tuple[int, ...]], family: str
) -> None:
    assert detect_family(metadata, shapes) == f"Stable Diffusion {family}"


UNSUPPORTED: dict[str, tuple[dict[str, Tensor], str]] = {
    "BOFT": ({f"lora_{LAYER}.oft_blocks": torch.zeros(2, 4, 8, 8)}, "is a BOFT"),
    "GLoRA": ({f"lora_{LAYER}.{name}.weight": torch.ones(2, 2) for name in ("a1", "a2", "b1", "b2")}, "is a GLoRA"),
    "IA3": (
        {f"lora_{LAYER}.weight": torch.ones(32, 1), f"lora_{LAYER}.on_input": torch.tensor(False)},
        r"is a \(IA\)³",
    ),
}


@pytest.mark.parametrize("algorithm", list(UNSUPPORTED))
def test_an_algorithm_that_is_not_supported_is_named(algorithm: str, tmp_path: Path) -> None:
    tensors, expected = UNSUPPORTED[algorithm]
    save_file(tensors, tmp_path / "zkr.safetensors")
    with pytest.raises(TetradError, match=f"E5135.*zkr.*{expected}"):
        library.read_weights(tmp_path / "zkr.safetensors", tiny.build_model())
    shown = inspect_path(str(tmp_path / "zkr.safetensors")).facts["algorithm"]
    assert shown == {"IA3": "(IA)³", "a bundle": "LoRA"}.get(algorithm, algorithm)
