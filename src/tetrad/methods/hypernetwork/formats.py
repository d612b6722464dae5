"""The hypernetwork format: A1111's .pt files."""

from pathlib import Path

from tetrad.documents import parse_json
from tetrad.formats import a1111, weight_files
from tetrad.formats.survey import TensorSurvey
from tetrad.formats.weight_files import FileContent, WeightFile
from tetrad.locales import Message, _, ngettext
from tetrad.methods.base import Decoded, FactsAndProblems, FileFormat, Metadata
from tetrad.methods.hypernetwork.weights import check_family
from tetrad.models.base import Model
from tetrad.models.families import FAMILIES
from tetrad.weights import Weights


def encode(weights: Weights, model: Model, metadata: Metadata) -> FileContent:
    return a1111.encode_hypernetwork(weights, metadata)


def decode(file: WeightFile, model: Model) -> Decoded:
    """Read a hypernetwork.  E5107 where it is for another family."""
    weights, unmatched = a1111.decode_hypernetwork(file)
    check_family(weights, model)
    return weights, unmatched


def describe_file(path: Path, survey: TensorSurvey, metadata: Metadata, content_hash: str) -> FactsAndProblems:
    """The shape of the networks and the attention widths they are for."""
    weights, unmatched = a1111.decode_hypernetwork(weight_files.read_weight_file(path))
    widths = sorted({int(name.partition(".")[0]) for name in weights.tensors})
    families = [family.family_title for family in FAMILIES.values() if family.text_width in widths]
    facts = {
        _("family"): families[0] if len(families) == 1 else Message(_("not stated")),
        _("layer structure"): parse_json(weights.metadata["structure"]),
        _("activation"): weights.metadata["activation"],
        _("layer norm"): weights.metadata["layer_norm"] == "true",
        _("dropout"): parse_json(weights.metadata["dropout"]),
        _("widths"): widths,
    }
    if not unmatched:
        return facts, []
    template = ngettext(
        "{count} key does not belong to a hypernetwork ({key})",
        "{count} keys do not belong to a hypernetwork (first: {key})",
        len(unmatched),
    )
    return facts, [Message(template, key=unmatched[0])]


FORMATS = {"pt": FileFormat(".pt", encode, decode)}
