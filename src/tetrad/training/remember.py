"""Encodings of captions, computed once where nothing in the text path learns."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tetrad.models.base import Conditioning, Model, precision
from tetrad.training.step import Condition

CPU = torch.device("cpu")
MOST = 4096  # encodings; captions that are worded anew each time would otherwise fill the memory
QUIET = 64  # calls without a new caption after which the text encoders are not expected to be needed soon


class Remembered:
    """A model's `condition` that runs the text encoders once for each caption.

    Only right while the text encoders stay as they are; framing is a batch's own and is not remembered. Unless told not
    to, it takes encoders that have nothing new to read off an accelerator.
    """

    def __init__(self, model: Model, resting: bool = True) -> None:
        self.model = model
        self.resting = resting
        self.known: dict[str, Conditioning] = {}
        self.quiet = 0

    def __call__(self, captions: Sequence[str], framing: Tensor | None = None) -> Conditioning:
        self.quiet = self.quiet + 1 if self.remember_all(captions) == 0 else 0
        if self.resting and self.quiet % QUIET == QUIET - 1:
            rest(self.model)
        rows = [self.known[caption] for caption in captions]
        while len(self.known) > MOST:
            self.known.pop(next(iter(self.known)))  # the one known longest
        return replace(Conditioning.stacked(rows), framing=framing)

    def remember_all(self, captions: Sequence[str]) -> int:
        """Encode what is not known yet, so that the text encoders need not be there afterwards; how many those were."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self.known]
        with torch.no_grad(), precision(self.model):
            for caption in new:
                self.known[caption] = self.model.condition([caption])
        return len(new)


def rest(model: Model, place: torch.device = CPU) -> None:
    """Take the text encoders off the accelerator; whoever lets one read brings it back."""
    for text in model.texts:
        if text.network.device != place:
            send(text.network, place)


def send(network: nn.Module, place: torch.device) -> None:
    home = next(network.parameters()).device
    network.to(place)

    def wake(network: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        handle.remove()
        network.to(home)
        return tuple(tensor.to(home) for tensor in args), kwargs

    handle = network.register_forward_pre_hook(wake, with_kwargs=True)


def settled(model: Model, condition: Condition) -> Condition:
    """The condition to go on with: remembered as soon as nothing that learns has a part in an encoding."""
    if isinstance(condition, Remembered):
        return condition
    with precision(model):
        learns = condition([""], None).tokens.requires_grad
    # What learned until now may be averaged or saved yet, so it stays where it is.
    return condition if learns else Remembered(model, resting=False)
