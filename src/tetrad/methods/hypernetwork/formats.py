"""The hypernetwork format: A1111's .pt files."""

from tetrad.formats import a1111
from tetrad.formats.weight_files import FileContent, WeightFile
from tetrad.methods.base import Decoded, FileFormat, Metadata
from tetrad.methods.hypernetwork.weights import check_family
from tetrad.models.base import Model
from tetrad.weights import Weights


def encode(weights: Weights, model: Model, metadata: Metadata) -> FileContent:
    return a1111.encode_hypernetwork(weights, metadata)


def decode(file: WeightFile, model: Model) -> Decoded:
    """Read a hypernetwork.  E5107 where it is for another family."""
    weights, unmatched = a1111.decode_hypernetwork(file)
    check_family(weights, model)
    return weights, unmatched


FORMATS = {"pt": FileFormat(".pt", encode, decode)}
