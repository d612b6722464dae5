"""diffusers' and PEFT's LoRA files: the same change there and back, and every spelling there has been."""

import json
from collections.abc import Callable

import pytest
import tiny
import torch
from torch import Tensor

from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import kohya, peft, sniff
from tetrad.methods.branches import layers
from tetrad.methods.lora import Lora
from tetrad.weights import Weights

Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
CONV = "unet.down_blocks.0.resnets.0.conv1"
TEXT = "text_encoder.encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def known() -> list[str]:
    return [path for path, _ in layers(tiny.model())]


@pytest.fixture(scope="module")
def lora() -> Weights:
    """A DoRA on everything, with another alpha on the convolutions, and no zero in it."""
    method = Lora(rank=2, alpha=1.5, conv_rank=3, conv_alpha=0.5, dora=True)
    tensors = method.attach(tiny.model(), generator(0, 0, "method")).weights().tensors
    filled = {name: torch.rand_like(t) + 0.1 if name.endswith("up") else t for name, t in tensors.items()}
    return Weights("lora", filled)


def test_there_and_back_is_the_same_change_with_alphas_folded_in(lora: Weights, known: list[str]) -> None:
    again, unmatched = peft.decode(peft.encode(lora), known, {})
    wanted = peft.folded(lora).tensors
    assert unmatched == [] and again.tensors.keys() == wanted.keys()
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in wanted.items())
    assert again.tensors[f"{CONV}.alpha"] == 3
    torch.testing.assert_close(again.tensors[f"{CONV}.up"], lora.tensors[f"{CONV}.up"] * 0.5 / 3)


def test_names_and_shapes_are_pefts(lora: Weights) -> None:
    file = peft.encode(lora)
    assert file[f"{Q}.lora_A.weight"].shape == (2, 32) and file[f"{Q}.lora_magnitude_vector"].shape == (32,)
    assert file[f"{CONV}.lora_B.weight"].shape == (32, 3, 1, 1)
    assert file[f"{CONV}.lora_magnitude_vector"].shape == (1, 32, 1, 1)
    assert "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight" in file
    assert sniff(file) == "lora"


def plain(path: str) -> dict[str, Tensor]:
    return {f"{path}.down": torch.rand(2, 32), f"{path}.up": torch.rand(32, 2)}


SPELLED: dict[str, tuple[str, Callable[[str], str]]] = {
    "today, flat": (TEXT, lambda kind: f"{TEXT}.lora_{'AB'[kind == 'up']}.weight"),
    "PEFT itself": (Q, lambda kind: f"base_model.model.{Q[5:]}.lora_{'AB'[kind == 'up']}.weight"),
    "with the adapter's name": (Q, lambda kind: f"{Q}.lora_{'AB'[kind == 'up']}.default.weight"),
    "2023": (OUT, lambda kind: f"{OUT}.lora.{kind}.weight"),
    "2023, processors": (OUT, lambda kind: f"{OUT[:-9]}.processor.to_out_lora.{kind}.weight"),
    "2022": (Q, lambda kind: f"{Q[5:-5]}.processor.to_q_lora.{kind}.weight"),
    "2023, text": (TEXT, lambda kind: f"text_encoder.text_model{TEXT[12:]}.lora_linear_layer.{kind}.weight"),
    "2022, text": (TEXT, lambda kind: f"text_encoder.text_model{TEXT[12:-6]}to_q_lora.{kind}.weight"),
}


@pytest.mark.parametrize("how", list(SPELLED))
def test_every_spelling_there_has_been_is_read(how: str, known: list[str]) -> None:
    layer, spelled = SPELLED[how]
    tensors = plain(layer)
    file = {spelled(kind): tensors[f"{layer}.{kind}"] for kind in ("down", "up")}
    weights, unmatched = peft.decode(file, known, {})
    assert unmatched == [] and sniff(file) == "lora"
    assert weights.tensors[f"{layer}.alpha"] == 2
    assert all(torch.equal(weights.tensors[name], tensor) for name, tensor in tensors.items())


def test_alphas_are_the_configurations(known: list[str]) -> None:
    file = {f"{layer}.lora_A.weight": torch.rand(4, 32) for layer in (Q, OUT)}
    about: dict[str, object] = {"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_out.0": 3}}

    def alphas() -> list[float]:
        weights, _ = peft.decode(file, known, {peft.ABOUT: json.dumps(about)})
        return [weights.tensors[f"{layer}.alpha"].item() for layer in (Q, OUT)]

    assert alphas() == [8, 3]
    about["unet.use_rslora"] = True
    assert alphas() == [16, 6]


@pytest.mark.parametrize(
    "about",
    ["no JSON", '{"unet.lora_alpha": "much"}', '{"unet.alpha_pattern": {"(a+)+": 1}}', '{"unet.lora_alpha": 0}'],
)
def test_a_configuration_that_makes_no_sense_is_told(about: str, known: list[str]) -> None:
    with pytest.raises(TetradError) as caught:
        peft.decode({f"{Q}.lora_A.weight": torch.rand(4, 32)}, known, {peft.ABOUT: about})
    assert caught.value.code == "E5134"


def test_keys_without_a_layer_or_a_meaning_are_handed_back(known: list[str]) -> None:
    odd = ["unet.nowhere.lora_A.weight", f"{Q}.lora_C.weight", "text_encoder_2.text_model.encoder.x.lora_A.weight"]
    _, unmatched = peft.decode({name: torch.ones(1, 1) for name in odd}, known, {})
    assert unmatched == odd


def test_what_has_no_name_there_is_not_written() -> None:
    with pytest.raises(TetradError, match="hada_w1_a") as caught:
        peft.encode(Weights("lora", {f"{Q}.hada_w1_a": torch.ones(2, 2)}))
    assert caught.value.code == "E5133"


def test_the_two_spellings_say_the_same(lora: Weights, known: list[str]) -> None:
    through_kohya, _ = kohya.decode(kohya.encode(peft.folded(lora)), known, {})
    through_peft, _ = peft.decode(peft.encode(lora), known, {})
    assert all(torch.equal(tensor, through_kohya.tensors[name]) for name, tensor in through_peft.tensors.items())
