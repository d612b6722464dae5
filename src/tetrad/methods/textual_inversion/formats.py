"""Embedding formats: kohya's .safetensors and A1111's .pt."""

from pathlib import Path

from tetrad.formats import a1111, weight_files
from tetrad.formats.survey import TensorSurvey
from tetrad.formats.weight_files import FileContent, WeightFile
from tetrad.locales import Message, _, ngettext
from tetrad.methods.base import Decoded, FactsAndProblems, FileFormat, Metadata
from tetrad.methods.textual_inversion.embedding import check_family
from tetrad.models.base import Model
from tetrad.models.families import FAMILIES
from tetrad.weights import Weights


def _encode_safetensors(weights: Weights, model: Model, metadata: Metadata) -> WeightFile:
    return a1111.encode_embedding_safetensors(weights, metadata)


def _encode_pt(weights: Weights, model: Model, metadata: Metadata) -> FileContent:
    return a1111.encode_embedding_pt(weights, metadata)


def decode(file: WeightFile, model: Model) -> Decoded:
    """Read an embedding.  E5105 where it is for another family."""
    weights, unmatched = a1111.decode_embedding(file)
    check_family(weights, model)
    return weights, unmatched


def describe_file(path: Path, survey: TensorSurvey, metadata: Metadata, content_hash: str) -> FactsAndProblems:
    """Vectors and family from the shapes; the trigger word is the file's name.  E5106 for several embeddings."""
    weights, unmatched = a1111.decode_embedding(weight_files.read_weight_file(path))
    widths = [tensor.shape[1] for tensor in weights.tensors.values()]
    # A family with several text encoders concatenates their vectors.
    families = (family.family_title for family in FAMILIES.values() if family.text_width == sum(widths))
    facts = {
        _("family"): next(families, Message(_("unknown (no family has this width)"))),
        _("vectors"): len(next(iter(weights.tensors.values()))),
        _("widths"): widths,
        _("trigger word"): weights.metadata["word"],
    }
    if not unmatched:
        return facts, []
    template = ngettext(
        "{count} key does not belong to an embedding ({key})",
        "{count} keys do not belong to an embedding (first: {key})",
        len(unmatched),
    )
    return facts, [Message(template, key=unmatched[0])]


FORMATS = {
    "safetensors": FileFormat(".safetensors", _encode_safetensors, decode),
    "pt": FileFormat(".pt", _encode_pt, decode),
}
