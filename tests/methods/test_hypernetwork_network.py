"""The networks of a hypernetwork: initialization, activations and dropout."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tetrad.diffusion.randomness import generator
from tetrad.methods import Hypernetwork
from tetrad.methods.hypernetwork.network import ACTIVATIONS, INITIALIZATIONS, HypernetworkModule
from tetrad.methods.hypernetwork.settings import NetworkShape


def rng() -> torch.Generator:
    return generator(0, 0, "method")


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in ("linear", "relu", "swish")])
def test_every_activation_starts_with_zero_output_and_has_gradients(activation: str) -> None:
    network = HypernetworkModule(32, NetworkShape(activation=activation))
    network.initialize("KaimingNormal", True, rng())
    x = torch.randn(4, 32, generator=generator(0, 0, "x"))
    output = network(x)
    assert not output.any()
    output.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert network.layers[-1].weight.grad.any()


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_initializations_have_their_spread_and_depend_on_the_seed_only(initialization: str) -> None:
    def initialize(zero: bool) -> dict[str, Tensor]:
        network = HypernetworkModule(64, NetworkShape(activation="relu"))
        network.initialize(initialization, zero, rng())
        return network.state_dict()

    spread = {
        "Normal": 0.01,
        "XavierUniform": (2 / (64 + 128)) ** 0.5,
        "XavierNormal": (2 / (64 + 128)) ** 0.5,
        "KaimingUniform": (2 / 64) ** 0.5,
        "KaimingNormal": (2 / 64) ** 0.5,
    }[initialization]
    zeroed, random = initialize(True), initialize(False)
    assert random["layers.0.weight"].std().item() == pytest.approx(spread, rel=0.05)
    assert not random["layers.0.bias"].any()
    assert random["layers.1.weight"].any() and not zeroed["layers.1.weight"].any()
    assert all(torch.equal(tensor, initialize(False)[name]) for name, tensor in random.items())


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
def test_a_single_dropout_applies_to_all_layers_between(settings: dict[str, Any], shares: list[float]) -> None:
    assert list(Hypernetwork(**settings).build_shape(NetworkShape()).dropout) == shares
