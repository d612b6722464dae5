"""Merges LoRAs into one LoRA: exactly, with their ranks side by side, or within a lower rank."""

from collections.abc import Callable, Mapping, Sequence
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

_ReadWeight = Callable[[str], Tensor]  # of a layer, by its path


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
    Raises E5326 for a kind that needs ranks, E5327 for one that needs the checkpoint, E5328 for two embeddings of one
    name, and what `read_loras` and `LoraOutput.write` raise.
    """
    check_output_path(output_path)
    ranks = ranks or RankChoice()
    loras, model = read_loras(choices, base)
    model_layers = dict(named_layers(model))
    groups = dict(group_layers(loras, model.denoiser))
    for lora in loras:
        _check_kind(lora, ranks, base)
    settings = {"rank": ranks.rank, "conv_rank": ranks.conv_rank, "energy": ranks.energy, "max_bytes": ranks.max_bytes}
    origin = describe_origin(
        "merge lora",
        [(lora.choice.path, lora.choice.strengths, lora.metadata) for lora in loras],
        {name: value for name, value in settings.items() if value is not None},
    )
    dtype = DTYPES[precision] if precision else find_common_dtype(loras)
    metadata = inherit_metadata([lora.metadata for lora in loras], model) | origin
    output = LoraOutput(output_path, model, dtype, ranks, metadata, merge_embeddings(loras))
    shapes = [weight_of(model_layers[path]).shape for path in groups]
    average_rank = count_average_rank(shapes, ranks.max_bytes, dtype.itemsize)

    def combine_all(read_weight: _ReadWeight) -> Mapping[str, CombinedLayer]:
        layers = {}
        for done, (path, weighted) in enumerate(groups.items(), 1):
            needs_values = any(depends_on_base(tensors) for _strength, tensors in weighted)
            weight = read_weight(path) if needs_values else weight_of(model_layers[path])
            limit = None if ranks.is_exact else ranks.limit_for(weight.shape, average_rank)
            layers[path] = combine(weighted, weight, limit)
            on_layer(done, len(groups))
        return layers

    if base is None:
        return output.write(combine_all(lambda path: weight_of(model_layers[path])))
    with open_checkpoint(base) as checkpoint:
        return output.write(combine_all(lambda path: checkpoint.read(f"{path}.weight")))


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
