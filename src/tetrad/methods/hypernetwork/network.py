"""The small networks of a hypernetwork: layers, initialization and forward pass."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from tetrad.methods.hypernetwork.settings import NetworkShape

# The modules for the names in `settings.ACTIVATIONS`.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "elu": nn.ELU,
    "swish": nn.Hardswish,  # as A1111 does; the literature's swish is silu
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    **{
        found.__name__.lower(): found
        for found in (
            *(nn.CELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LogSigmoid, nn.Mish),
            *(nn.PReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanhshrink),
        )
    },
}
INITIALIZATIONS: dict[str, Callable[[Tensor, Any, Generator], Tensor]] = {
    "Normal": lambda weight, _, rng: nn.init.normal_(weight, 0.0, 0.01, generator=rng),
    "XavierUniform": lambda weight, _, rng: nn.init.xavier_uniform_(weight, generator=rng),
    "XavierNormal": lambda weight, _, rng: nn.init.xavier_normal_(weight, generator=rng),
    "KaimingUniform": lambda weight, gain, rng: nn.init.kaiming_uniform_(weight, nonlinearity=gain, generator=rng),
    "KaimingNormal": lambda weight, gain, rng: nn.init.kaiming_normal_(weight, nonlinearity=gain, generator=rng),
}


class HypernetworkModule(nn.Module):
    """Layers of widths d · structure, each but the last followed by the activation.  (…, d) → (…, d)

    The layers are on the meta device until `initialize` or `load_state_dict`.
    """

    def __init__(self, width: int, shape: NetworkShape) -> None:
        super().__init__()
        sides = [int(width * share) for share in shape.structure]
        active = len(sides) - 1 - (not shape.activate_output)
        self.dropout_rates = shape.dropout[1:] or (0.0,) * (len(sides) - 1)
        with torch.device("meta"):
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sides))
            self.norms = nn.ModuleList(nn.LayerNorm(side) for side in sides[1:] if shape.layer_norm)
        self.activations = nn.ModuleList(ACTIVATIONS[shape.activation]() for _ in range(active))
        self.nonlinearity = "leaky_relu" if shape.activation == "leakyrelu" else "relu"  # as A1111 has it, for Kaiming

    def initialize(self, initialization: str, zero_last: bool, rng: Generator) -> None:
        """Random weights.  `zero_last`: the last norm, or else the last layer, is zero, so that the output is zero."""
        for module in (*self.layers, *self.norms):
            module.to_empty(device="cpu")
            weight, bias = module.parameters()
            nn.init.zeros_(bias)
            if isinstance(module, nn.Linear):
                INITIALIZATIONS[initialization](weight, self.nonlinearity, rng)
            else:
                nn.init.ones_(weight)
        if zero_last:
            nn.init.zeros_(next((self.norms or self.layers)[-1].parameters()))

    def forward(self, x: Tensor) -> Tensor:
        is_training = torch.is_grad_enabled()
        self.activations.train(is_training)
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index < len(self.activations):
                x = self.activations[index](x)
            if self.norms:
                x = self.norms[index](x)
            if is_training and self.dropout_rates[index]:
                x = F.dropout(x, self.dropout_rates[index])
        return x
