"""Merges LoRAs into a checkpoint, or takes them out again, tensor by tensor from disk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import ldm
from tetrad.formats.tensor_streams import TensorFile, TensorLayout, open_tensors, write_tensors
from tetrad.library.checkpoints import DTYPES
from tetrad.library.vae.bake import check_output_path
from tetrad.locales import Message, _
from tetrad.merging.lora_files import LoraChoice, OpenLora, group_layers, read_loras
from tetrad.merging.lora_metadata import describe_origin
from tetrad.methods.lora.combine import Weighted, changes_weight, depends_on_base, sum_tensors, sum_weight_changes
from tetrad.models.base import Model
from tetrad.models.families import FAMILIES

_Change = Callable[[Tensor], Tensor]  # of a tensor of the model, in float32


@dataclass(frozen=True)
class Applied:
    """The file that was written, the number of its tensors that changed, and what a person should know."""

    path: Path
    changed_count: int
    warnings: tuple[Message, ...]


def apply_loras(
    choices: Sequence[LoraChoice],
    checkpoint_path: Path,
    output_path: Path,
    precision: str = "",
    on_tensor: Callable[[int, int], None] = lambda done, total: None,
) -> Applied:
    """Write the checkpoint with W + Σ s ΔW in every layer that a LoRA changes; all else stays the same, bit for bit.

    Sums are computed in float32 and rounded once. `precision` "" is that of each tensor. A negative strength takes a
    LoRA out again. Raises E5008 for a folder, E5014 for NaN or Inf in the checkpoint, E5325 for what is too large for
    the precision, and what `read_loras` and `write_tensors` raise.
    """
    check_output_path(output_path)
    if checkpoint_path.is_dir():
        template = _("{path} is a folder, but LoRAs are merged into a single file; convert it with tetrad convert first")
        raise TetradError("E5008", template, path=checkpoint_path)
    loras, model = read_loras(choices, checkpoint_path)
    with open_tensors(checkpoint_path) as file:
        changes = _locate_changes(file, loras, model)
        layouts = {name: _cast_layout(layout, precision) for name, layout in file.items()}
        parents = {checkpoint_path: {}, **{lora.choice.path: lora.choice.strengths for lora in loras}}
        origin = describe_origin("merge lora into checkpoint", parents, {})
        done = iter(range(1, len(layouts) + 1))
        write_tensors(
            output_path,
            layouts,
            partial(_compute, file, changes, layouts),
            _keep_metadata(file) | origin,
            lambda: on_tensor(next(done), len(layouts)),
        )
        has_ema = any(name.startswith("model_ema.") for name in file)
    return Applied(output_path, len(changes), tuple(_list_warnings(loras, has_ema)))


def _locate_changes(file: TensorFile, loras: Sequence[OpenLora], model: Model) -> dict[str, dict[str, _Change]]:
    """For each tensor of the file that changes, what changes in each of its parts: one, or OpenCLIP's q, k and v."""
    changes = dict(_list_changes(loras, model))
    layout = FAMILIES[model.family].single_file
    located = {}
    for key, names in ldm.locate_parts(file, layout).items():
        if any(name in changes for name in names):
            parts = list(ldm.split_tensor(key, torch.empty(3, 1, device="meta")))
            located[key] = {
                part: changes[name] for part, name in zip(parts, names, strict=True) if name in changes
            }
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
    file: TensorFile, changes: Mapping[str, Mapping[str, _Change]], layouts: Mapping[str, TensorLayout], key: str
) -> Tensor:
    """A tensor of the new file.  E5014 for NaN or Inf in the old one, E5325 for a result that its dtype cannot hold."""
    tensor, dtype = file.read(key), layouts[key].dtype
    if key in changes:
        parts = ldm.split_tensor(key, tensor.float())
        tensor = ldm.join_tensor(
            {name: part + changes[key][name](part) if name in changes[key] else part for name, part in parts.items()}
        )
        if not tensor.isfinite().all():
            template = _("{path} cannot be used: {tensor} contains NaN or Inf; download or create the file again")
            raise TetradError("E5014", template, path=file.path, tensor=key)
    result = tensor.to(dtype).contiguous()
    if tensor.is_floating_point() and tensor.dtype != dtype and not _is_finite(result) and _is_finite(tensor):
        template = _("{path} is not written: {tensor} is too large for {dtype}; use --precision fp32")
        raise TetradError("E5325", template, path=file.path, tensor=key, dtype=str(dtype).removeprefix("torch."))
    return result


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.float().isfinite().all())


def _cast_layout(layout: TensorLayout, precision: str) -> TensorLayout:
    return TensorLayout(layout.shape, DTYPES[precision] if precision and layout.dtype.is_floating_point else layout.dtype)


def _keep_metadata(file: TensorFile) -> dict[str, str]:
    """The checkpoint's metadata without the hash of its content."""
    return {key: value for key, value in file.metadata.items() if key != "modelspec.hash_sha256"}


def _list_warnings(loras: Sequence[OpenLora], has_ema: bool) -> list[Message]:
    warnings = []
    if has_ema:
        warnings.append(Message(_("the checkpoint's EMA weights stay as they are, without the LoRAs")))
    for lora in loras:
        is_taken_out = min(lora.choice.unet, lora.choice.text_encoder) < 0
        if is_taken_out and any(depends_on_base(tensors) for tensors in lora.layers.values()):
            template = _(
                "{file} is a DoRA or an OFT, whose change depends on the weights that it is added to, so that taking it"
                " out does not restore the checkpoint that it was merged into"
            )
            warnings.append(Message(template, file=lora.choice.path.name))
        if lora.embeddings:
            template = _("{file} has embeddings inside, which a checkpoint cannot hold; use them from their own files")
            warnings.append(Message(template, file=lora.choice.path.name))
    return warnings
