"""A fifth method in one file: (IA)³, a factor for each output of attention's keys and values.  [Liu et al. 2022]

It is not part of the program. Tests register it to check that a method is one file and one line.
"""

from collections.abc import Collection
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from torch import Generator, Tensor, nn

from tetrad.errors import TetradError
from tetrad.formats.survey import TensorSurvey
from tetrad.formats.weight_files import WeightFile
from tetrad.locales import Message, _
from tetrad.methods import METHODS
from tetrad.methods.advice import KINDS, Advice
from tetrad.methods.artifact import Artifact
from tetrad.methods.base import Decoded, FactsAndProblems, FileFormat, Metadata, ParamGroup, Patches
from tetrad.models.base import Model, denoiser_of
from tetrad.settings.field import option, settings_class
from tetrad.settings.learning_rate import LearningRate, parse_learning_rate
from tetrad.weights import Weights

PREFIX = "ia3."


def is_ia3(names: Collection[str]) -> bool:
    return any(name.startswith(PREFIX) for name in names)


@settings_class
class Ia3:
    """Settings of (IA)³."""

    kind: Literal["ia3"] = "ia3"
    artifact: ClassVar[Artifact] = Artifact(
        "ia3",
        _("(IA)³"),
        _("an (IA)³ file"),
        is_ia3,
        architecture="/ia3",
        precision="fp32",
        folders=("models/Ia3",),
        folder_flag="--ia3-dir",
        prompt_tags=("ia3",),
        infotext_key="Ia3 hashes",
    )
    advice: ClassVar[Advice] = Advice(
        command_help=_("Train a factor for each output of attention: tiny."),
        good_at=_("the tiniest file of a whole model's change"),
        bad_at=_("anything that needs more than a scale for each output"),
        suits=dict.fromkeys(KINDS, 5),
    )
    gain: float = option(20.0, _("Scale of the trained factors"), group="method", flag="--gain", gt=0, le=100)

    def with_defaults(self, trigger_word: str, images: int, class_word: str = "") -> Self:
        return self

    def describe(self) -> Message:
        return Message(_("gain {gain}"), gain=self.gain)

    def learning_rates(self) -> dict[str, LearningRate]:
        return {"": parse_learning_rate("1e-2")}

    def default_steps(self, images: int) -> int:
        return 500


class Ia3Adapter(Patches):
    """y → (1 + s g l) y on every key and value layer of attention."""

    def __init__(self, model: Model, scales: dict[str, Tensor], gain: float, strength: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.scales = {path: nn.Parameter(scale.float().clone()) for path, scale in scales.items()}
        for path, layer in key_and_value_layers(model) if strength else ():
            self.around(layer, with_scale(self.scales[path], gain * strength))

    def groups(self) -> list[ParamGroup]:
        return [ParamGroup("unet", list(self.scales.values()))]

    def weights(self) -> Weights:
        return Weights(
            "ia3", {path: scale.detach().clone() for path, scale in self.scales.items()}, {"gain": str(self.gain)}
        )


def with_scale(scale: nn.Parameter, gain: float):  # type: ignore[no-untyped-def]
    return lambda call, x: call(x) * (1 + gain * scale).to(x.dtype)


def key_and_value_layers(model: Model) -> list[tuple[str, nn.Linear]]:
    paths = [(f"{model.denoiser}.{path}", layer) for path, layer in denoiser_of(model).named_modules()]
    return [(path, layer) for path, layer in paths if model.layers.keys_and_values.fullmatch(path)]


def attach(settings: Ia3, model: Model, rng: Generator, start: Weights | None = None) -> Ia3Adapter:
    scales = {
        path: torch.zeros(layer.out_features, device=layer.weight.device) for path, layer in key_and_value_layers(model)
    }
    return Ia3Adapter(model, start.tensors if start else scales, settings.gain)


def load(model: Model, weights: Weights, strength: float = 1.0) -> Ia3Adapter:
    return Ia3Adapter(model, weights.tensors, float(weights.metadata.get("gain", "1")), strength)


def resume_from(settings: Ia3, start: Weights, model: Model) -> Ia3:
    return settings


def check_settings(settings: Ia3, model: Model) -> None:
    pass


def full_precision_parts(settings: Ia3, model: Model) -> tuple[str, ...]:
    return ()


def encode(weights: Weights, model: Model, metadata: Metadata) -> WeightFile:
    about = {key: value for key, value in metadata.items() if key != "name"}
    return WeightFile({PREFIX + path: scale for path, scale in weights.tensors.items()}, about | weights.metadata)


def decode(file: WeightFile, model: Model) -> Decoded:
    found = {name.removeprefix(PREFIX): scale for name, scale in file.tensors.items()}
    wanted = {path: layer.out_features for path, layer in key_and_value_layers(model)}
    if found.keys() != wanted.keys() or any(len(scale) != wanted[path] for path, scale in found.items()):
        raise TetradError("E5102", _("this (IA)³ file does not fit {model}"), model=model.name)
    return Weights("ia3", found, file.metadata), []


def describe_file(path: Path, survey: TensorSurvey, metadata: Metadata, content_hash: str) -> FactsAndProblems:
    return {"layers": len(survey.shapes), "gain": metadata.get("gain", "not said")}, []


FORMATS = {"safetensors": FileFormat(".safetensors", encode, decode)}

METHODS[Ia3.kind] = Ia3  # the one line
