"""Describes a hypernetwork file: the shape of the networks and the attention widths they are for."""

from pathlib import Path

from tetrad.documents import parse_json
from tetrad.formats import a1111, weight_files
from tetrad.formats.survey import TensorSurvey
from tetrad.locales import Message, _, ngettext
from tetrad.methods.base import FactsAndProblems, Metadata
from tetrad.models.families import FAMILIES


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
