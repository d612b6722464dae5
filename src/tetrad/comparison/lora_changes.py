"""What a LoRA changes each layer's weight by, ΔW, read without a checkpoint where that is possible."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from tetrad.errors import TetradError
from tetrad.formats.weight_files import WeightFile
from tetrad.library.artifacts import formats_of
from tetrad.locales import _
from tetrad.methods.lora import lycoris
from tetrad.methods.lora.combine import Tensors, changes_weight, depends_on_base
from tetrad.methods.lora.detection import detect_family
from tetrad.methods.lora.layer import weight_of
from tetrad.methods.lora.weights import group_by_layer, named_layers
from tetrad.models.base import Model, get_model_device
from tetrad.models.families import FAMILIES


@dataclass(frozen=True)
class LoraFile:
    """A LoRA layer by layer, and the keys of its file that match no layer of the model that it was read for."""

    layers: Mapping[str, Tensors]  # in float32, by canonical path; only those whose weight changes
    unmatched: list[str]
    model: Model

    @cached_property
    def modules(self) -> Mapping[str, nn.Module]:
        """The layers of the model by path."""
        return dict(named_layers(self.model))

    @cached_property
    def has_base_weights(self) -> bool:
        """Whether the model has its weights, and not only its layers."""
        return get_model_device(self.model).type != "meta"

    @cached_property
    def misfits(self) -> list[str]:
        """The layers whose tensors do not fit together, or do not fit the layers of the model."""
        return [path for path, tensors in self.layers.items() if not lycoris.matches_layer(self.modules[path], tensors)]

    def get_weight(self, path: str) -> Tensor | None:
        """The weight of a layer; None where only the layers are known."""
        return weight_of(self.modules[path]).float() if self.has_base_weights else None

    def compute_change(self, path: str) -> Tensor | None:
        """ΔW (out, in) of a layer; None for a DoRA or an OFT where the layer's own weight is not known.

        E5102 where its tensors do not fit together or do not fit the layer.
        """
        tensors, weight = self.layers[path], self.get_weight(path)
        if weight is not None:
            if path in self.misfits:
                raise _misfit_error(path)
            return lycoris.weight_change(tensors, weight).flatten(1)
        return None if depends_on_base(tensors) else _compute_without_weight(path, tensors)


def read_lora(file: WeightFile, base: Model | None = None) -> LoraFile:
    """The LoRA in a file, for a base model, or for the released model of the family that fits best.

    Raises what the formats of LoRA files raise: E5102 for another family than the base's, E5135 for an algorithm that
    is not read.
    """
    models = [base] if base else list_released_models(file)
    return min((_decode(file, model) for model in models), key=lambda reading: len(reading.unmatched))


def list_released_models(file: WeightFile) -> list[Model]:
    """The released model of each family that a LoRA may be for, on the meta device: one where the file says it."""
    shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
    title = detect_family(file.metadata, shapes)
    return [family.build_released() for family in FAMILIES.values() if title in (None, family.family_title)]


def _decode(file: WeightFile, model: Model) -> LoraFile:
    """The reading of the format that matches the most keys."""
    results = [each.decode(file, model) for each in formats_of("lora").values()]
    weights, unmatched = min(results, key=lambda result: len(result[1]))
    layers = {
        path: {name: tensor.float() for name, tensor in tensors.items()}
        for path, tensors in group_by_layer(weights).items()
        if changes_weight(tensors)
    }
    return LoraFile(layers, unmatched, model)


def _compute_without_weight(path: str, tensors: Tensors) -> Tensor:
    names = tensors.keys() - set(lycoris.EXTRA_TENSORS)
    for algorithm in lycoris.ALGORITHMS:
        if set(algorithm.required) <= names <= {*algorithm.required, *algorithm.optional}:
            try:
                return algorithm.delta(tensors).flatten(1)
            # A tensor is missing, shapes do not fit each other, the rank is 0, or alpha is no single number.
            except (LookupError, RuntimeError, ArithmeticError, ValueError):
                break
    raise _misfit_error(path)


def _misfit_error(path: str) -> TetradError:
    template = _("the tensors of the layer {layer} do not fit together or do not fit the base model")
    return TetradError("E5102", template, layer=path)
