"""Our low-rank branch equals PEFT's LoRA layer: the same outputs and the same gradients."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from tetrad.diffusion.randomness import generator
from tetrad.methods.base import Patches
from tetrad.methods.lora.adapter import LoraAdapter
from tetrad.methods.lora.layer import LowRankBranch

LAYERS = {
    "linear": (lambda: nn.Linear(12, 20), (3, 5, 12)),
    "1x1 convolution": (lambda: nn.Conv2d(8, 12, 1), (2, 8, 7, 7)),
    "3x3 convolution with stride 2": (lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1), (2, 8, 7, 7)),
}
RANK, ALPHA = 4, 6.0


def make_tensor(name: str, *shape: int) -> Tensor:
    """Random values that depend on the name only, in float64, so that the order of summation does not matter."""
    return torch.randn(shape, generator=generator(0, 0, name), dtype=torch.float64)


def build_layer(kind: str) -> nn.Module:
    layer: nn.Module = LAYERS[kind][0]().double().requires_grad_(False)
    for name, parameter in layer.named_parameters():
        parameter.copy_(make_tensor(name, *parameter.shape))
    return layer


def run_peft(kind: str, strength: float, dora: bool) -> dict[str, Tensor]:
    """Output and gradients of PEFT's layer."""
    model = nn.Sequential(build_layer(kind))
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"], use_dora=dora)
    inject_adapter_in_model(config, model)
    lora = model[0]
    lora.double().set_scale("default", strength)
    down, up = lora.lora_A["default"].weight, lora.lora_B["default"].weight
    with torch.no_grad():
        down.copy_(make_tensor("down", *down.shape))
        up.copy_(make_tensor("up", *up.shape))
        magnitudes = [lora.lora_magnitude_vector["default"].weight] if dora else []
        for magnitude in magnitudes:
            magnitude.copy_(make_tensor("magnitude", *magnitude.shape).abs())
    return compute_gradients(kind, model, down, up, *magnitudes)


def run_tetrad(kind: str, strength: float, shapes: dict[str, torch.Size], innermost: bool = True) -> dict[str, Tensor]:
    """Output and gradients of our layer."""
    model = nn.Sequential(build_layer(kind))
    tensors = {name: make_tensor(name, *shape) for name, shape in shapes.items()}
    if "magnitude" in tensors:
        tensors["magnitude"] = tensors["magnitude"].abs().reshape(-1, *[1] * (model[0].weight.ndim - 1))
    branch = LowRankBranch(alpha=ALPHA, **tensors).double()
    with torch.no_grad():  # a branch is created in float32
        for name, parameter in branch.named_parameters():
            parameter.copy_(tensors[name])
    if not innermost:
        Patches().around(model[0], lambda call, x: call(x))
    LoraAdapter().add_branch("unet.0", model[0], branch, strength)
    return compute_gradients(kind, model, *branch.parameters())


def compute_gradients(kind: str, model: nn.Module, *parameters: nn.Parameter) -> dict[str, Tensor]:
    """The output, and the gradients of the input and of the parameters down, up, magnitude."""
    x = make_tensor("x", *LAYERS[kind][1]).requires_grad_()
    output = model(x)
    (output * make_tensor("upstream", *output.shape)).sum().backward()
    named = zip(("down", "up", "magnitude"), parameters, strict=False)
    results = {"output": output, "x": x.grad, **{name: parameter.grad for name, parameter in named}}
    return {name: result.detach() for name, result in results.items()}


@pytest.mark.parametrize("strength", [1.0, 0.3])
@pytest.mark.parametrize("kind", list(LAYERS))
def test_a_branch_equals_pefts_layer(kind: str, strength: float) -> None:
    theirs = run_peft(kind, strength, dora=False)
    ours = run_tetrad(kind, strength, {name: theirs[name].shape for name in ("down", "up")})
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, atol=1e-12, rtol=1e-12)  # sums of a few hundred doubles


@pytest.mark.parametrize("innermost", [True, False])
@pytest.mark.parametrize("kind", list(LAYERS))
def test_dora_equals_pefts_dora(kind: str, innermost: bool) -> None:
    theirs = run_peft(kind, 1.0, dora=True)
    shapes = {name: theirs[name].shape for name in ("down", "up", "magnitude")}
    ours = run_tetrad(kind, 1.0, shapes, innermost)
    ours["magnitude"] = ours["magnitude"].reshape(shapes["magnitude"])
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("kind", list(LAYERS))
def test_a_new_branch_has_pefts_shapes_and_initial_distribution(kind: str) -> None:
    base = nn.Sequential(build_layer(kind).float())
    ours = LowRankBranch.initialize(base[0], RANK, ALPHA, generator(0, 0, "method"))
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"]), base)
    down, up = base[0].lora_A["default"].weight, base[0].lora_B["default"].weight
    assert (ours.down.shape, ours.up.shape) == (down.shape, up.shape)
    assert not ours.up.any() and not up.any()
    # Both sample A uniformly between ± 1 / √(inputs): all values are inside, and some are close to the bound.
    bound = down[0].numel() ** -0.5
    assert 0.9 * bound < ours.down.abs().max() <= bound
    assert ours.scale == base[0].scaling["default"] == ALPHA / RANK
