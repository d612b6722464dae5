"""Read trained weights from a file and attach them to a model; save them and read them back."""

from collections.abc import Mapping
from pathlib import Path

from tetrad.errors import TetradError, naming_file
from tetrad.formats import bundles, peft, weight_files
from tetrad.formats.suffixes import WEIGHT_FILE_SUFFIXES
from tetrad.formats.weight_files import WeightFile
from tetrad.library.checkpoints import check_finite, find_not_finite, read_diffusers_folder
from tetrad.library.identification import artifact_type, artifact_types, identify, method_of, title_of
from tetrad.locales import Message, _, ngettext
from tetrad.methods.base import Adapter, FileFormat, Metadata, Strength, behavior_of
from tetrad.methods.dreambooth.formats import check_family
from tetrad.models.base import Model
from tetrad.weights import Weights


def read_weights(path: Path, model: Model, expected_type: str = "", bundled_word: str = "") -> Weights:
    """Trained weights from a file of any format, for this model; every key must match a layer.

    `expected_type` is the required type of weights, "" for any. `bundled_word` is the trigger word of an embedding
    inside a LoRA, which is read instead of the LoRA. Raises E5101 for a file that is not a trained file or
    of another type, E5103 for keys that match no layer, E5014 for NaN or Inf, and what the file type's own formats
    raise for a file of another model family.
    """
    if path.is_dir():
        family, weights = read_diffusers_folder(path)
        check_family(family, model)
        check_finite(path, weights)
        return weights
    file = weight_files.read_weight_file(path)
    if bundled_word:
        file = bundles.extract_embedding(file, bundled_word)
    return decode_weights(path, file, model, expected_type)


def decode_weights(path: Path, file: WeightFile, model: Model, expected_type: str = "") -> Weights:
    """`read_weights` of a file that was read already; `path` is for messages."""
    identified = identify(file.tensors)
    file_type = artifact_type(identified)
    if file_type not in artifact_types() or expected_type not in ("", file_type):
        raise _wrong_type_error(path, identified, expected_type)
    with naming_file(path):
        results = [each.decode(file, model) for each in formats_of(file_type).values()]
    weights, unmatched = min(results, key=lambda reading: len(reading[1]))
    if unmatched:
        raise TetradError(
            "E5103",
            ngettext(
                "{file}: {count} of {total} keys matches no layer of {model} (it is {key}); the file was made for"
                " another model or by another method",
                "{file}: {count} of {total} keys match no layer of {model} (the first is {key}); the file was made for"
                " another model or by another method",
                len(unmatched),
            ),
            file=path.name,
            total=len(file.tensors),
            model=model.name,
            key=unmatched[0],
        )
    check_finite(path, weights)
    return weights


def find_adapter_file(path: Path) -> Path:
    """The LoRA in a folder that PEFT or diffusers has written; any other path as it is."""
    return next((path / name for name in peft.ADAPTER_FILES if (path / name).is_file()), path)


def detect_format(path: Path, file_type: str, model: Model) -> str:
    """The name of the format in which a file of this type is written; "" if the method reads it but does not write it.

    Where several formats have the file's extension, it is the one whose keys match the model best.
    """
    suffix = "" if path.is_dir() else path.suffix.lower()
    formats = {name: each for name, each in formats_of(file_type).items() if each.suffix == suffix}
    if len(formats) < 2:
        return next(iter(formats), "")
    file = weight_files.read_weight_file(path)
    return min(formats, key=lambda name: len(formats[name].decode(file, model)[1]))


def _wrong_type_error(path: Path, found: str, expected: str) -> TetradError:
    """The error for a file that is not of the expected type of weights, or not trained by any method ("")."""
    if expected:
        template = _("{path} is {found}, not {expected}")
        return TetradError("E5101", template, path=path, found=title_of(found), expected=title_of(expected))
    types = ", ".join(str(title_of(each)) for each in artifact_types())
    template = _("{path} is {found}; give a trained file ({types})")
    return TetradError("E5101", template, path=path, found=title_of(found), types=types)


def formats_of(file_type: str) -> Mapping[str, FileFormat]:
    """The file formats of a type of weights by name, the default first."""
    return behavior_of(method_of(file_type)).FORMATS


def attach_weights(
    path: Path, model: Model, strength: Strength = 1.0, expected_type: str = "", bundled_word: str = ""
) -> Adapter:
    """Attach a trained file to a model at a strength; an embedding's trigger word is the file's name.

    A LoRA may have a strength for each part, "unet" and "text_encoder"; `bundled_word` is as for `read_weights`.
    """
    weights = read_weights(path, model, expected_type, bundled_word)
    with naming_file(path):
        return behavior_of(method_of(weights.kind)).load(model, weights, strength)


def prepare_weights(weights: Weights, model: Model, format: str = "") -> tuple[Weights, Message | None]:
    """Trained weights as a format ("" is the default) stores them, and what is lost by that, if anything."""
    return _get_format(weights.kind, format).prepare(weights, model)


def _get_format(file_type: str, name: str) -> FileFormat:
    formats = formats_of(file_type)
    return formats[name or next(iter(formats))]


def save_weights(path: Path, weights: Weights, model: Model, metadata: Metadata, format: str = "") -> Path:
    """Write trained weights in a format of their type ("" is the default) and read them back; the path as written.

    Every tensor must be equal and match a layer of the model. The file extension is the format's. Raises E4202 where
    the file cannot be written, E5103 where it reads back differently, E7002 for NaN or Inf, which are not written.
    """
    file_format = _get_format(weights.kind, format)
    weights, _loss = file_format.prepare(weights, model)
    if path.suffix in WEIGHT_FILE_SUFFIXES:
        path = path.with_suffix("")
    path = path.with_name(path.name + file_format.suffix)
    if name := find_not_finite(weights):
        template = _(
            "{path} is not written, because {tensor} contains NaN or Inf; train again with a lower learning rate, or"
            " save with save.precision=fp32 if its numbers are too large for fp16"
        )
        raise TetradError("E7002", template, path=path, tensor=name)
    file_metadata = {**weights.metadata, **metadata, "name": path.name.removesuffix(file_format.suffix)}
    weight_files.write_file(path, file_format.encode(weights, model, file_metadata))
    actual_tensors = read_weights(path, model, weights.kind).tensors
    mismatched_names = weights.tensors.keys() ^ actual_tensors.keys() or {
        name
        for name, tensor in weights.tensors.items()
        if not actual_tensors[name].to(tensor.dtype).equal(tensor.cpu())
    }
    if mismatched_names:
        raise TetradError(
            "E5103",
            _("{path} was written but reads back differently at {tensor}; check its disk"),
            path=path,
            tensor=min(mismatched_names),
        )
    return path
