"""A cache of encoded captions, for as long as nothing in the text encoders is trained."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tetrad.models.base import Conditioning, Model, autocast_to_model_dtype
from tetrad.training.step import Condition

CPU = torch.device("cpu")
MAX_ENCODINGS = 4096  # captions; shuffled tags make new ones for ever, which would otherwise fill the memory
OFFLOAD_AFTER_CALLS = 64  # calls without a new caption, after which the text encoders are offloaded


class CaptionCache:
    """A model's `condition` that runs the text encoders once for each caption.

    Only right while the text encoders do not change. Micro-conditioning belongs to the batch and is not cached. With
    `offload` the text encoders leave an accelerator when no new caption has come for a while.
    """

    def __init__(self, model: Model, offload: bool = True) -> None:
        self.model = model
        self.offload = offload
        self.encodings: dict[str, Conditioning] = {}
        self.calls_without_miss = 0

    def __call__(self, captions: Sequence[str], micro_conditioning: Tensor | None = None) -> Conditioning:
        self.calls_without_miss = self.calls_without_miss + 1 if self.encode_missing(captions) == 0 else 0
        if self.offload and self.calls_without_miss % OFFLOAD_AFTER_CALLS == OFFLOAD_AFTER_CALLS - 1:
            offload_text_encoders(self.model)
        rows = [self.encodings[caption] for caption in captions]
        while len(self.encodings) > MAX_ENCODINGS:
            self.encodings.pop(next(iter(self.encodings)))  # the oldest
        return replace(Conditioning.stack(rows), micro_conditioning=micro_conditioning)

    def encode_missing(self, captions: Sequence[str]) -> int:
        """Encode the captions that are not cached yet; returns how many those were."""
        missing = [caption for caption in dict.fromkeys(captions) if caption not in self.encodings]
        with torch.no_grad(), autocast_to_model_dtype(self.model):
            for caption in missing:
                self.encodings[caption] = self.model.condition([caption])
        return len(missing)


def offload_text_encoders(model: Model, device: torch.device = CPU) -> None:
    """Move the text encoders off the accelerator; each comes back when it is next called."""
    for encoder in model.text_encoders:
        if encoder.network.device != device:
            offload_until_used(encoder.network, device)


def offload_until_used(network: nn.Module, device: torch.device) -> None:
    """Move a network to `device`; its next forward pass moves it back first, together with the inputs."""
    original_device = next(network.parameters()).device
    network.to(device)

    def restore(network: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        handle.remove()
        network.to(original_device)
        return tuple(tensor.to(original_device) for tensor in args), kwargs

    handle = network.register_forward_pre_hook(restore, with_kwargs=True)


def maybe_cache(model: Model, condition: Condition) -> Condition:
    """The condition to continue with: a cache, as soon as no encoding depends on a trained parameter."""
    if isinstance(condition, CaptionCache):
        return condition
    with autocast_to_model_dtype(model):
        has_trainable_encoder = condition([""], None).hidden_states.requires_grad
    # Weights that were trained until now are still to be averaged or saved, so they are not offloaded.
    return condition if has_trainable_encoder else CaptionCache(model, offload=False)
