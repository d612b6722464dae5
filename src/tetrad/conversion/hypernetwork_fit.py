"""Fits a LoRA to a hypernetwork on the inputs that each layer gets while the model generates images with it."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tetrad.generation.generate import denoise, with_size
from tetrad.generation.request import Request
from tetrad.methods.base import ForwardChange, Patches
from tetrad.methods.hypernetwork.adapter import with_hypernetwork
from tetrad.methods.hypernetwork.network import HypernetworkModule
from tetrad.methods.hypernetwork.weights import named_attention_layers
from tetrad.methods.lora.combine import CombinedLayer
from tetrad.methods.lora.svd import RankLimit, factorize
from tetrad.models.base import Model

_STEPS = 10  # of each image; the inputs of a layer change slowly from step to step
_RIDGE = 1e-6  # added to the inputs' second moment, as a share of its mean, so that it has an inverse
_KEPT_ENERGY = 0.9999  # of the fitted change, where no rank is given


class _Moments:
    """Sums over the inputs x of a layer and the changes h = s h(x) of it: Σ x xᵀ, Σ h xᵀ and Σ h hᵀ, each (d, d)."""

    def __init__(self, width: int) -> None:
        self.inputs, self.mixed, self.changes = (torch.zeros(width, width, dtype=torch.float64) for _number in range(3))

    def add(self, x: Tensor, h: Tensor) -> None:
        x, h = (each.flatten(0, -2).double().cpu() for each in (x, h))
        self.inputs += x.T @ x
        self.mixed += h.T @ x
        self.changes += h.T @ h

    def fit(self, weight: Tensor, rank: int) -> tuple[CombinedLayer, float, float]:
        """The layer whose change ΔW minimizes Σ ‖ΔW x - W h‖², that sum, and Σ ‖W h‖².

        Without a rank, ΔW = W (Σ h xᵀ)(Σ x xᵀ)⁻¹. With C = Σ x xᵀ the sum grows by ‖(ΔW - B A) C^½‖² if ΔW has a
        smaller rank, so that B A C^½ is the best approximation of ΔW C^½.
        """
        ridge = _RIDGE * self.inputs.diagonal().mean() * torch.eye(len(self.inputs), dtype=torch.float64)
        values, vectors = torch.linalg.eigh(self.inputs + ridge)
        roots = values.clamp(min=1e-30).sqrt()
        change = weight @ (self.mixed @ (vectors / values) @ vectors.T)
        limit = RankLimit(rank or None, 1.0 if rank else _KEPT_ENERGY)
        factors = factorize(change @ (vectors * roots) @ vectors.T, limit)
        down = factors.down @ (vectors / roots) @ vectors.T
        fitted = factors.up @ down
        total = float(((weight @ self.changes) * weight).sum())
        residual = total - 2 * float(((weight @ self.mixed) * fitted).sum())
        residual += float(((fitted @ self.inputs) * fitted).sum())
        layer = CombinedLayer(weight.shape, replace(factors, up=factors.up.float(), down=down.float()))
        return layer, max(0.0, residual), total


def fit_layers(
    model: Model,
    networks: Mapping[str, HypernetworkModule],
    strength: float,
    prompts: Sequence[str],
    rank: int,
    on_progress: Callable[[int, int], None],
) -> tuple[dict[str, CombinedLayer], float]:
    """The low-rank change of each layer that imitates a hypernetwork, and the share of its change that is missed."""
    recorder, hypernetwork, moments = Patches(), Patches(), dict[str, _Moments]()
    layers: dict[str, nn.Linear] = {}
    for path, side, layer in named_attention_layers(model):
        if (network := networks.get(f"{layer.in_features}.{side}")) is not None:
            layers[path], moments[path] = layer, _Moments(layer.in_features)
            recorder.around(layer, _record(moments[path], network, strength), outer=True)
            hypernetwork.around(layer, with_hypernetwork(network, strength), outer=True)
    requests = [with_size(Request(prompt, seed=number, steps=_STEPS), model) for number, prompt in enumerate(prompts)]
    count = itertools.count(1)
    try:
        for request in requests:
            for _latents in denoise(model, [request]):
                on_progress(next(count), len(requests) * _STEPS)
    finally:
        hypernetwork.detach()
        recorder.detach()
    fitted, missed, total = {}, 0.0, 0.0
    for path, layer in layers.items():
        fitted[path], residual, change = moments[path].fit(layer.weight.double().cpu(), rank)
        missed, total = missed + residual, total + change
    return fitted, (missed / max(total, 1e-30)) ** 0.5


def _record(moments: _Moments, network: HypernetworkModule, strength: float) -> ForwardChange:
    """Add what a layer gets to its moments; outside of the hypernetwork, because it was attached before."""

    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        moments.add(x, strength * network(x))
        return call(x)

    return change
