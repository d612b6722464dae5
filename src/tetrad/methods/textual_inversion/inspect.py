"""Describes an embedding file: family, vectors and trigger word."""

from pathlib import Path

from tetrad.formats import a1111, weight_files
from tetrad.formats.survey import TensorSurvey
from tetrad.locales import Message, _, ngettext
from tetrad.methods.base import FactsAndProblems, Metadata
from tetrad.models.families import FAMILIES


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
