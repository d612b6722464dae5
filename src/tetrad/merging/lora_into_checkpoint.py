"""Merges LoRAs into a checkpoint, or takes them out again, tensor by tensor from disk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tetrad.formats import ldm
from tetrad.formats.tensor_streams import TensorFile, TensorLayout, open_tensors
from tetrad.formats.tensor_writer import check_free_space
from tetrad.formats.tensors import widen_float8
from tetrad.formats.weight_files import read_safetensors_metadata
from tetrad.library.checkpoints import require_finite
from tetrad.library.configurations import list_configurations
from tetrad.locales import Message, _, ngettext
from tetrad.merging.checkpoint_merge import MergedCheckpoint, check_out, copy_configurations
from tetrad.merging.history import GetHash, Progress, keep_metadata, write_with_history
from tetrad.merging.lora_files import LoraChoice, OpenLora, describe_unused, group_layers, list_strengths, read_loras
from tetrad.merging.lora_metadata import describe_origin
from tetrad.merging.parents import EMA, part_of, require_file
from tetrad.merging.storing import store_tensor
from tetrad.methods.lora.combine import Weighted, changes_weight, depends_on_base, sum_tensors, sum_weight_changes
from tetrad.models.base import Model
from tetrad.models.device import dtype_of
from tetrad.models.families import FAMILIES
from tetrad.paths import expand_path

_Change = Callable[[Tensor], Tensor]  # of a tensor of the model, in float32


def merge_loras_into(
    loras: Sequence[str | LoraChoice],
    checkpoint: str | Path,
    out: str | Path,
    *,
    precision: str = "",
    on_start: Progress = lambda total: lambda: None,
) -> MergedCheckpoint:
    """Write the checkpoint with W + Σ s ΔW in every layer that a LoRA changes; all else stays the same, bit for bit.

    `loras` are files with their strengths, "style.safetensors:0.8". Sums are computed in float32 and rounded once, to
    `precision` or to that of each tensor. A negative strength takes a LoRA out again.
    Raises E5008 for a folder, E5014 for NaN or Inf in the checkpoint, E5303 for what is too large for the precision,
    E5210 for an output path that cannot be used, and what `read_loras` and `write_with_history` raise.
    """
    checkpoint_path, output_path = expand_path(checkpoint), expand_path(out)
    configurations = {output_path.with_suffix(each.suffix): each for each in list_configurations(checkpoint_path)}
    check_out(output_path, [checkpoint_path], configurations)
    require_file(checkpoint_path)
    opened, model = read_loras(loras, checkpoint_path)
    with open_tensors(checkpoint_path) as file:
        changes = _locate_changes(file, opened, model)
        layouts = {name: _cast_layout(each, precision) for name, each in file.items() if part_of(name) != EMA}
        check_free_space(output_path, sum(layout.nbytes for layout in layouts.values()))
        parents = {checkpoint_path: {}, **list_strengths(opened)}
        own = keep_metadata(read_safetensors_metadata(checkpoint_path))

        def describe(get_hash: GetHash) -> dict[str, str]:
            return own | describe_origin("merge lora into checkpoint", parents, {}, get_hash)

        changed: set[str] = set()
        compute = partial(_compute, file, changes, layouts, changed)
        write_with_history(output_path, layouts, compute, describe, list(parents), on_start)
        notes = list(_describe(opened, model.denoiser, len(changed), len(file) - len(layouts)))
    return MergedCheckpoint(output_path, [*notes, *copy_configurations(configurations)])


def _locate_changes(file: TensorFile, loras: Sequence[OpenLora], model: Model) -> dict[str, dict[str, _Change]]:
    """For each tensor of the file that changes, what changes in each of its parts: one, or OpenCLIP's q, k and v."""
    changes = dict(_list_changes(loras, model))
    layout = FAMILIES[model.family].single_file
    located = {}
    for key, names in ldm.locate_parts(file, layout).items():
        if any(name in changes for name in names):
            parts = list(ldm.split_tensor(key, torch.empty(3, 1, device="meta")))
            located[key] = {part: changes[name] for part, name in zip(parts, names, strict=True) if name in changes}
    return located


def _list_changes(loras: Sequence[OpenLora], model: Model) -> list[tuple[str, _Change]]:
    """The change of each of the model's tensors that changes, by canonical name."""
    changes: list[tuple[str, _Change]] = []
    for path, weighted in group_layers(loras, model.denoiser):
        weighted = [(strength, tensors) for strength, tensors in weighted if strength]
        if any(changes_weight(tensors) for _strength, tensors in weighted):
            changes.append((f"{path}.weight", partial(sum_weight_changes, weighted)))
        for name, target in (("w_norm", "weight"), ("b_norm", "bias"), ("diff_b", "bias")):
            if any(name in tensors for _strength, tensors in weighted):
                changes.append((f"{path}.{target}", partial(_sum_changes, weighted, name)))
    return changes


def _sum_changes(weighted: Weighted, name: str, tensor: Tensor) -> Tensor:
    change = sum_tensors(weighted, name)
    assert change is not None
    return change


def _compute(
    file: TensorFile,
    changes: Mapping[str, Mapping[str, _Change]],
    layouts: Mapping[str, TensorLayout],
    changed: set[str],
    key: str,
) -> Tensor:
    """A tensor of the new file; its name is put into `changed` where it is another one, after rounding.

    E5014 for NaN or Inf in the old file, E5303 for what the new one cannot hold.
    """
    tensor, dtype = file.read_tensor(key), layouts[key].dtype
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    require_finite(file.path, key, tensor)
    if key not in changes:
        return store_tensor(key, tensor, dtype).contiguous()
    parts = ldm.split_tensor(key, widen_float8(tensor).float())
    for name, change in changes[key].items():
        parts[name] = parts[name] + change(parts[name])
    stored = store_tensor(key, ldm.join_tensor(parts), dtype).contiguous()
    if not torch.equal(stored, tensor.to(dtype)):
        changed.add(key)
    return stored


def _cast_layout(layout: TensorLayout, precision: str) -> TensorLayout:
    """The layout in the precision that was chosen; float8 becomes float16, since a sum would be cut."""
    if not layout.dtype.is_floating_point:
        return layout
    dtype = dtype_of(precision) if precision else widen_float8(torch.empty(0, dtype=layout.dtype)).dtype
    return TensorLayout(layout.shape, dtype)


def _describe(loras: Sequence[OpenLora], denoiser: str, changed_count: int, ema_count: int) -> Iterator[Message]:
    """What was done that a person may not expect."""
    template = ngettext(
        "{count} tensor is changed; all others stay the same",
        "{count} tensors are changed; all others stay the same",
        changed_count,
    )
    yield Message(template if changed_count else _("no tensor is changed: the weights stay as they are"))
    yield from describe_unused(loras, denoiser)
    if ema_count:
        template = ngettext(
            "the checkpoint's EMA weights ({count} tensor) are left out, because they are without the LoRAs",
            "the checkpoint's EMA weights ({count} tensors) are left out, because they are without the LoRAs",
            ema_count,
        )
        yield Message(template)
    for lora in loras:
        name = lora.choice.path.name
        is_taken_out = min(lora.choice.unet, lora.choice.text_encoder) < 0
        if is_taken_out and any(depends_on_base(tensors) for tensors in lora.layers.values()):
            message = _(
                "{file} is a DoRA or an OFT, whose change depends on the weights that it is added to, so taking it out"
                " does not restore the checkpoint that it was merged into"
            )
            yield Message(message, file=name)
        if lora.embeddings:
            message = _("the embeddings inside {file} are left out, because a checkpoint cannot hold them")
            yield Message(message, file=name)
