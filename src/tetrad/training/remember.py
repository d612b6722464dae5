"""Encodings of captions, computed once where nothing in the text path learns."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tetrad.models.base import Conditioning, Model, precision


class Remembered:
    """A model's `condition` that runs the text encoder once for each caption.

    Only right while the text encoder stays as it is; framing is not part of what is remembered.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.known: dict[str, Conditioning] = {}

    def __call__(self, captions: Sequence[str], framing: Tensor | None = None) -> Conditioning:
        with torch.no_grad(), precision(self.model):
            for caption in captions:
                if caption not in self.known:
                    self.known[caption] = self.model.condition([caption])
        return Conditioning.stacked([self.known[caption] for caption in captions])
