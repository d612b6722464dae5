"""diffusers' and PEFT's LoRA files: encoding and decoding keep the change, and all older names are read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import kohya, peft, weight_files
from tetrad.library.artifacts import find_adapter_file
from tetrad.library.identification import identify
from tetrad.methods import Lora
from tetrad.methods.lora.weights import named_layers
from tetrad.weights import Weights

Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
CONV = "unet.down_blocks.0.resnets.0.conv1"
TEXT = "text_encoder.encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def layers() -> list[str]:
    return [path for path, _ in named_layers(tiny.build_model())]


@pytest.fixture(scope="module")
def lora() -> Weights:
    """A LoRA on all layers, with a different alpha on convolutions, and without zeros."""
    method = Lora(rank=2, alpha=1.5, conv_rank=3, conv_alpha=0.5)
    tensors = tiny.attach(method, tiny.build_model(), generator(0, 0, "method")).weights().tensors
    filled = {name: torch.rand_like(t) + 0.1 if name.endswith("up") else t for name, t in tensors.items()}
    return Weights("lora", filled)


def test_decoding_an_encoded_lora_gives_the_same_change_with_alphas_folded_in(lora: Weights, layers: list[str]) -> None:
    again, unmatched = peft.decode(peft.encode(lora), layers, {})
    expected = peft.fold_alpha(lora).tensors
    assert unmatched == [] and again.tensors.keys() == expected.keys()
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in expected.items())
    assert again.tensors[f"{CONV}.alpha"] == 3
    torch.testing.assert_close(again.tensors[f"{CONV}.up"], lora.tensors[f"{CONV}.up"] * 0.5 / 3)


def test_names_are_those_that_diffusers_and_comfyui_read(lora: Weights) -> None:
    file = peft.encode(lora)
    attention = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor"
    assert file[f"{attention}.to_q_lora.down.weight"].shape == (2, 32)
    assert file[f"{attention}.to_out_lora.up.weight"].shape == (32, 2)
    assert file[f"{CONV}.lora.up.weight"].shape == (32, 3, 1, 1)
    assert "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight" in file
    assert identify(file) == "lora"


def down_and_up(path: str) -> dict[str, Tensor]:
    return {f"{path}.down": torch.rand(2, 32), f"{path}.up": torch.rand(32, 2)}


NAMINGS: dict[str, tuple[str, Callable[[str], str]]] = {
    "current, without text_model": (TEXT, lambda kind: f"{TEXT}.lora_{'AB'[kind == 'up']}.weight"),
    "PEFT itself": (Q, lambda kind: f"base_model.model.{Q[5:]}.lora_{'AB'[kind == 'up']}.weight"),
    "2024": (Q, lambda kind: f"{Q}.lora_{'AB'[kind == 'up']}.weight"),
    "with the adapter's name": (Q, lambda kind: f"{Q}.lora_{'AB'[kind == 'up']}.default.weight"),
    "2023": (OUT, lambda kind: f"{OUT}.lora.{kind}.weight"),
    "2023, processors": (OUT, lambda kind: f"{OUT[:-9]}.processor.to_out_lora.{kind}.weight"),
    "2022": (Q, lambda kind: f"{Q[5:-5]}.processor.to_q_lora.{kind}.weight"),
    "2023, text": (TEXT, lambda kind: f"text_encoder.text_model{TEXT[12:]}.lora_linear_layer.{kind}.weight"),
    "2022, text": (TEXT, lambda kind: f"text_encoder.text_model{TEXT[12:-6]}to_q_lora.{kind}.weight"),
}


@pytest.mark.parametrize("naming", list(NAMINGS))
def test_the_names_of_every_release_are_read(naming: str, layers: list[str]) -> None:
    layer, name_of = NAMINGS[naming]
    tensors = down_and_up(layer)
    file = {name_of(kind): tensors[f"{layer}.{kind}"] for kind in ("down", "up")}
    weights, unmatched = peft.decode(file, layers, {})
    assert unmatched == [] and identify(file) == "lora"
    assert weights.tensors[f"{layer}.alpha"] == 2
    assert all(torch.equal(weights.tensors[name], tensor) for name, tensor in tensors.items())


def test_alphas_come_from_pefts_configuration(layers: list[str]) -> None:
    file = {f"{layer}.lora_A.weight": torch.rand(4, 32) for layer in (Q, OUT)}
    config: dict[str, object] = {"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_out.0": 3}}

    def read_alphas() -> list[float]:
        weights, _ = peft.decode(file, layers, {peft.CONFIG_METADATA_KEY: json.dumps(config)})
        return [weights.tensors[f"{layer}.alpha"].item() for layer in (Q, OUT)]

    assert read_alphas() == [8, 3]
    config["unet.use_rslora"] = True
    assert read_alphas() == [16, 6]


def test_the_file_that_peft_writes_beside_its_weights_has_the_alpha(tmp_path: Path) -> None:
    save_file({f"base_model.model.{Q}.lora_A.weight": torch.rand(4, 32)}, tmp_path / peft.ADAPTER_FILES[0])
    (tmp_path / peft.CONFIG_FILE).write_text('{"lora_alpha": 8, "r": 4}')
    file = weight_files.read_weight_file(find_adapter_file(tmp_path))
    weights, unmatched = peft.decode(file.tensors, [Q], file.metadata)
    assert not unmatched and weights.tensors[f"{Q}.alpha"] == 8


@pytest.mark.parametrize(
    "config",
    ["not JSON", '{"unet.lora_alpha": "much"}', '{"unet.alpha_pattern": {"(a+)+": 1}}', '{"unet.lora_alpha": 0}'],
)
def test_an_invalid_peft_configuration_is_refused(config: str, layers: list[str]) -> None:
    with pytest.raises(TetradError, match="E5134") as caught:
        peft.decode({f"{Q}.lora_A.weight": torch.rand(4, 32)}, layers, {peft.CONFIG_METADATA_KEY: config})
    assert caught.value.sentence.values["key"] == peft.CONFIG_METADATA_KEY


def test_keys_without_a_layer_or_with_unknown_suffixes_are_returned_as_unmatched(layers: list[str]) -> None:
    odd = ["unet.nowhere.lora_A.weight", f"{Q}.lora_C.weight", "text_encoder_2.text_model.encoder.x.lora_A.weight"]
    _, unmatched = peft.decode({name: torch.ones(1, 1) for name in odd}, layers, {})
    assert unmatched == odd


def test_tensors_that_the_format_has_no_name_for_are_refused() -> None:
    with pytest.raises(TetradError, match="E5133") as caught:
        peft.encode(Weights("lora", {f"{Q}.hada_w1_a": torch.ones(2, 2)}))
    assert caught.value.sentence.values == {"tensor": f"{Q}.hada_w1_a"}


def test_both_lora_formats_hold_the_same_tensors(lora: Weights, layers: list[str]) -> None:
    through_kohya, _ = kohya.decode(kohya.encode(peft.fold_alpha(lora)), layers, {})
    through_peft, _ = peft.decode(peft.encode(lora), layers, {})
    assert all(torch.equal(tensor, through_kohya.tensors[name]) for name, tensor in through_peft.tensors.items())
