"""The small networks that a hypernetwork is made of: their shape, how they begin, what they compute."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from tetrad.errors import TetradError

# By A1111's names. Left out is what changes the width, mixes the batch or needs arguments: there it cannot work either.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "elu": nn.ELU,
    "swish": nn.Hardswish,  # not what the literature calls swish, which is silu
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
WIDEST = 64.0  # times the input


@dataclass(frozen=True)
class Shape:
    """What a file must tell of its networks.  ValueError where no network can be like that."""

    structure: tuple[float, ...] = (1.0, 2.0, 1.0)  # the width of each layer over the input's
    activation: str = "linear"
    layer_norm: bool = False
    activate_output: bool = False
    dropout: tuple[float, ...] = ()  # the share left out after each layer, as many numbers as in structure; () none

    def __post_init__(self) -> None:
        structure = self.structure
        if len(structure) < 2 or not structure[0] == structure[-1] == 1 or not all(0 < s <= WIDEST for s in structure):
            raise ValueError(f"structure {shown(structure)} must begin and end with 1, like 1, 2, 1")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is none of {', '.join(ACTIVATIONS)}")
        dropout = self.dropout
        if dropout and (
            len(dropout) != len(structure) or dropout[0] or dropout[-1] or not all(0 <= share < 1 for share in dropout)
        ):
            raise ValueError(
                f"dropout {shown(dropout)} must have a number for each of structure {shown(structure)}, at least 0 and "
                "under 1, the first and the last 0"
            )

    def told(self) -> dict[str, str]:
        """The shape as metadata."""
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in vars(self).items()}

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> "Shape":
        """The shape that metadata tells.  E5108 where it tells none."""
        try:
            return cls(
                tuple(map(float, json.loads(metadata["structure"]))),
                metadata["activation"],
                json.loads(metadata["layer_norm"]) is True,
                json.loads(metadata["activate_output"]) is True,
                tuple(map(float, json.loads(metadata["dropout"]))),
            )
        except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise TetradError("E5108", f"this hypernetwork does not say how it is built ({error})") from error


class Network(nn.Module):
    """Layers of widths d · structure, each but the last followed by the activation.  (…, d) → (…, d)

    Its layers have no numbers until they `begin` or are loaded.
    """

    def __init__(self, width: int, shape: Shape) -> None:
        super().__init__()
        sides = [int(width * share) for share in shape.structure]
        active = len(sides) - 1 - (not shape.activate_output)
        self.shares = shape.dropout[1:] or (0.0,) * (len(sides) - 1)
        with torch.device("meta"):
            self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sides))
            self.norms = nn.ModuleList(nn.LayerNorm(side) for side in sides[1:] if shape.layer_norm)
        self.activations = nn.ModuleList(ACTIVATIONS[shape.activation]() for _ in range(active))
        self.gain = "leaky_relu" if shape.activation == "leakyrelu" else "relu"  # as A1111 has it, for Kaiming

    def begin(self, initialization: str, zero: bool, rng: Generator) -> None:
        """Random weights; `zero` where it would say something at once: the last norm, or else the last layer."""
        for module in (*self.layers, *self.norms):
            module.to_empty(device="cpu")
            weight, bias = module.parameters()
            nn.init.zeros_(bias)
            if isinstance(module, nn.Linear):
                INITIALIZATIONS[initialization](weight, self.gain, rng)
            else:
                nn.init.ones_(weight)
        if zero:
            nn.init.zeros_(next((self.norms or self.layers)[-1].parameters()))

    def forward(self, x: Tensor) -> Tensor:
        learning = torch.is_grad_enabled()
        self.activations.train(learning)
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number < len(self.activations):
                x = self.activations[number](x)
            if self.norms:
                x = self.norms[number](x)
            if learning and self.shares[number]:
                x = F.dropout(x, self.shares[number])
        return x


def shown(value: object) -> str:
    return ", ".join(f"{item:g}" for item in value) if isinstance(value, tuple) else str(value)
