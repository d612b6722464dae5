"""Resizes a LoRA: the same change with lower ranks; of another kind it makes a plain LoRA."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.library.checkpoints import DTYPES
from tetrad.library.vae.bake import check_output_path
from tetrad.locales import _
from tetrad.merging.lora_files import LoraChoice, OpenLora, read_loras
from tetrad.merging.lora_metadata import describe_origin
from tetrad.merging.lora_output import LoraOutput, LoraReport
from tetrad.merging.merge_loras import combine_loras, find_common_dtype
from tetrad.merging.ranks import RankChoice
from tetrad.methods.lora.combine import CombinedLayer, Tensors

_PLAIN = {"down", "up", "alpha"}


def resize_lora(
    path: Path,
    output_path: Path,
    ranks: RankChoice,
    base: Path | None = None,
    precision: str = "",
    on_layer: Callable[[int, int], None] = lambda done, total: None,
) -> LoraReport:
    """Write a LoRA with nearly the same change within `ranks`; layers that lose no rank stay as they are, bit for bit.

    A DoRA and an OFT need `base`, their checkpoint. The file keeps its metadata, its embeddings and its most frequent
    alpha, since diffusers misreads alphas that differ. Raises E5322 where `ranks` says nothing, and what
    `read_loras`, `combine_loras` and `LoraOutput.write` raise.
    """
    check_output_path(output_path)
    if ranks.is_exact:
        raise TetradError("E5322", _("say how large the LoRA is to be, with --rank, --energy or --max-size"))
    (lora,), model = read_loras([LoraChoice(path)], base)
    dtype = DTYPES[precision] if precision else find_common_dtype([lora])
    origin = describe_origin("resize", {path: {}}, ranks.as_record())
    metadata = {key: value for key, value in lora.metadata.items() if not key.startswith("sshs_")} | origin
    output = LoraOutput(output_path, model, dtype, ranks, metadata, lora.embeddings, _find_alpha(lora))
    combined = combine_loras([lora], model, ranks, base, dtype.itemsize, on_layer)
    return output.write({layer: _keep(each, lora.layers[layer], ranks) for layer, each in combined.items()})


def _keep(combined: CombinedLayer, tensors: Tensors, ranks: RankChoice) -> CombinedLayer:
    """The layer with the file's own tensors where it is plain and none of its ranks is left out."""
    if not _PLAIN - {"alpha"} <= tensors.keys() <= {*_PLAIN, *combined.others}:
        return combined
    limit, rank = ranks.limit_for(combined.shape), len(tensors["down"])
    may_keep_all = limit.energy == 1 and (limit.rank is None or limit.rank >= rank)
    return replace(combined, kept=tensors) if may_keep_all or combined.rank >= rank else combined


def _find_alpha(lora: OpenLora) -> float | None:
    """The alpha that most plain layers have; None where none is plain."""
    alphas = Counter(float(each["alpha"]) for each in lora.layers.values() if _PLAIN <= each.keys())
    return alphas.most_common(1)[0][0] if alphas else None
