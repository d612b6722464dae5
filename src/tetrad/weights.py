"""Weights: the one value that files, methods and merges exchange."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """Named tensors of one kind, with what a reader must know about them.

    Names are canonical: `<part>.<module path>.<tensor>`, where the part is a name the model gives ("unet",
    "text_encoder", "vae") and the path is the module's own. No file's spelling gets in here.
    """

    kind: str  # "lora", "checkpoint", …
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part, named by the module's own paths; empty where the part is not there."""
        start = name + "."
        return {key.removeprefix(start): tensor for key, tensor in self.tensors.items() if key.startswith(start)}
