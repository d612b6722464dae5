"""Merges embeddings: all vectors one after another, as in a prompt with all the words, or their weighted average."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.library.embedding_files import SUFFIXES, read_embedding, write_embedding
from tetrad.library.vae.bake import check_output_path
from tetrad.locales import Message, _, ngettext
from tetrad.merging.lora_metadata import describe_origin
from tetrad.merging.storing import require_representable
from tetrad.merging.weighted import GivenFile, Merged, describe_unused, pair_with_weights
from tetrad.methods.textual_inversion.settings import MAX_VECTORS
from tetrad.paths import expand_path
from tetrad.weights import Weights

_SMALLEST_SUM = 1e-9  # of weights, as a share of the largest; below it is the rounding of a sum of 0


def merge_embeddings(files: Sequence[GivenFile], out: str | Path, average: bool = False) -> Merged:
    """Write one embedding made of several, each with its weight, and say what it is.

    Concatenated (weights are 1), it stands for all the words one after another. Averaged, each vector is the weighted
    mean Σ w v / Σ w of the vectors at its place. Raises E5210 where `out` cannot be written, E5106 for a file that is
    no embedding, E5356 for embeddings that do not go together, E5303 for weights that are too large.
    """
    pairs, out = pair_with_weights(files), expand_path(out)
    if out.suffix not in SUFFIXES:
        template = _("{path} must end in {suffixes}, which says the format; change its name")
        raise TetradError("E5210", template, path=out, suffixes=" / ".join(SUFFIXES))
    check_output_path(out, out.suffix)
    embeddings = [read_embedding(path) for path, _weight in pairs]
    weights = [weight for _path, weight in pairs]
    names = [path.name for path, _weight in pairs]
    _check_widths(names, embeddings)
    if average:
        merged = _average(names, embeddings, weights)
    elif any(weight != 1 for weight in weights):
        template = _("weights have an effect on averages only; leave out :{weight}, or give --average")
        raise TetradError("E5356", template, weight=f"{next(weight for weight in weights if weight != 1):g}")
    else:
        merged = {
            part: torch.cat([each.tensors[part].float() for each in embeddings]) for part in embeddings[0].tensors
        }
    count = len(next(iter(merged.values())))
    if count > MAX_VECTORS:
        template = _("the merged embedding would have {count} vectors, but a prompt holds {limit}; merge fewer files")
        raise TetradError("E5356", template, count=count, limit=MAX_VECTORS)
    require_representable(merged)
    parents = {path: {"weights": [weight for each, weight in pairs if each == path]} for path, _weight in pairs}
    history = describe_origin("merge embedding", parents, {"mode": "average" if average else "concatenate"})
    write_embedding(out, Weights("embedding", merged, {"word": out.stem, **history}))
    template = ngettext("{name} has {count} vector: {files}", "{name} has {count} vectors: {files}", count)
    note = Message(template, name=out.stem, files=" + ".join(names))
    return Merged(out, [note, *describe_unused(pairs)])


def _check_widths(names: Sequence[str], embeddings: Sequence[Weights]) -> None:
    """E5356 where two embeddings are for different families."""
    widths = [" + ".join(str(each.shape[1]) for each in embedding.tensors.values()) for embedding in embeddings]
    for name, width in zip(names, widths, strict=True):
        if width != widths[0]:
            raise TetradError(
                "E5356",
                _(
                    "{first} has vectors of {first_width} numbers and {other} of {other_width}; merge embeddings of one"
                    " family"
                ),
                first=names[0],
                first_width=widths[0],
                other=name,
                other_width=width,
            )


def _average(names: Sequence[str], embeddings: Sequence[Weights], weights: Sequence[float]) -> dict[str, Tensor]:
    counts = [len(next(iter(embedding.tensors.values()))) for embedding in embeddings]
    for name, count in zip(names, counts, strict=True):
        if count != counts[0]:
            raise TetradError(
                "E5356",
                _(
                    "{first} has {first_count} vectors and {other} has {other_count}, so there is no average; leave out"
                    " --average to put them one after another"
                ),
                first=names[0],
                first_count=counts[0],
                other=name,
                other_count=count,
            )
    # Relative to the largest, so that huge weights do not overflow and 0.1 + 0.2 - 0.3 is 0.
    relative = torch.tensor(weights, dtype=torch.float64) / (max(map(abs, weights)) or 1.0)
    if abs(total := relative.sum()) < _SMALLEST_SUM:
        raise TetradError("E5356", _("the weights of the embeddings add up to 0, so there is no average; change them"))
    shares = (relative / total)[:, None, None]
    return {
        part: (shares * torch.stack([each.tensors[part].double() for each in embeddings])).sum(0).float()
        for part in embeddings[0].tensors
    }
