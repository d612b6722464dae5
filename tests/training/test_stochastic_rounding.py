"""bfloat16 weights learn as float32 ones do, because their updates are rounded by chance and without bias."""

import math

import pytest
import torch
from test_optimizers import UpdateClass, regression
from torch import Generator, nn

from tetrad.diffusion.randomness import generator
from tetrad.methods.base import ParamGroup
from tetrad.training.fused_backward import FusedBackwardUpdate
from tetrad.training.optimizers import create_optimizer
from tetrad.training.state import capture_state
from tetrad.training.stochastic_rounding import make_rounding, round_stochastically
from tetrad.training.update import StandardUpdate, create_state


@pytest.mark.parametrize("value", [1.003, -1.003, 1e-38])
def test_the_mean_of_rounded_values_is_the_value(value: float) -> None:
    """Within four standard errors, and only the two neighbours occur."""
    count = 100_000
    rounded = round_stochastically(torch.full((count,), value), Generator().manual_seed(0)).double()
    low, high = rounded.unique().tolist()
    exact = torch.tensor(value).double().item()
    share = (exact - low) / (high - low)
    assert low < exact < high and 0 < share < 1
    assert abs(rounded.mean().item() - exact) < 4 * (high - low) * math.sqrt(share * (1 - share) / count)


def test_what_bfloat16_can_hold_stays() -> None:
    values = torch.cat([torch.randn(1000).bfloat16().float(), torch.tensor([0.0, -0.0, math.inf, -math.inf])])
    assert torch.equal(round_stochastically(values.clone(), Generator().manual_seed(0)).float(), values)
    assert round_stochastically(torch.tensor([math.nan]), Generator().manual_seed(0)).isnan()


def train(dtype: torch.dtype, update_class: UpdateClass, name: str, rounds: bool = True, seed: int = 0) -> list[float]:
    """The losses of 150 steps whose updates are a tenth of the distance between two bfloat16 numbers, or less."""
    weight, x, y = regression()
    weight = nn.Parameter((weight + 1 + torch.randn(64, 128, generator=generator(0, 0, "start"))).to(dtype))
    optimizer = create_optimizer(name, [ParamGroup("unet", [weight])], 0.0)
    optimizer.param_groups[0]["lr"] = 3e-4
    create_state(optimizer)
    rounding = make_rounding(optimizer, seed)
    assert (rounding is not None) == (dtype == torch.bfloat16)
    updater = update_class(optimizer, 0.0, None, rounding if rounds else None)
    losses = []
    for step in range(150):
        if rounding:
            rounding.step_number = step
        loss = (x @ weight.float() - y).square().mean()
        updater.backward(loss)
        updater.finish()
        losses.append(loss.item())
    assert weight.dtype == dtype and weight.grad is None
    tensors = capture_state([weight], optimizer).tensors
    assert {tensor.dtype for key, tensor in tensors.items() if key.startswith("optimizer")} == {torch.float32}
    return losses


@pytest.mark.parametrize("update_class", [StandardUpdate, FusedBackwardUpdate])
@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_bfloat16_weights_learn_as_float32_ones(name: str, update_class: UpdateClass) -> None:
    """What is learned, the fall of the loss, is the same within 2 %; rounding to the nearest loses most of it."""
    exact = train(torch.float32, update_class, name)
    found = train(torch.bfloat16, update_class, name)
    fall = exact[0] - exact[-1]
    assert found[0] - found[-1] == pytest.approx(fall, rel=0.02)
    assert found == train(torch.bfloat16, update_class, name)
    assert found != train(torch.bfloat16, update_class, name, seed=1)


def test_rounding_to_the_nearest_number_would_lose_the_updates() -> None:
    losses = train(torch.bfloat16, StandardUpdate, "adafactor", rounds=False)
    exact = train(torch.float32, StandardUpdate, "adafactor")
    assert losses[0] - losses[-1] < 0.2 * (exact[0] - exact[-1])


def test_an_update_with_nan_leaves_every_bit() -> None:
    weight = nn.Parameter(torch.randn(1000).bfloat16())
    before = weight.detach().clone()
    optimizer = create_optimizer("adamw", [ParamGroup("unet", [weight])])
    updater = StandardUpdate(optimizer, 1.0, None, make_rounding(optimizer, 0))
    updater.backward((weight * torch.tensor(math.nan)).sum())
    assert updater.finish().diverged and torch.equal(weight, before)
