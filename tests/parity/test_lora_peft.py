"""Our low-rank branch is PEFT's LoRA layer: the same outputs and the same gradients."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from tetrad.diffusion.randomness import generator
from tetrad.methods.base import Patches
from tetrad.methods.lora import LoraAdapter
from tetrad.methods.lowrank import LowRank

LAYERS = {
    "linear": (lambda: nn.Linear(12, 20), (3, 5, 12)),
    "1x1 convolution": (lambda: nn.Conv2d(8, 12, 1), (2, 8, 7, 7)),
    "3x3 convolution with stride 2": (lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1), (2, 8, 7, 7)),
}
RANK, ALPHA = 4, 6.0


def tensor(name: str, *shape: int) -> Tensor:
    """The same numbers for the same name, in double precision, so that the order of sums does not show."""
    return torch.randn(shape, generator=generator(0, 0, name), dtype=torch.float64)


def layer(kind: str) -> nn.Module:
    made: nn.Module = LAYERS[kind][0]().double().requires_grad_(False)
    for name, parameter in made.named_parameters():
        parameter.copy_(tensor(name, *parameter.shape))
    return made


def from_peft(kind: str, strength: float, dora: bool) -> dict[str, Tensor]:
    """Output and gradients of PEFT's layer."""
    model = nn.Sequential(layer(kind))
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"], use_dora=dora)
    inject_adapter_in_model(config, model)
    lora = model[0]
    lora.double().set_scale("default", strength)
    down, up = lora.lora_A["default"].weight, lora.lora_B["default"].weight
    with torch.no_grad():
        down.copy_(tensor("down", *down.shape))
        up.copy_(tensor("up", *up.shape))
        magnitudes = [lora.lora_magnitude_vector["default"].weight] if dora else []
        for magnitude in magnitudes:
            magnitude.copy_(tensor("magnitude", *magnitude.shape).abs())
    return computed(kind, model, down, up, *magnitudes)


def from_us(kind: str, strength: float, shapes: dict[str, torch.Size], innermost: bool = True) -> dict[str, Tensor]:
    model = nn.Sequential(layer(kind))
    found = {name: tensor(name, *shape) for name, shape in shapes.items()}
    if "magnitude" in found:
        found["magnitude"] = found["magnitude"].abs().reshape(-1, *[1] * (model[0].weight.ndim - 1))
    branch = LowRank(alpha=ALPHA, **found).double()
    with torch.no_grad():  # a branch is made in float32
        for name, parameter in branch.named_parameters():
            parameter.copy_(found[name])
    if not innermost:
        Patches().around(model[0], lambda call, x: call(x))
    LoraAdapter().add("unet.0", model[0], branch, strength)
    return computed(kind, model, *branch.parameters())


def computed(kind: str, model: nn.Module, *parameters: nn.Parameter) -> dict[str, Tensor]:
    """Output and gradients, of parameters in the order down, up, magnitude."""
    x = tensor("x", *LAYERS[kind][1]).requires_grad_()
    output = model(x)
    (output * tensor("upstream", *output.shape)).sum().backward()
    named = zip(("down", "up", "magnitude"), parameters, strict=False)
    found = {"output": output, "x": x.grad, **{name: parameter.grad for name, parameter in named}}
    return {name: gradient.detach() for name, gradient in found.items()}


@pytest.mark.parametrize("strength", [1.0, 0.3])
@pytest.mark.parametrize("kind", list(LAYERS))
def test_a_branch_is_pefts_layer(kind: str, strength: float) -> None:
    theirs = from_peft(kind, strength, dora=False)
    ours = from_us(kind, strength, {name: theirs[name].shape for name in ("down", "up")})
    for name, wanted in theirs.items():
        torch.testing.assert_close(ours[name], wanted, atol=1e-12, rtol=1e-12)  # sums of a few hundred doubles


@pytest.mark.parametrize("innermost", [True, False])
@pytest.mark.parametrize("kind", list(LAYERS))
def test_a_dora_is_pefts_dora(kind: str, innermost: bool) -> None:
    theirs = from_peft(kind, 1.0, dora=True)
    shapes = {name: theirs[name].shape for name in ("down", "up", "magnitude")}
    ours = from_us(kind, 1.0, shapes, innermost)
    ours["magnitude"] = ours["magnitude"].reshape(shapes["magnitude"])
    for name, wanted in theirs.items():
        torch.testing.assert_close(ours[name], wanted, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("kind", list(LAYERS))
def test_a_fresh_branch_has_pefts_shapes_and_spread(kind: str) -> None:
    base = nn.Sequential(layer(kind).float())
    ours = LowRank.fresh(base[0], RANK, ALPHA, generator(0, 0, "method"))
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"]), base)
    down, up = base[0].lora_A["default"].weight, base[0].lora_B["default"].weight
    assert (ours.down.shape, ours.up.shape) == (down.shape, up.shape)
    assert not ours.up.any() and not up.any()
    # Both draw A evenly between ± 1 / √(inputs): all are inside, and some come near.
    bound = down[0].numel() ** -0.5
    assert 0.9 * bound < ours.down.abs().max() <= bound
    assert ours.scale == base[0].scaling["default"] == ALPHA / RANK
