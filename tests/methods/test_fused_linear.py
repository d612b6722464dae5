"""The autograd node of a linear layer with its LoRA gives what the layer and its branch give one after the other."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tetrad.methods.base import Patches
from tetrad.methods.lora import layer as lora_layer
from tetrad.methods.lora.fused_linear import add_low_rank
from tetrad.methods.lora.layer import LoraDropout, LowRankBranch, with_branch


def build(dtype: torch.dtype = torch.float64, bias: bool = True) -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    layer = nn.Linear(6, 5, bias=bias, dtype=dtype).requires_grad_(False)
    down, up = (torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in ((3, 6), (5, 3)))
    return layer, down, up, torch.randn(2, 4, 6, dtype=dtype, requires_grad=True)


def run_plain(layer: nn.Linear, down: Tensor, up: Tensor, scale: float, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight, layer.bias) + F.linear(scale * F.linear(x, down.to(x.dtype)), up.to(x.dtype))


@pytest.mark.parametrize("bias", [True, False])
def test_its_gradients_are_right(bias: bool) -> None:
    layer, down, up, x = build(bias=bias)
    assert torch.autograd.gradcheck(lambda *each: add_low_rank(layer, each[0], each[1], 0.7, each[2]), (down, up, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_equals_the_layer_and_its_branch(dtype: torch.dtype) -> None:
    """Under autocast too, where the branch stays float32; the order of the sums differs."""
    layer, down, up, x = build(torch.float32)
    layer.to(dtype)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    results = []
    for run in (add_low_rank, run_plain):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            y = run(layer, down, up, 0.7, x)
        assert y.dtype == dtype
        results.append((y, *torch.autograd.grad(y.float().square().sum(), (down, up, x))))
    for fused, plain in zip(*results, strict=True):
        assert fused.dtype == plain.dtype
        assert torch.allclose(fused, plain, rtol=tolerance, atol=tolerance * plain.abs().max().item())


def attach(layer: nn.Module, dropout: LoraDropout, count: int = 1) -> list[LowRankBranch]:
    branches = []
    for number in range(count):
        branch = LowRankBranch.initialize(layer, 2, 2.0, torch.Generator().manual_seed(number))
        nn.init.normal_(branch.up)
        Patches().around(layer, with_branch(layer, branch, dropout=dropout))
        branches.append(branch)
    return branches


@pytest.mark.parametrize(
    "dropout, branch_count, fused", [(LoraDropout(), 1, 1), (LoraDropout(), 2, 1), (LoraDropout(0.5), 1, 0)]
)
def test_it_is_used_where_nothing_stands_between_the_layer_and_its_branch(
    monkeypatch: pytest.MonkeyPatch, dropout: LoraDropout, branch_count: int, fused: int
) -> None:
    calls: list[Any] = []

    def count(*arguments: Any) -> Tensor:
        calls.append(arguments)
        return add_low_rank(*arguments)

    monkeypatch.setattr(lora_layer, "add_low_rank", count)
    layer = nn.Linear(6, 5).requires_grad_(False)
    plain = nn.Linear(6, 5)
    plain.load_state_dict(layer.state_dict())
    branches = attach(layer, dropout, branch_count)
    x = torch.randn(4, 6)
    y = layer(x)
    assert len(calls) == fused
    if not dropout.outputs:
        expected = plain(x) + sum(x @ branch.down.T @ branch.up.T for branch in branches)
        assert torch.allclose(y, expected, atol=1e-5)
