"""Hypernetworks without activations and norms: each of their networks is one matrix and one bias."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tetrad.methods.hypernetwork.settings import NetworkShape
from tetrad.weights import Weights


@dataclass(frozen=True)
class LinearNetwork:
    """h(x) = A x + b, with A (d, d) and b (d,) in float64."""

    matrix: Tensor
    bias: Tensor

    @classmethod
    def of(cls, weights: Weights, name: str) -> Self:
        """The network "768.k" of a linear hypernetwork: its layers W₁, b₁ … Wₙ, bₙ multiplied out.

        A = Wₙ … W₁ and b = Wₙ (… (W₂ b₁ + b₂) …) + bₙ.
        """
        layers = weights.part(f"{name}.layers")
        width = int(name.partition(".")[0])
        matrix, bias = torch.eye(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
        for number in range(len(layers) // 2):
            weight = layers[f"{number}.weight"].double()
            matrix, bias = weight @ matrix, weight @ bias + layers[f"{number}.bias"].double()
        return cls(matrix, bias)


def is_linear(shape: NetworkShape) -> bool:
    """Whether the networks are a product of matrices; dropout is for training only."""
    return shape.activation == "linear" and not shape.layer_norm


def chain(networks: Sequence[tuple[float, LinearNetwork]]) -> LinearNetwork:
    """Several hypernetworks at their strengths as one at strength 1, as A1111 chains them.

    One hypernetwork at strength s maps x to x + s h(x) = (I + s A) x + s b, and the next one gets that as its input:

        x₂ = (I + s₂ A₂) ((I + s₁ A₁) x + s₁ b₁) + s₂ b₂

    One that maps x to x + A x + b does the same with

        A = (I + s₂ A₂)(I + s₁ A₁) - I = s₁ A₁ + s₂ A₂ + s₁ s₂ A₂ A₁
        b = s₁ b₁ + s₂ b₂ + s₁ s₂ A₂ b₁

    so that each further one adds s (A_next (x + …)): A ← A + s A_next + s A_next A, and likewise for b.
    """
    matrix, bias = (torch.zeros_like(each) for each in (networks[0][1].matrix, networks[0][1].bias))
    for strength, network in networks:
        matrix = matrix + strength * (network.matrix + network.matrix @ matrix)
        bias = bias + strength * (network.bias + network.matrix @ bias)
    return LinearNetwork(matrix, bias)
