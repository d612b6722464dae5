"""DreamBooth: the network itself learns, from a few pictures of one thing and others of its class.  [Ruiz et al. 2022]

The pictures of the class are data like any other; what is here is which tensors learn.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Generator, Tensor, nn

from tetrad.errors import TetradError
from tetrad.models.base import Model
from tetrad.weights import Weights

RATES = {"object": ("2e-6", "1e-6"), "face": ("1e-6", "5e-7")}  # of the U-Net, of the text encoders
STEPS = {"object": 400, "face": 1500}


def setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class DreamBooth:
    """Settings of DreamBooth; the names in brackets are kohya's."""

    kind: ClassVar[str] = "dreambooth"
    writes: ClassVar[str] = "checkpoint"
    subject: Literal["object", "face"] = setting(
        "object", "what it learns: an object, an animal or a style in 400 steps, or a face in 1500 at half the rate"
    )
    steps_per_image: int = setting(0, "steps for each picture instead; 100 is usual; 0: by the subject")
    text_encoder: bool = setting(
        False, "let the text encoders learn too, for train.text_encoder_share of the steps; needs more memory"
    )
    reversible: bool = False  # for programs: keep what the model was, as much memory again as what learns

    def __post_init__(self) -> None:
        if not 0 <= self.steps_per_image <= 10_000:
            raise TetradError(
                "E3103", f"method.steps_per_image must be from 0 to 10000, not {self.steps_per_image}; 100 is usual"
            )

    def decided(self, word: str, images: int) -> Self:
        return self

    def going_on(self, start: Weights) -> Self:
        return self

    def told(self) -> str:
        return f"{self.subject}, text encoder {'learns too' if self.text_encoder else 'left alone'}"

    def rates(self) -> dict[str, str]:
        unet, text = RATES[self.subject]
        return {"": unet, "text_encoder": text, "text_encoder_2": text}

    def steps(self, images: int) -> int:
        return self.steps_per_image * images or STEPS[self.subject]

    def whole(self) -> tuple[str, ...]:
        return ("unet", "text_encoder", "text_encoder_2") if self.text_encoder else ("unet",)

    def attach(self, model: Model, rng: Generator, start: Weights | None = None) -> "Unfrozen":
        """The parts that learn, unfrozen; going on from `start`, they first become what it holds."""
        adapter = Unfrozen(model, self.whole(), self.reversible)
        if start is not None:
            adapter.become(start, 1.0)
        adapter.learn()
        return adapter

    @classmethod
    def load(cls, model: Model, weights: Weights, strength: float = 1.0) -> "Unfrozen":
        """The model made what a checkpoint holds, or for a strength s the mixture base + s · (checkpoint - base).

        Its VAE is left alone, since none was trained. Raises E5132 where the checkpoint is for another model.
        """
        adapter = Unfrozen(model, (), reversible=True)
        adapter.become(weights, strength)
        return adapter


class Unfrozen:
    """A model of which some parts learn.  No tensor is held twice unless the change is to be reversible."""

    def __init__(self, model: Model, parts: Iterable[str], reversible: bool) -> None:
        self.model = model
        self.parts = {part: network for part, network in model.parts().items() if part in parts}
        self.reversible = reversible
        self.before: dict[nn.Parameter, Tensor] = {}

    def learn(self) -> None:
        """Let the parts learn, in float32; where that is reversible, what they were is kept on the CPU."""
        for parameters in self.groups().values():
            for parameter in parameters:
                if self.reversible:
                    self.before.setdefault(parameter, parameter.data.cpu())
                parameter.data = parameter.data.to(torch.float32, copy=self.reversible)
                parameter.requires_grad_(True)

    @torch.no_grad()
    def become(self, weights: Weights, strength: float) -> None:
        """Take the checkpoint's tensors, or a mixture with one's own; at strength 0 nothing is touched."""
        found = {
            parameter: tensor
            for part, network in self.model.parts().items()
            for parameter, tensor in matched(network, weights.part(part), f"{part} of {self.model.name}")
        }
        for parameter, tensor in found.items():
            tensor = tensor.to(parameter.device, parameter.dtype)
            if strength == 0 or torch.equal(tensor, parameter):
                continue
            mixed = tensor if strength == 1 else parameter.lerp(tensor, strength)
            if self.reversible:
                self.before.setdefault(parameter, parameter.data)
                parameter.data = mixed
            else:
                parameter.copy_(mixed)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {part: list(network.parameters()) for part, network in self.parts.items()}

    def weights(self) -> Weights:
        """The whole checkpoint.  These are the model's own tensors, not copies: save them before the next update."""
        return self.model.weights()

    def after_update(self) -> None:
        """Nothing is bounded."""

    def detach(self) -> None:
        """The tensors as they were, bit for bit.  E5131 where they learned and what they were was not kept."""
        if not self.reversible:
            raise TetradError(
                "E5131",
                f"{self.model.name} itself was trained, and what it was before is not kept; load it again, or train "
                "with reversible=True",
            )
        for parameters in self.groups().values():
            for parameter in parameters:
                parameter.requires_grad_(False)
                parameter.grad = None
        for parameter, tensor in self.before.items():
            parameter.data = tensor.to(parameter.device)
        self.before.clear()


def matched(network: nn.Module, tensors: Mapping[str, Tensor], what: str) -> Iterable[tuple[nn.Parameter, Tensor]]:
    """Each parameter with the tensor it is to become.  E5132 where names or shapes differ."""
    parameters = dict(network.named_parameters())
    odd = parameters.keys() ^ tensors.keys()
    odd |= {name for name in parameters.keys() & tensors.keys() if tensors[name].shape != parameters[name].shape}
    if odd:
        raise TetradError(
            "E5132",
            f"this checkpoint does not fit the {what}: {len(odd)} tensors differ in name or shape (the first is "
            f"{min(odd)}); it is of another family, or was made for a wider or narrower model",
        )
    return [(parameter, tensors[name]) for name, parameter in parameters.items()]
