"""Resizes a LoRA: the same change with lower ranks; of another kind it makes a plain LoRA."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.library.vae.bake import check_output_path
from tetrad.locales import _
from tetrad.merging.history import Progress, keep_metadata
from tetrad.merging.lora_files import LoraChoice, OpenLora, read_loras
from tetrad.merging.lora_merge import combine_loras, find_common_dtype
from tetrad.merging.lora_metadata import describe_origin
from tetrad.merging.lora_output import LoraOutput, LoraReport
from tetrad.merging.ranks import RankChoice
from tetrad.methods.lora.combine import CombinedLayer, Tensors
from tetrad.models.device import dtype_of
from tetrad.paths import expand_path

_PLAIN = {"down", "up", "alpha"}


def resize_lora(
    lora: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    precision: str = "",
    on_start: Progress = lambda total: lambda: None,
    **ranks: float | None,
) -> LoraReport:
    """Write a LoRA with nearly the same change; layers that lose no rank stay as they are, bit for bit.

    `ranks` are the fields of `RankChoice`: rank, conv_rank, energy, max_bytes. A DoRA and an OFT need `model`, their
    checkpoint. The file keeps its metadata, its embeddings and its most frequent alpha, since diffusers misreads alphas
    that differ. Raises E5322 where `ranks` says nothing, and what `read_loras`, `combine_loras` and `LoraOutput.write`
    raise.
    """
    path, output_path, base = expand_path(lora), expand_path(out), expand_path(model) if model else None
    check_output_path(output_path)
    choice = RankChoice(**ranks)  # type: ignore[arg-type]
    if choice.is_exact:
        raise TetradError("E5322", _("say how large the LoRA is to be, with --rank, --energy or --max-size"))
    (opened,), skeleton = read_loras([LoraChoice(path)], base)
    dtype = dtype_of(precision) if precision else find_common_dtype([opened])
    metadata = keep_metadata(opened.metadata) | describe_origin("resize", {path: {}}, choice.as_record())
    output = LoraOutput(output_path, skeleton, dtype, choice, metadata, opened.embeddings, _find_alpha(opened))
    combined = combine_loras([opened], skeleton, choice, base, dtype.itemsize, on_start)
    return output.write({layer: _keep(each, opened.layers[layer], choice) for layer, each in combined.items()})


def _keep(combined: CombinedLayer, tensors: Tensors, ranks: RankChoice) -> CombinedLayer:
    """The layer with the file's own tensors where it is plain and none of its ranks is left out."""
    if not _PLAIN - {"alpha"} <= tensors.keys() <= {*_PLAIN, *combined.others}:
        return combined
    limit, rank = ranks.limit_for(combined.shape), len(tensors["down"])
    may_keep_all = limit.energy == 1 and (limit.rank is None or limit.rank >= rank)
    return replace(combined, kept=tensors) if may_keep_all or combined.rank >= rank else combined


def _find_alpha(lora: OpenLora) -> float | None:
    """The alpha that most plain layers have; None where none is plain."""
    alphas = Counter(float(each["alpha"]) for each in lora.layers.values() if each.keys() >= _PLAIN)
    return alphas.most_common(1)[0][0] if alphas else None
