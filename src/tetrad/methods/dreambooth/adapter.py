"""DreamBooth: training the model itself on a few images of one subject and class images.  [Ruiz et al. 2022]

Class images are data like any other (`data.class_images`); this file decides which tensors are trained.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from tetrad.errors import TetradError
from tetrad.locales import Message, _, ngettext
from tetrad.methods.base import ParamGroup, parameters_of
from tetrad.methods.dreambooth.formats import FORMATS
from tetrad.methods.dreambooth.settings import DreamBooth
from tetrad.models.base import Model
from tetrad.weights import Weights

__all__ = ["FORMATS", "attach", "check_settings", "full_precision_parts", "load", "resume_from"]


def attach(settings: DreamBooth, model: Model, rng: Generator, start: Weights | None = None) -> "_DreamBoothAdapter":
    """The trained parts, unfrozen; with `start`, its weights are loaded into them first."""
    adapter = _DreamBoothAdapter(model, trained_parts(settings, model), settings.reversible)
    if start is not None:
        adapter.load_weights(start, 1.0)
    adapter.train(in_float32=not settings.bf16_weights)
    return adapter


def load(model: Model, weights: Weights, strength: float = 1.0) -> "_DreamBoothAdapter":
    """Load a checkpoint's weights into the model, or for a strength s the mixture base + s · (checkpoint - base).

    The VAE is left unchanged, since training never changes it. Raises E5132 where the checkpoint does not fit.
    """
    adapter = _DreamBoothAdapter(model, (), reversible=True)
    adapter.load_weights(weights, strength)
    return adapter


def resume_from(settings: DreamBooth, start: Weights, model: Model) -> DreamBooth:
    return settings


def check_settings(settings: DreamBooth, model: Model) -> None:
    """Nothing to check: every setting fits every model."""


def full_precision_parts(settings: DreamBooth, model: Model) -> tuple[str, ...]:
    return () if settings.bf16_weights else trained_parts(settings, model)


def trained_parts(settings: DreamBooth, model: Model) -> tuple[str, ...]:
    texts = [text.name for text in model.text_encoders] if settings.text_encoder else []
    return (model.denoiser, *texts)


class _DreamBoothAdapter:
    """A model of which some parts are trained.  Keeps a copy of the original tensors only where `reversible`."""

    has_constraint = False

    def __init__(self, model: Model, parts: Iterable[str], reversible: bool) -> None:
        self.model = model
        self.parts = {part: network for part, network in model.parts().items() if part in parts}
        self.reversible = reversible
        self.original_tensors: dict[nn.Parameter, Tensor] = {}
        self.frozen_copy: dict[nn.Parameter, Tensor] = {}

    def train(self, in_float32: bool) -> None:
        """Make the parts trainable, in float32 or as they are; where reversible, the original tensors are kept on the
        CPU.
        """
        for parameter in parameters_of(self):
            if self.reversible:
                self.original_tensors.setdefault(parameter, parameter.data.cpu())
            dtype = torch.float32 if in_float32 else parameter.dtype
            parameter.data = parameter.data.to(dtype, copy=self.reversible)
            parameter.requires_grad_(True)

    @torch.no_grad()
    def load_weights(self, weights: Weights, strength: float) -> None:
        """Set the parameters to the checkpoint's tensors, or mix both; strength 0 changes nothing."""
        new_tensors = {
            parameter: tensor
            for part, network in self.model.parts().items()
            for parameter, tensor in _match_parameters(network, weights.part(part), part, self.model.name)
        }
        for parameter, tensor in new_tensors.items():
            tensor = tensor.to(parameter.device, parameter.dtype)
            if strength == 0 or torch.equal(tensor, parameter):
                continue
            mixed = tensor if strength == 1 else parameter.lerp(tensor, strength)
            if self.reversible:
                self.original_tensors.setdefault(parameter, parameter.data)
                parameter.data = mixed
            else:
                parameter.copy_(mixed)

    def groups(self) -> list[ParamGroup]:
        return [
            ParamGroup(
                part,
                list(network.parameters()),
                paths=tuple(f"{part}.{name.rpartition('.')[0]}" for name, _parameter in network.named_parameters()),
            )
            for part, network in self.parts.items()
        ]

    def weights(self) -> Weights:
        """The whole checkpoint.  These are the model's own tensors, not copies: save them before the next update."""
        return self.model.weights()

    def after_update(self) -> None:
        """No weight constraint."""

    def keep_original(self) -> None:
        """A frozen copy of the trained parts, in the precision and on the device of the model."""
        self.frozen_copy = {
            parameter: parameter.data.to(self.model.dtype, copy=True) for parameter in parameters_of(self)
        }

    @contextmanager
    def without_training(self) -> Iterator[None]:
        trained = {parameter: parameter.data for parameter in self.frozen_copy}
        for parameter, tensor in self.frozen_copy.items():
            parameter.data = tensor
        try:
            yield
        finally:
            for parameter, tensor in trained.items():
                parameter.data = tensor

    def detach(self) -> None:
        """Restore the tensors bit for bit.  E5131 where the originals were not kept."""
        if not self.reversible:
            raise TetradError(
                "E5131",
                _(
                    "the training changed {model} itself, and its original weights were not kept; load it again, or"
                    " train with reversible=True"
                ),
                model=self.model.name,
            )
        for parameter in parameters_of(self):
            parameter.requires_grad_(False)
            parameter.grad = None
        for parameter, tensor in self.original_tensors.items():
            parameter.data = tensor.to(parameter.device)
        self.original_tensors.clear()


def _match_parameters(
    network: nn.Module, tensors: Mapping[str, Tensor], part: str, model_name: str
) -> Iterable[tuple[nn.Parameter, Tensor]]:
    """Each parameter with the tensor of the same name.  E5132 where names or shapes differ."""
    parameters = dict(network.named_parameters())
    mismatches = parameters.keys() ^ tensors.keys()
    mismatches |= {name for name in parameters.keys() & tensors.keys() if tensors[name].shape != parameters[name].shape}
    if mismatches:
        template = ngettext(
            "this checkpoint does not fit the {part} of {model}: {count} tensor differs in name or shape ({tensor});"
            " use a checkpoint of the same family and size",
            "this checkpoint does not fit the {part} of {model}: {count} tensors differ in name or shape (first:"
            " {tensor}); use a checkpoint of the same family and size",
            len(mismatches),
        )
        raise TetradError("E5132", Message(template, part=part, model=model_name, tensor=min(mismatches)))
    return [(parameter, tensors[name]) for name, parameter in parameters.items()]
