"""Quantized layers: near to what they were, with the gradients of what they are now, and never restored for long."""

import sys
from typing import Any

import bitsandbytes_stand_in
import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.estimate.memory import estimate_memory
from tetrad.estimate.step_cost import measure_step_cost
from tetrad.methods import METHODS
from tetrad.methods.base import parameters_of
from tetrad.models.base import Model
from tetrad.models.quantized_layers import BITS, list_quantizable, quantize_layers

ERRORS = {"8bit": 0.02, "nf4": 0.1}  # relative, of normally distributed weights


@pytest.fixture(autouse=True)
def functions(monkeypatch: pytest.MonkeyPatch) -> None:
    bitsandbytes_stand_in.install(monkeypatch)


def layers() -> list[tuple[nn.Module, Tensor]]:
    return [
        (nn.Linear(96, 64), torch.randn(2, 5, 96)),
        (nn.Linear(96, 64, bias=False), torch.randn(3, 96)),
        (nn.Conv2d(16, 48, 3, padding=1), torch.randn(2, 16, 6, 5)),
        (nn.Conv2d(16, 48, 3, stride=2, padding=1), torch.randn(2, 16, 7, 8)),
    ]


def outputs(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y: Tensor = layer(x)
    y.square().sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.parametrize("kind", list(BITS))
@pytest.mark.parametrize("number", range(len(layers())))
def test_a_layer_gives_the_outputs_and_gradients_of_its_quantized_weights(kind: str, number: int) -> None:
    layer, x = layers()[number]
    exact = layer.requires_grad_(False).weight.clone()
    quantize_layers(layer, kind)
    restored = layer.weight
    assert 0 < (restored - exact).norm() < ERRORS[kind] * exact.norm()
    found = outputs(layer, x)
    plain = layers()[number][0].requires_grad_(False)
    plain.load_state_dict({"weight": restored, **dict(layer.named_parameters())})
    torch.testing.assert_close(found, outputs(plain, x), rtol=1e-4, atol=1e-4)


def test_no_restored_weights_are_kept_for_the_backward_pass() -> None:
    layer, x = layers()[2]
    quantize_layers(layer.requires_grad_(False), "nf4")
    kept: list[Tensor] = []
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):  # type: ignore[func-returns-value]
        layer(x.requires_grad_())
    assert not kept
    assert "weight" not in dict(layer.named_parameters())


def test_small_and_trained_layers_stay() -> None:
    network = nn.ModuleList([nn.Linear(8, 8), nn.Linear(96, 64), nn.GroupNorm(1, 8192)]).requires_grad_(False)
    assert list(list_quantizable(network)) == [network[1]]
    network.requires_grad_(True)
    assert not list(list_quantizable(network))


def attach_and_train(model: Model, kind: str) -> tuple[list[Tensor], Any]:
    """The gradients of a step of a method, and its adapter."""
    method = METHODS[kind]().with_defaults("zkr", 8)
    adapter = tiny.attach(method, model, generator(0, 0, "method"))
    rng = torch.Generator().manual_seed(1)
    z = torch.randn(1, 4, 8, 8, generator=rng)
    model.predict(z, torch.tensor([500]), model.condition(["a zkr"])).square().mean().backward()
    return [parameter.grad for parameter in parameters_of(adapter) if parameter.grad is not None], adapter


@pytest.mark.parametrize("kind", ["lora", "textual-inversion", "hypernetwork"])
def test_a_method_has_the_gradients_of_the_quantized_model(kind: str) -> None:
    model, plain = tiny.build_model(is_shallow=True), tiny.build_model(is_shallow=True)
    unet, plain_unet = model.parts()["unet"].requires_grad_(False), plain.parts()["unet"].requires_grad_(False)
    names = {name for name, layer in unet.named_modules() if layer in set(list_quantizable(unet))}
    quantize_layers(unet, "8bit")
    for name in names:
        plain_unet.get_submodule(name).weight.copy_(unet.get_submodule(name).weight)
    found, adapter = attach_and_train(model, kind)
    expected, _adapter = attach_and_train(plain, kind)
    assert names and found and any(each.abs().max() > 0 for each in found)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert not any(tensor.dtype in (torch.int8, torch.uint8) for tensor in adapter.weights().tensors.values())


@pytest.mark.parametrize("kind", list(BITS))
def test_the_estimate_has_the_bits_of_frozen_weights(kind: str) -> None:
    model = tiny.build_model(is_shallow=True)
    step = measure_step_cost(model, METHODS["lora"](), 64, 64)
    cpu = torch.device("cpu"), torch.float32
    saved = estimate_memory(step, *cpu).frozen - estimate_memory(step, *cpu, quantize_base=kind).frozen
    sizes = [layer.weight.numel() for layer in list_quantizable(model.parts()["unet"].requires_grad_(False))]
    assert saved == pytest.approx((4 - BITS[kind] / 8) * sum(sizes) - 4 * max(sizes), abs=1) and saved > 0


def test_without_bitsandbytes_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", None)
    with pytest.raises(
        TetradError, match=r"needs the package bitsandbytes; run python -m pip install .*\[bnb\]"
    ) as caught:
        quantize_layers(nn.Linear(96, 64).requires_grad_(False), "nf4")
    assert caught.value.code == "E3146"
