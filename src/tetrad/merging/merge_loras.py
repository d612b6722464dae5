"""Merges LoRAs into one LoRA: exactly, with their ranks side by side, or within a lower rank."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.library.checkpoints import DTYPES
from tetrad.library.vae.bake import check_output_path
from tetrad.locales import _
from tetrad.merging.checkpoint import open_checkpoint
from tetrad.merging.lora_files import LoraChoice, OpenLora, group_layers, read_loras
from tetrad.merging.lora_metadata import describe_origin, inherit_metadata
from tetrad.merging.lora_output import LoraOutput, LoraReport
from tetrad.merging.ranks import RankChoice, count_average_rank
from tetrad.methods.lora.combine import CombinedLayer, changes_weight, combine, depends_on_base, is_low_rank
from tetrad.methods.lora.layer import weight_of
from tetrad.methods.lora.weights import named_layers
from tetrad.methods.lora.settings import MAX_RANK
from tetrad.models.base import Model


def merge_loras(
    choices: Sequence[LoraChoice],
    output_path: Path,
    ranks: RankChoice | None = None,
    base: Path | None = None,
    precision: str = "",
    on_layer: Callable[[int, int], None] = lambda done, total: None,
) -> LoraReport:
    """Write a LoRA whose change of every layer is Σ s ΔW.

    It is exact unless `ranks` limits the ranks, which is needed for other kinds than LoRA and LoCon. A DoRA and an OFT
    need `base`, their checkpoint. `precision` "" is that of the files. Embeddings inside the files are kept.
    Raises what `read_loras`, `combine_loras`, `merge_embeddings` and `LoraOutput.write` raise.
    """
    check_output_path(output_path)
    ranks = ranks or RankChoice()
    loras, model = read_loras(choices, base)
    dtype = DTYPES[precision] if precision else find_common_dtype(loras)
    parents = {lora.choice.path: lora.choice.strengths for lora in loras}
    origin = describe_origin("merge lora", parents, ranks.as_record())
    metadata = inherit_metadata([lora.metadata for lora in loras], model) | origin
    output = LoraOutput(output_path, model, dtype, ranks, metadata, merge_embeddings(loras))
    return output.write(combine_loras(loras, model, ranks, base, dtype.itemsize, on_layer))


def combine_loras(
    loras: Sequence[OpenLora],
    model: Model,
    ranks: RankChoice,
    base: Path | None,
    itemsize: int,
    on_layer: Callable[[int, int], None],
) -> dict[str, CombinedLayer]:
    """Every layer that some LoRA has, with the sum of their changes, by path.

    Raises E5326 for a kind that needs ranks, E5327 for one that needs the checkpoint.
    """
    for lora in loras:
        _check_kind(lora, ranks, base)
    weights = {path: weight_of(layer) for path, layer in named_layers(model)}  # on the meta device
    groups = dict(group_layers(loras, model.denoiser))
    average_rank = MAX_RANK
    if ranks.max_bytes is not None:
        average_rank = count_average_rank([weights[path].shape for path in groups], ranks.max_bytes, itemsize)
    combined = {}
    with open_checkpoint(base) if base else nullcontext() as checkpoint:
        for done, (path, weighted) in enumerate(groups.items(), 1):
            weight = weights[path]
            if checkpoint and any(depends_on_base(tensors) for _strength, tensors in weighted):
                weight = checkpoint.read(f"{path}.weight")
            limit = None if ranks.is_exact else ranks.limit_for(weight.shape, average_rank)
            combined[path] = combine(weighted, weight, limit)
            on_layer(done, len(groups))
    return combined


def _check_kind(lora: OpenLora, ranks: RankChoice, base: Path | None) -> None:
    """E5326 or E5327 where the LoRA's kind needs a rank, or the checkpoint."""
    name = lora.choice.path
    if base is None and any(depends_on_base(tensors) for tensors in lora.layers.values()):
        template = _("the change of {path}, a DoRA or an OFT, depends on the model; give its checkpoint with --model")
        raise TetradError("E5327", template, path=name)
    if ranks.is_exact and any(changes_weight(each) and not is_low_rank(each) for each in lora.layers.values()):
        template = _(
            "{path} is not a plain LoRA, so that its change has no low rank; say how much of it to keep with --rank or"
            " --energy, for example --energy 0.99"
        )
        raise TetradError("E5326", template, path=name)


def find_common_dtype(loras: Sequence[OpenLora]) -> torch.dtype:
    """The dtype that holds the numbers of all files."""
    dtypes = {
        tensor.dtype
        for lora in loras
        for tensors in lora.layers.values()
        for name, tensor in tensors.items()
        if name != "alpha"
    }
    dtype = reduce(torch.promote_types, dtypes)
    return torch.float32 if dtype == torch.float64 else dtype


def merge_embeddings(loras: Sequence[OpenLora]) -> dict[str, Tensor]:
    """The embeddings inside all files.  E5328 where two different ones have the same name."""
    merged: dict[str, Tensor] = {}
    for lora in loras:
        for name, tensor in lora.embeddings.items():
            if name in merged and not torch.equal(merged[name], tensor):
                template = _("{path} has another embedding inside for {tensor} than the files before it; split it first")
                raise TetradError("E5328", template, path=lora.choice.path, tensor=name)
            merged[name] = tensor
    return merged
