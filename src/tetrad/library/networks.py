"""What was learned: read from a file and fitted to a model, or written and read back."""

from collections.abc import Iterable
from pathlib import Path

from tetrad.errors import TetradError, naming
from tetrad.formats import described, files, kohya, sniff
from tetrad.methods.base import Adapter
from tetrad.methods.lora import Lora, layers
from tetrad.models.base import Model
from tetrad.weights import Weights

Metadata = dict[str, str]


def load_lora(path: Path, model: Model) -> Weights:
    """A LoRA file's weights for this model; every key must find a layer.

    Raises E5102 where the file is for another family, E5103 where keys find no layer, E5101 where it is no LoRA.
    """
    file = files.read(path)
    if (kind := sniff(file.tensors)) != "lora":
        raise TetradError("E5101", f"{path} is {described(kind)}, not a LoRA")
    if (base := other_family(file.metadata, file.tensors)) is not None:
        advice = f"give a {base} checkpoint with --model, or train this LoRA again on {model.title}"
        raise TetradError("E5102", f"{path.name} is a LoRA for {base}, but {model.name} is {model.title}; {advice}")
    weights, unmatched = kohya.decode(file.tensors, [layer for layer, _ in layers(model)], file.metadata)
    if unmatched:
        raise TetradError(
            "E5103",
            f"{path.name}: {len(unmatched)} of {len(file.tensors)} keys find no layer in {model.name} "
            f"(the first is {unmatched[0]}); it was made for another model or by another method",
        )
    return weights


def attach_lora(path: Path, model: Model, strength: float) -> Adapter:
    """A LoRA file around a model, at a strength, until it is detached."""
    with naming(path):
        return Lora.load(model, load_lora(path, model), strength)


def other_family(metadata: Metadata, names: Iterable[str]) -> str | None:
    """The family a LoRA says it is for, where that is not Stable Diffusion 1."""
    base = metadata.get("ss_base_model_version", "")
    if base.startswith("sdxl") or any(name.startswith("lora_te2_") for name in names):
        return "Stable Diffusion XL"
    if metadata.get("ss_v2") == "True":
        return "Stable Diffusion 2"
    return None


def save_lora(path: Path, weights: Weights, model: Model, metadata: Metadata) -> None:
    """Write a kohya LoRA, then read it back: each tensor must be there, equal, and find its layer in the model.

    Raises E4202 where it cannot be written, E5103 where what was written is not what was learned.
    """
    tensors = kohya.encode(weights)
    files.write(path, tensors, kohya.signed(tensors, metadata))
    again = load_lora(path, model)
    wrong = [name for name, tensor in weights.tensors.items() if not again.tensors[name].equal(tensor.cpu())]
    if wrong or again.tensors.keys() != weights.tensors.keys():
        raise TetradError(
            "E5103", f"{path} was written but reads back differently at {wrong[:1]}; check the disk it lies on"
        )
