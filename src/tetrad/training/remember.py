"""Encodings of captions, computed once where nothing in the text path learns."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tetrad.models.base import Conditioning, Model, precision
from tetrad.training.step import Condition


class Remembered:
    """A model's `condition` that runs the text encoders once for each caption.

    Only right while the text encoders stay as they are; framing is a batch's own and is not remembered.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.known: dict[str, Conditioning] = {}

    def __call__(self, captions: Sequence[str], framing: Tensor | None = None) -> Conditioning:
        self.remember_all(captions)
        return replace(Conditioning.stacked([self.known[caption] for caption in captions]), framing=framing)

    def remember_all(self, captions: Sequence[str]) -> None:
        """Encode what is not known yet, so that the text encoders need not be there afterwards."""
        with torch.no_grad(), precision(self.model):
            for caption in captions:
                if caption not in self.known:
                    self.known[caption] = self.model.condition([caption])


def settled(model: Model, condition: Condition) -> Condition:
    """The condition to go on with: remembered as soon as nothing that learns has a part in an encoding."""
    if isinstance(condition, Remembered):
        return condition
    with precision(model):
        learns = condition([""], None).tokens.requires_grad
    return condition if learns else Remembered(model)
