"""What our methods save, and what it means here: cases for the rules of other programs in `other_readers`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny
import torch
from run.test_every_setting import WIRES
from torch import Tensor, nn

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.methods import METHODS, Lora, MethodSettings
from tetrad.methods.lora import lycoris
from tetrad.methods.lora.weights import group_by_layer, named_layers
from tetrad.settings import build_recipe
from tetrad.weights import Weights

MODEL = tiny.build_model(is_shallow=True)
LAYERS: dict[str, Any] = {path: layer for path, layer in named_layers(MODEL) if not lycoris.is_norm(layer)}
FEW_LAYERS = {"up": 0, "down_0": 0}
DORA = Lora(rank=2, alpha=1, conv_rank=2, dora=True, block_ranks=FEW_LAYERS, conv_block_ranks=FEW_LAYERS)
# Settings that mean something else together than alone.
COMBINED: dict[str, dict[str, Any]] = {
    "lora, two alphas": {"rank": 2, "conv_rank": 3, "conv_alpha": 1},
    "lora, ranks by block": {"rank": 2, "conv_rank": 3, "conv_alpha": 1, "block_ranks": {"mid": 4}},
    "lora, ranks by block, one alpha": {"rank": 2, "alpha": 1.0, "block_ranks": {"mid": 4}},
    "lora, rsLoRA, ranks by block": {"rank": 4, "alpha": 2.0, "rslora": True, "block_ranks": {"mid": 2}},
    "lora, attention in few blocks": {"rank": 2, "conv_rank": 3, "block_ranks": FEW_LAYERS},
    "lora, DoRA, convolutions": {"dora": True, "rank": 2, "conv_rank": 2, "block_ranks": FEW_LAYERS},
    "lora, column DoRA": {"dora": True, "wd_on_output": False, "rank": 2, "block_ranks": FEW_LAYERS},
    "loha": {"algorithm": "loha", "rank": 2, "conv_rank": 2, "block_ranks": FEW_LAYERS},
    "lokr, core": {"algorithm": "lokr", "rank": 2, "conv_rank": 1, "factor": 4, "use_tucker": True},
    "lokr, full, column DoRA": {"algorithm": "lokr", "full_matrix": True, "dora": True, "wd_on_output": False},
    "oft": {"algorithm": "oft", "rank": 8, "block_ranks": FEW_LAYERS},
    "hypernetwork, norms, relu": {"layer_norm": True, "activation": "relu"},
    "hypernetwork, norms, activated": {"layer_norm": True, "activation": "mish", "activate_output": True},
    "hypernetwork, dropout": {"structure": (1, 2, 2, 1), "dropout": (0.5,), "activation": "swish"},
    "hypernetwork, dropout, norms": {"structure": (1, 2, 2, 1), "dropout": (0, 0.5, 0, 0), "layer_norm": True},
    "hypernetwork, gelu": {"activation": "gelu"},
}


def list_cases() -> dict[str, MethodSettings]:
    """Each method by default, with each of its settings changed, and with some changed together."""
    cases = {f"{kind}, by default": method() for kind, method in METHODS.items()}
    for wire in WIRES:
        values = {**wire.around, wire.setting: wire.value}
        settings = {name.removeprefix("method."): value for name, value in values.items() if name.startswith("method.")}
        if wire.setting.startswith("method."):
            method = build_recipe({"method": {"kind": "lora", **settings}}).method
            cases[f"{method.kind}, {wire.setting}"] = method
    for name, settings in COMBINED.items():
        kind = name.partition(",")[0]
        cases[name] = METHODS["lora" if "algorithm" in settings else kind](**settings)
    return cases


def train(settings: MethodSettings) -> Weights:
    """Weights as after training: every tensor has moved, but no alpha."""
    trained = tiny.attach(
        settings.with_defaults("zkr", 2), tiny.build_model(is_shallow=True), generator(0, 0, "method")
    ).weights()
    tensors = dict(trained.tensors)
    for name, tensor in tensors.items():
        noise = torch.randn(tensor.shape, generator=generator(0, 0, name))
        if name.endswith(".magnitude"):
            tensors[name] = tensor * (1 + 0.03 * noise)
        elif not name.endswith(".alpha"):
            tensors[name] = tensor + 0.05 * noise
    return replace(trained, tensors=tensors)


def own_changes(weights: Weights) -> dict[str, Tensor]:
    """What each layer's weight changes by in Tetrad."""
    return {
        path: lycoris.weight_change(tensors, LAYERS[path].weight) for path, tensors in group_by_layer(weights).items()
    }


def compute_outputs(networks: dict[str, nn.Module]) -> dict[str, Tensor]:
    """What each network of a hypernetwork makes of the same input, by width and side: "32.k"."""
    with torch.no_grad():
        return {
            name: network.eval()(torch.randn(3, int(name.split(".")[0]), generator=generator(0, 0, "x")))
            for name, network in networks.items()
        }


def own_outputs(weights: Weights) -> dict[str, Tensor]:
    """What the networks of a hypernetwork compute in Tetrad."""
    adapter: Any = tiny.load(METHODS["hypernetwork"], tiny.build_model(is_shallow=True), weights)
    return compute_outputs(adapter.networks)


# What a file means here, by the type of weights.
OWN: dict[str, Callable[[Weights], dict[str, Tensor]]] = {
    "lora": own_changes,
    "hypernetwork": own_outputs,
    "embedding": lambda weights: weights.tensors,
    "checkpoint": lambda weights: weights.tensors,
}


def read_own(path: Path, artifact_type: str) -> dict[str, Tensor]:
    return OWN[artifact_type](library.read_weights(path, MODEL))
