"""LoRA files as material: which file at which strength, for which layers, and what is in it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tetrad.builtin import BUILTIN_NAME, MODEL_PATH
from tetrad.errors import TetradError, naming_file
from tetrad.formats import bundles, weight_files
from tetrad.formats.weight_files import WeightFile
from tetrad.given_paths import missing_file_error
from tetrad.library.artifacts import decode_weights, find_adapter_file
from tetrad.library.folders import ModelFolders
from tetrad.library.identification import identify, title_of
from tetrad.library.outlines import open_checkpoint
from tetrad.library.search import find_file
from tetrad.locales import Message, _
from tetrad.methods.lora.combine import Tensors, Weighted
from tetrad.methods.lora.detection import detect_family
from tetrad.methods.lora.weights import get_matching_layer, group_by_layer, named_layers
from tetrad.models.base import Model
from tetrad.models.families import FAMILIES
from tetrad.paths import expand_path
from tetrad.weighted_files import LORA_PARTS, WHOLE, split_weights


@dataclass(frozen=True)
class LoraChoice:
    """A LoRA file, and its strength on the U-Net and on the text encoders."""

    path: Path
    unet: float = 1.0
    text_encoder: float = 1.0

    @classmethod
    def parse(cls, text: str, folders: ModelFolders | None = None) -> "LoraChoice":
        """FILE, FILE:0.8 or FILE:te=0.5:unet=1, where FILE is a path, or a name in the folders.

        E2006 where a strength is not a number, E5001 where there is no such file, E5101 where no folder has the name.
        """
        name, strengths = split_weights(text, LORA_PARTS)
        both = strengths.get(WHOLE, 1.0)
        return cls(find_lora(name, folders), strengths.get("unet", both), strengths.get("te", both))

    def __post_init__(self) -> None:
        """E5322 for a strength that is NaN or Inf."""
        for strength in (self.unet, self.text_encoder):
            if not math.isfinite(strength):
                template = _("the strength of {path} must be a number, not {strength}")
                raise TetradError("E5322", template, path=self.path, strength=strength)

    def strength_of(self, part: str, denoiser: str = "unet") -> float:
        return self.unet if part == denoiser else self.text_encoder

    @property
    def strengths(self) -> dict[str, float]:
        """For the history."""
        if self.unet == self.text_encoder:
            return {"strength": self.unet}
        return {"unet": self.unet, "text_encoder": self.text_encoder}


def find_lora(name: str, folders: ModelFolders | None = None) -> Path:
    """A LoRA by its path, or by its name in the folders; in a folder of PEFT or diffusers, the file inside.

    E5001 where there is no such file, E5101 for no such name.
    """
    path = find_adapter_file(expand_path(name))
    if path.exists():
        return path
    if folders is None or len(path.parts) > 1 or not any(folder.is_dir() for folder in folders["lora"]):
        raise missing_file_error(path)
    return find_file("lora", name, folders)


@dataclass(frozen=True)
class OpenLora:
    """A LoRA that was read: tensors by layer, the embeddings inside it, and the file's metadata."""

    choice: LoraChoice
    layers: Mapping[str, Tensors]
    embeddings: Mapping[str, Tensor]  # under the file's own names, bundle_emb.…
    metadata: Mapping[str, str]


def read_loras(loras: Sequence[str | LoraChoice], base: Path | None = None) -> tuple[list[OpenLora], Model]:
    """The LoRAs, and a model without weights that has their layers: that of `base`, else the one they are made for.

    LoRAs are given as files with strengths, or as text: "style.safetensors:0.8".
    Raises E5101 for a file that is not a LoRA, E5301 for LoRAs of different families, E5321 where nothing tells the
    family, E5102 where a LoRA does not fit the layers, E5014 for NaN or Inf.
    """
    choices = [each if isinstance(each, LoraChoice) else LoraChoice.parse(each) for each in loras]
    files = {choice.path: weight_files.read_weight_file(choice.path) for choice in choices}
    for path, file in files.items():
        if (found := identify(file.tensors)) != "lora":
            template = _("{path} is {found}, not {expected}")
            raise TetradError("E5101", template, path=path, found=title_of(found), expected=title_of("lora"))
    model = _open_model(base) if base else _find_model(files)
    layers = dict(named_layers(model))
    return [_decode(choice, files[choice.path], model, layers) for choice in choices], model


def _decode(choice: LoraChoice, file: WeightFile, model: Model, model_layers: Mapping[str, object]) -> OpenLora:
    weights = decode_weights(choice.path, file, model, "lora")
    layers = group_by_layer(weights)
    with naming_file(choice.path):
        for path, tensors in layers.items():
            get_matching_layer(model_layers, path, tensors, model)  # type: ignore[arg-type]
    kept = bundles.remove_embeddings(file).tensors
    embeddings = {name: tensor for name, tensor in file.tensors.items() if name not in kept}
    return OpenLora(choice, layers, embeddings, weight_files.read_safetensors_metadata(choice.path))


def _open_model(path: Path) -> Model:
    with open_checkpoint(path) as checkpoint:
        return checkpoint.build_model()


def _find_model(files: Mapping[Path, WeightFile]) -> Model:
    """The built-in model where a LoRA was trained on it, else the released model of the LoRAs' family."""
    titles = {
        path: detect_family(file.metadata, {name: tensor.shape for name, tensor in file.tensors.items()})
        for path, file in files.items()
    }
    known = {path: title for path, title in titles.items() if title}
    first = next(iter(known), None)
    if first is None:
        template = _("{path} does not say which model it is for; give a checkpoint of its family with --model")
        raise TetradError("E5321", template, path=next(iter(files)))
    for path, title in known.items():
        if title != known[first]:
            template = _(
                "{path} is for {family}, but {other} is for {other_family}; only LoRAs of one family can be merged"
            )
            values = {"path": path, "family": title, "other": first, "other_family": known[first]}
            raise TetradError("E5301", template, **values)
    if any(file.metadata.get("ss_sd_model_name") == BUILTIN_NAME for file in files.values()):
        return _open_model(MODEL_PATH)
    return next(family for family in FAMILIES.values() if family.family_title == known[first]).build_released()


def describe_unused(loras: Iterable[OpenLora], denoiser: str) -> Iterator[Message]:
    """Which LoRAs have the strength 0 in all of their layers, so that nothing of their change is in the result."""
    for lora in loras:
        parts = {path.partition(".")[0] for path in lora.layers}
        if not any(lora.choice.strength_of(part, denoiser) for part in parts):
            yield Message(_("{file} has the strength 0, so nothing of it is merged"), file=lora.choice.path.name)


def list_strengths(loras: Sequence[OpenLora]) -> dict[Path, dict[str, object]]:
    """The strengths of each file, for the history; a list of them where a file is given several times."""
    strengths: dict[Path, list[dict[str, float]]] = {}
    for lora in loras:
        strengths.setdefault(lora.choice.path, []).append(lora.choice.strengths)
    return {path: {"strengths": each} if len(each) > 1 else dict(each[0]) for path, each in strengths.items()}


def group_layers(loras: Sequence[OpenLora], denoiser: str) -> Iterator[tuple[str, Weighted]]:
    """Every layer that some LoRA has, by path, with what each LoRA has for it and at which strength."""
    for path in sorted({path for lora in loras for path in lora.layers}):
        part = path.partition(".")[0]
        yield (
            path,
            [(lora.choice.strength_of(part, denoiser), lora.layers[path]) for lora in loras if path in lora.layers],
        )
