"""What was learned: read from a file and fitted to a model, or written and read back."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tetrad.errors import TetradError, naming
from tetrad.formats import a1111, described, files, kohya, ldm, peft, sniff
from tetrad.formats.files import Content, File
from tetrad.library.models import check_numbers, folder_weights, single_file
from tetrad.library.pipelines import write_folder
from tetrad.methods import METHODS, hypernetwork, textual_inversion
from tetrad.methods.base import Adapter
from tetrad.methods.branches import layers
from tetrad.models import FAMILIES
from tetrad.models.base import Model
from tetrad.weights import Weights

Metadata = Mapping[str, str]
Found = tuple[Weights, list[str]]  # what a file holds for a model, and its keys that mean nothing to it


SECOND_TEXT = ("lora_te2_", "text_encoder_2.")
CROSS = re.compile(
    r"attn2[._](to_k|processor\.to_k_lora)[._](lora_down|lora_A|lora\.down|lora_linear_layer\.down|down)\b.*weight$"
)
TEXT_WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}


@dataclass(frozen=True)
class Spelling:
    """One way in which a kind is written down.

    `encode` gets the metadata of the weights and of the run together, and under "name" the file's name without its
    ending; `decode` says which of the file's keys it has no place for. `says` is what comes back of weights: the same,
    unless the spelling has to put them another way.
    """

    suffix: str  # the ending of such a file, ".safetensors"; "" for a folder
    encode: Callable[[Weights, Model, Metadata], "Content | Folder"]
    decode: Callable[[File, Model], Found]
    says: Callable[[Weights], Weights] = lambda weights: weights


@dataclass(frozen=True)
class Folder:
    """Something learned that is written as many files."""

    write: Callable[[Path], None]


def read(path: Path, model: Model, kind: str = "") -> Weights:
    """What was learned, from a file of any spelling, for this model; every key must find its place.

    Raises E5101 where it is nothing learned, or not of the kind asked for, E5103 where keys find no place, E5014 where
    its numbers are none, and what the kind's own spellings raise where it was made for another model.
    """
    if path.is_dir():
        weights = of_family(model, *folder_weights(path))
        check_numbers(path, weights)
        return weights
    file = files.read(path)
    said = a1111.kind(file.tensors) or sniff(file.tensors)
    found = "checkpoint" if said in FAMILIES else said
    if found not in SPELLINGS or kind not in ("", found):
        wanted = described(kind) if kind else "something learned: " + " or ".join(map(described, SPELLINGS))
        raise TetradError("E5101", f"{path} is {described(said)}, not {wanted}")
    with naming(path):
        readings = [spelling.decode(file, model) for spelling in SPELLINGS[found].values()]
    weights, homeless = min(readings, key=lambda reading: len(reading[1]))
    if homeless:
        raise TetradError(
            "E5103",
            f"{path.name}: {len(homeless)} of {len(file.tensors)} keys find no layer in {model.name} "
            f"(the first is {homeless[0]}); it was made for another model or by another method",
        )
    check_numbers(path, weights)
    return weights


def attach(path: Path, model: Model, strength: float | Mapping[str, float] = 1.0, kind: str = "") -> Adapter:
    """What a file holds around a model, at a strength, until it is detached; an embedding's word is the file's name.

    A LoRA may have strengths by part, "unet", "text_encoder".
    """
    weights = read(path, model, kind)
    load: Callable[..., Adapter] = READERS[weights.kind].load
    with naming(path):
        return load(model, weights, strength)


def save(path: Path, weights: Weights, model: Model, metadata: Metadata, spelling: str = "") -> Path:
    """Write what was learned, in a spelling of its kind ("": the first), then read it back; the path as written.

    Every tensor must be there, equal, and find its place in the model. The ending is the spelling's. Raises E4202 where
    the file cannot be written, E5103 where what was written is not what was learned.
    """
    spellings = SPELLINGS[weights.kind]
    chosen = spellings[spelling or next(iter(spellings))]
    if path.suffix in (".safetensors", *files.PICKLES):
        path = path.with_suffix("")
    path = path.with_name(path.name + chosen.suffix)
    about = {**weights.metadata, **metadata, "name": path.name.removesuffix(chosen.suffix)}
    content = chosen.encode(weights, model, about)
    content.write(path) if isinstance(content, Folder) else files.put(path, content)
    again, wanted = read(path, model, weights.kind).tensors, chosen.says(weights).tensors
    wrong = wanted.keys() ^ again.keys() or {
        name for name, tensor in wanted.items() if not again[name].to(tensor.dtype).equal(tensor.cpu())
    }
    if wrong:
        raise TetradError(
            "E5103", f"{path} was written but reads back differently at {min(wrong)}; check the disk it lies on"
        )
    return path


def encode_kohya(weights: Weights, model: Model, metadata: Metadata) -> File:
    tensors = kohya.encode(weights, [layer for layer, _ in layers(model)])
    return File(tensors, kohya.signed(tensors, {key: value for key, value in metadata.items() if key != "name"}))


def decode_kohya(file: File, model: Model) -> Found:
    """A kohya LoRA; E5102 where it says that it is for another family."""
    base = family_of_lora(file.metadata, {name: tensor.shape for name, tensor in file.tensors.items()})
    if base not in (None, model.title):
        advice = f"give a {base} checkpoint with --model, or train this LoRA again on {model.title}"
        raise TetradError("E5102", f"this is a LoRA for {base}, but {model.name} is {model.title}; {advice}")
    return kohya.decode(file.tensors, [layer for layer, _ in layers(model)], file.metadata)


def encode_peft(weights: Weights, model: Model, metadata: Metadata) -> File:
    about = {key: value for key, value in metadata.items() if key not in ("name", peft.ABOUT)}
    return File(peft.encode(weights), {"format": "pt", **about})


def decode_peft(file: File, model: Model) -> Found:
    return peft.decode(file.tensors, [layer for layer, _ in layers(model)], file.metadata)


def family_of_lora(metadata: Metadata, shapes: Mapping[str, Sequence[int]]) -> str | None:
    """The family a LoRA says it is for, else the one whose text is as wide as what its cross-attention reads."""
    base = metadata.get("ss_base_model_version", "")
    if base.startswith("sdxl") or any(name.startswith(SECOND_TEXT) for name in shapes):
        return "Stable Diffusion XL"
    if metadata.get("ss_v2") == "True":
        return "Stable Diffusion 2"
    if base.startswith("sd_v1"):
        return "Stable Diffusion 1"
    read = (shape[1] for name, shape in shapes.items() if CROSS.search(name) and len(shape) > 1)
    return TEXT_WIDTHS.get(next(read, 0))


def encode_embedding(weights: Weights, model: Model, metadata: Metadata) -> File:
    return a1111.encode_safetensors(weights, metadata)


def encode_embedding_pt(weights: Weights, model: Model, metadata: Metadata) -> Content:
    return a1111.encode_embedding(weights, metadata)


def decode_embedding(file: File, model: Model) -> Found:
    """An embedding; E5105 where it is for another family."""
    weights, homeless = a1111.decode_embedding(file)
    textual_inversion.check_family(weights, model)
    return weights, homeless


def encode_hypernetwork(weights: Weights, model: Model, metadata: Metadata) -> Content:
    return a1111.encode_hypernetwork(weights, metadata)


def decode_hypernetwork(file: File, model: Model) -> Found:
    """A hypernetwork; E5107 where it is for another family."""
    weights, homeless = a1111.decode_hypernetwork(file)
    hypernetwork.check_family(weights, model)
    return weights, homeless


def encode_ldm(weights: Weights, model: Model, metadata: Metadata) -> File:
    return single_file(weights, model, {key: value for key, value in metadata.items() if key != "name"})


def decode_ldm(file: File, model: Model) -> Found:
    """A whole checkpoint; E5102 where it is of another family."""
    family = sniff(file.tensors)
    return of_family(model, family, ldm.decode(file.tensors, file.metadata, family)), []


def encode_folder(weights: Weights, model: Model, metadata: Metadata) -> Folder:
    return Folder(lambda path: write_folder(path, model, weights))


def of_family(model: Model, family: str, weights: Weights) -> Weights:
    """The weights, where they are of the model's own family.  E5102 where they are not."""
    if family != model.family:
        raise TetradError(
            "E5102", f"this is {described(family)}, but {model.name} is {model.title}; give one of the same family"
        )
    return weights


READERS = {method.writes: method for method in METHODS.values()}
SPELLINGS: dict[str, dict[str, Spelling]] = {
    "lora": {
        "kohya": Spelling(".safetensors", encode_kohya, decode_kohya),
        "diffusers": Spelling(".safetensors", encode_peft, decode_peft, peft.folded),
    },
    "embedding": {
        "safetensors": Spelling(".safetensors", encode_embedding, decode_embedding),
        "pt": Spelling(".pt", encode_embedding_pt, decode_embedding),
    },
    "hypernetwork": {"pt": Spelling(".pt", encode_hypernetwork, decode_hypernetwork)},
    "checkpoint": {
        "ldm": Spelling(".safetensors", encode_ldm, decode_ldm),
        "diffusers": Spelling("", encode_folder, decode_ldm),
    },
}
