"""The networks of a hypernetwork, each by itself: how they begin, what they drop."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tetrad.diffusion.randomness import generator
from tetrad.methods.hypernetwork import Hypernetwork
from tetrad.methods.residual import ACTIVATIONS, INITIALIZATIONS, Network, Shape


def rng() -> torch.Generator:
    return generator(0, 0, "method")


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in ("linear", "relu", "swish")])
def test_every_activation_begins_at_nothing_and_learns(activation: str) -> None:
    network = Network(32, Shape(activation=activation))
    network.begin("KaimingNormal", True, rng())
    x = torch.randn(4, 32, generator=generator(0, 0, "x"))
    said = network(x)
    assert not said.any()
    said.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert network.layers[-1].weight.grad.any()


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_layers_begin_as_their_name_says_and_as_their_seed(initialization: str) -> None:
    def begun(zero: bool) -> dict[str, Tensor]:
        network = Network(64, Shape(activation="relu"))
        network.begin(initialization, zero, rng())
        return network.state_dict()

    spread = {
        "Normal": 0.01,
        "XavierUniform": (2 / (64 + 128)) ** 0.5,
        "XavierNormal": (2 / (64 + 128)) ** 0.5,
        "KaimingUniform": (2 / 64) ** 0.5,
        "KaimingNormal": (2 / 64) ** 0.5,
    }[initialization]
    still, noisy = begun(True), begun(False)
    assert noisy["layers.0.weight"].std().item() == pytest.approx(spread, rel=0.05)
    assert not noisy["layers.0.bias"].any()
    assert noisy["layers.1.weight"].any() and not still["layers.1.weight"].any()
    assert all(torch.equal(tensor, begun(False)[name]) for name, tensor in noisy.items())


@pytest.mark.parametrize(
    "settings,shares",
    [
        ({"structure": (1, 2, 2, 1), "dropout": (0.3,)}, [0, 0.3, 0.3, 0]),
        ({"structure": (1, 2, 2, 1), "dropout": (0.3,), "last_layer_dropout": False}, [0, 0.3, 0, 0]),
        ({"structure": (1, 2, 2, 1), "dropout": (0, 0.1, 0.2, 0)}, [0, 0.1, 0.2, 0]),
        ({"dropout": (0.3,)}, [0, 0.3, 0]),
        ({}, []),
    ],
)
def test_a_single_dropout_is_for_every_layer_between(settings: dict[str, Any], shares: list[float]) -> None:
    assert list(Hypernetwork(**settings).shape(Shape()).dropout) == shares
