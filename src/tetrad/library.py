"""Open or save anything by its path: the one place where files meet models."""

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tetrad.builtin import model_path
from tetrad.errors import TetradError
from tetrad.formats import described, diffusers, files, kohya, ldm, sniff
from tetrad.methods.base import Adapter
from tetrad.methods.lora import Lora, layers
from tetrad.models import FAMILIES
from tetrad.models.base import Model, freeze
from tetrad.weights import Weights

Metadata = dict[str, str]


def load_model(name: str) -> Model:
    """A frozen model from a single file, a diffusers folder, or "builtin".

    Raises E5001 … E5010 for what is missing, damaged, unsafe, or not a checkpoint of a family this program knows.
    """
    path = model_path(name)
    family, weights = folder_weights(path) if path.is_dir() else checkpoint_weights(path)
    model = FAMILIES[family].build(weights, path.name)
    freeze(model)
    return model


def checkpoint_weights(path: Path) -> tuple[str, Weights]:
    """A single-file checkpoint's family and weights; E5004 … E5008 where the file is another kind of thing."""
    file = files.read(path)
    kind = sniff(file.tensors)
    if kind in FAMILIES:
        with naming(path):
            return kind, ldm.decode(file.tensors, file.metadata)
    advice = {
        "lora": (
            "E5004",
            'give the checkpoint it was made for with --model, and the LoRA as "<lora:NAME:1>" in a prompt',
        ),
        "vae": ("E5005", "give a whole checkpoint; a VAE is a part of one"),
        "sdxl": ("E5006", "this version trains Stable Diffusion 1"),
        "sd2": ("E5007", "this version trains Stable Diffusion 1"),
    }
    code, what = advice.get(kind, ("E5008", "give a Stable Diffusion 1 checkpoint"))
    raise TetradError(code, f"{path} is {described(kind)}; {what}")


def folder_weights(path: Path) -> tuple[str, Weights]:
    """A diffusers folder's family and weights; E5001 where a part is missing, E5006 and E5007 for another family."""
    settings = {part: read_json(path / where) for part, where in diffusers.CONFIGURATIONS.items()}
    if (path / "text_encoder_2").is_dir():
        raise TetradError("E5006", f"{path} is a Stable Diffusion XL folder; this version trains Stable Diffusion 1")
    if settings["unet"].get("cross_attention_dim") == 1024:
        raise TetradError("E5007", f"{path} is a Stable Diffusion 2 folder; this version trains Stable Diffusion 1")
    parts = {}
    for part, names in diffusers.PARTS.items():
        there = [path / part / name for name in names if (path / part / name).is_file()]
        if not there:
            needed = ", ".join(f"{part}/{names[0]}" for part, names in diffusers.PARTS.items())
            raise TetradError("E5001", f"{path} has no {part}/{names[0]}; a diffusers folder needs {needed}")
        parts[part] = files.read(there[0]).tensors
    return "sd1", diffusers.decode(parts, settings)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file; E5002 where it is none."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise TetradError("E5002", f"{path} is no JSON ({error}); copy the folder again") from error
    if not isinstance(found, dict):
        raise TetradError("E5002", f"{path} holds no settings ({str(found)[:40]}); copy the folder again")
    return found


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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What goes wrong inside is told with the file's name."""
    try:
        yield
    except TetradError as error:
        if path.name in error.message:
            raise
        raise TetradError(error.code, f"{path.name}: {error.message}") from error


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


def find_lora(name: str, folder: Path) -> Path:
    """The file a prompt means by `<lora:name>`: by its stem, else by the name it was trained under.  E5101 if none."""
    if not folder.is_dir():
        raise TetradError("E5101", f"there is no folder {folder} to find <lora:{name}> in; give it with --lora-dir")
    found = sorted(folder.rglob("*.safetensors"))
    for says in (lambda path: path.stem, lambda path: files.metadata(path).get("ss_output_name")):
        for path in found:
            if says(path) == name:
                return path
    stems = sorted({path.stem for path in found})
    near = difflib.get_close_matches(name, stems, n=3, cutoff=0.3) or stems[:3]
    there = f"the nearest are {', '.join(near)}" if near else "there is no LoRA at all"
    raise TetradError("E5101", f"there is no LoRA called {name} in {folder}; {there}")


def save_checkpoint(path: Path, model: Model, metadata: Metadata) -> None:
    """Write a whole model as a single file under LDM names."""
    files.write(path, ldm.encode(model.weights()), metadata)


def vae_identity(model: Model) -> str:
    """What decides a latent on the VAE's side: a hash of the encoder's numbers."""
    digest = hashlib.blake2b(repr(model.vae.scale).encode(), digest_size=16)
    for name, tensor in sorted(model.vae.network.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@cache
def model_hashes(name: str) -> tuple[str, str]:
    """sha256 of a model's file and the oldest short hash of it; empty for a folder."""
    path = model_path(name)
    return (files.file_hash(path), files.file_legacy_hash(path)) if path.is_file() else ("", "")
