"""Packed convolutions compute what plain ones do, where gradients are computed, and adapters stay around them."""

import platform
from unittest.mock import Mock

import pytest
import tiny
import torch
from torch import Tensor, nn

from tetrad.diffusion.randomness import generator
from tetrad.methods import METHODS
from tetrad.methods.base import parameters_of
from tetrad.models import packed_convolutions
from tetrad.models.base import Model
from tetrad.models.device import enable_gradient_checkpointing
from tetrad.models.packed_convolutions import PackedConvolution, can_pack, list_packable, pack_convolutions

needs_avx512 = pytest.mark.skipif(
    "AVX512" not in torch.backends.cpu.get_cpu_capability(), reason="oneDNN computes in bfloat16 from AVX-512 on"
)
DTYPES = [torch.float32, pytest.param(torch.bfloat16, marks=needs_avx512)]
needs_operators = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available(),
    reason="PyTorch has the operators for x86 only",
)


def convolution(**options: object) -> nn.Conv2d:
    settings = {"in_channels": 4, "out_channels": 8, "kernel_size": 3, "padding": 1, **options}
    return nn.Conv2d(**settings).requires_grad_(False)  # type: ignore[arg-type]


def test_frozen_convolutions_of_stride_1_are_packed() -> None:
    packable = convolution(), convolution(bias=False)
    others = (
        convolution(stride=2),
        convolution(kernel_size=1),
        convolution(padding=0),
        convolution(dilation=2),
        convolution(groups=2),
        convolution(padding_mode="reflect"),
        convolution().requires_grad_(True),
        nn.Linear(3, 3).requires_grad_(False),
    )
    assert list(list_packable(nn.ModuleList([*packable, *others]))) == list(packable)


@needs_operators
@pytest.mark.parametrize("dtype", DTYPES)
def test_they_can_be_packed(dtype: torch.dtype) -> None:
    assert can_pack(dtype)


def outputs(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y: Tensor = layer(x)
    y.square().sum().backward()
    assert x.grad is not None
    return y.detach(), x.grad


@needs_operators
@pytest.mark.parametrize("dtype", DTYPES)
def test_they_give_the_outputs_and_gradients_of_plain_ones_in_every_size(dtype: torch.dtype) -> None:
    """The weights are packed for the first size."""
    layer = convolution().to(dtype)
    inputs = [torch.randn(batch, 4, side, side + 1).to(dtype) for batch, side in ((1, 8), (3, 5), (2, 16))]
    plain = [outputs(layer, x) for x in inputs]
    pack_convolutions(layer)
    calls = Mock(wraps=packed_convolutions._convolve)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_convolutions, "_convolve", calls)
        packed = [outputs(layer, x) for x in inputs]
    assert calls.call_count == 2 * len(inputs)
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.1}
    torch.testing.assert_close(packed, plain, **tolerance)


@needs_operators
def test_without_gradients_they_compute_what_they_did() -> None:
    layer, x = convolution(), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        before = layer(x)
        pack_convolutions(layer)
        assert torch.equal(layer(x), before)
    assert vars(layer)["forward"].packed is None


def gradients(model: Model, method: str, packs: bool = False, checkpointing: bool = False) -> list[Tensor]:
    """Of a random LoRA, or of what else is trained."""
    settings = METHODS[method](conv_rank=4) if method == "lora" else METHODS[method]().with_defaults("zkr", 8)
    adapter = tiny.attach(settings, model, generator(0, 0, "method"))
    trained = parameters_of(adapter)
    rng = torch.Generator().manual_seed(1)
    for parameter in trained if method == "lora" else []:
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=rng)
    if packs:
        pack_convolutions(model.parts()["unet"])
    if checkpointing:
        enable_gradient_checkpointing(model)
        model.parts()["unet"].train()
    z = torch.randn(1, 4, 8, 8, generator=rng)
    model.predict(z, torch.tensor([500]), model.condition(["a zkr"])).square().mean().backward()
    found = [torch.zeros(()) if each.grad is None else each.grad.clone() for each in trained]
    adapter.detach()
    return found


@needs_operators
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", ["lora", "hypernetwork"])
def test_a_method_has_the_same_gradients(method: str, checkpointing: bool) -> None:
    plain = gradients(tiny.build_model(is_shallow=True), method)
    model = tiny.build_model(is_shallow=True)
    packed = gradients(model, method, packs=True, checkpointing=checkpointing)
    assert any(each.abs().max() > 0 for each in plain)
    torch.testing.assert_close(packed, plain, rtol=1e-3, atol=1e-6)


@needs_operators
def test_adapters_stay_around_them_and_can_be_detached() -> None:
    model = tiny.build_model(is_shallow=True)
    unet = model.parts()["unet"]
    adapter = tiny.attach(METHODS["lora"](conv_rank=4), model, generator(0, 0, "method"))
    wrapped = [layer for layer in list_packable(unet) if "forward" in vars(layer)]
    pack_convolutions(unet)
    pack_convolutions(unet)  # a second time changes nothing
    assert wrapped and all(isinstance(vars(layer)["forward"].call, PackedConvolution) for layer in wrapped)
    assert all(vars(layer)["forward"].call.plain is nn.Conv2d.forward for layer in wrapped)
    adapter.detach()
    assert not any("forward" in vars(layer) for layer in wrapped)


def test_without_the_operators_or_where_they_are_wrong_nothing_can_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object) -> Tensor:
        raise AttributeError

    for broken in (missing, lambda x, packed, bias: torch.zeros(len(x), 16, *x.shape[2:], requires_grad=True)):
        can_pack.cache_clear()
        monkeypatch.setattr(packed_convolutions, "_convolve", broken)
        assert not can_pack(torch.float32)
    can_pack.cache_clear()
    assert not can_pack(torch.float16)
