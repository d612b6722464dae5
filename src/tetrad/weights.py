"""Weights: named tensors as files, methods and merges pass them to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """Named tensors of one artifact type, with its metadata.

    Names are canonical: `<part>.<module path>.<tensor>`, where the part is a name the model gives ("unet",
    "text_encoder", "vae") and the path is the module's own. Names that only a file format uses never appear here.
    """

    kind: str  # "lora", "checkpoint", …
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part by the module's own paths; empty if there is no such part."""
        start = name + "."
        return {key.removeprefix(start): tensor for key, tensor in self.tensors.items() if key.startswith(start)}
