"""Merges LoRAs into one LoRA: exactly, with their ranks side by side, or within a lower rank."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.library.outlines import open_checkpoint
from tetrad.library.vae.bake import check_output_path
from tetrad.locales import _
from tetrad.merging.history import Progress
from tetrad.merging.lora_files import LoraChoice, OpenLora, describe_unused, group_layers, list_strengths, read_loras
from tetrad.merging.lora_metadata import describe_origin, inherit_metadata
from tetrad.merging.lora_output import LoraOutput, LoraReport
from tetrad.merging.ranks import RankChoice, count_average_rank
from tetrad.methods.lora.combine import CombinedLayer, changes_weight, combine, depends_on_base, is_low_rank
from tetrad.methods.lora.layer import weight_of
from tetrad.methods.lora.settings import MAX_RANK
from tetrad.methods.lora.weights import named_layers
from tetrad.models.base import Model
from tetrad.models.device import dtype_of
from tetrad.paths import expand_path


def merge_loras(
    loras: Sequence[str | LoraChoice],
    out: str | Path,
    *,
    model: str | Path | None = None,
    precision: str = "",
    on_start: Progress = lambda total: lambda: None,
    **ranks: float | None,
) -> LoraReport:
    """Write a LoRA whose change of every layer is the sum of the LoRAs' changes, each times its strength.

    `loras` are files with their strengths, "style.safetensors:0.8". The result is exact, with all ranks side by side,
    unless `ranks` limits them (the fields of `RankChoice`: rank, conv_rank, energy, max_bytes), which other kinds than
    LoRA and LoCon need. A DoRA and an OFT need `model`, their checkpoint. `precision` "" is that of the files.
    Embeddings inside the files are kept.
    Raises what `read_loras`, `combine_loras`, `merge_embeddings` and `LoraOutput.write` raise.
    """
    output_path, base = expand_path(out), expand_path(model) if model else None
    check_output_path(output_path)
    choice = RankChoice(**ranks)  # type: ignore[arg-type]
    opened, skeleton = read_loras(loras, base)
    dtype = dtype_of(precision) if precision else find_common_dtype(opened)
    origin = describe_origin("merge lora", list_strengths(opened), choice.as_record())
    metadata = inherit_metadata([lora.metadata for lora in opened], skeleton) | origin
    output = LoraOutput(output_path, skeleton, dtype, choice, metadata, merge_embeddings(opened))
    report = output.write(combine_loras(opened, skeleton, choice, base, dtype.itemsize, on_start))
    return replace(report, notes=tuple(describe_unused(opened, skeleton.denoiser)))


def combine_loras(
    loras: Sequence[OpenLora],
    model: Model,
    ranks: RankChoice,
    base: Path | None,
    itemsize: int,
    on_start: Progress,
) -> dict[str, CombinedLayer]:
    """Every layer that some LoRA has, with the sum of their changes, by path.

    Raises E5326 for a kind that needs ranks, E5327 for one that needs the checkpoint.
    """
    for lora in loras:
        _check_kind(lora, ranks, base)
    weights = {path: weight_of(layer) for path, layer in named_layers(model)}  # on the meta device
    groups = dict(group_layers(loras, model.denoiser))
    on_layer = on_start(len(groups))
    average_rank = MAX_RANK
    if ranks.max_bytes is not None:
        average_rank = count_average_rank([weights[path].shape for path in groups], ranks.max_bytes, itemsize)
    combined = {}
    with open_checkpoint(base) if base else nullcontext() as checkpoint:
        for path, weighted in groups.items():
            weight = weights[path]
            if checkpoint and any(depends_on_base(tensors) for _strength, tensors in weighted):
                weight = checkpoint.read_tensor(f"{path}.weight")
            limit = None if ranks.is_exact else ranks.limit_for(weight.shape, average_rank)
            combined[path] = combine(weighted, weight, limit)
            on_layer()
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
                template = _(
                    "{path} has another embedding inside for {tensor} than the files before it; split it first"
                )
                raise TetradError("E5328", template, path=lora.choice.path, tensor=name)
            merged[name] = tensor
    return merged
