"""Embedding formats: kohya's .safetensors and A1111's .pt."""

from tetrad.formats import a1111
from tetrad.formats.weight_files import FileContent, WeightFile
from tetrad.methods.base import Decoded, FileFormat, Metadata
from tetrad.methods.textual_inversion.embedding import check_family
from tetrad.models.base import Model
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


FORMATS = {
    "safetensors": FileFormat(".safetensors", _encode_safetensors, decode),
    "pt": FileFormat(".pt", _encode_pt, decode),
}
