"""How much of what a whole model has learned is lost when it is saved in half precision."""

from collections.abc import Collection
from pathlib import Path

import torch

from tetrad import library
from tetrad.builtin import resolve_model_path
from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.models.base import Model
from tetrad.models.device import get_free_memory
from tetrad.paths import expand_path
from tetrad.run.events import Note
from tetrad.run.plan import Plan
from tetrad.weights import Weights

WORTH_SAYING = 0.05  # of what was learned
_MEMORY_FACTOR = 1.5  # of the size of the base model's file, to read it


def rounding_notes(plan: Plan, model: Model, learned: Weights, rounded: Weights, parts: Collection[str]) -> list[Note]:
    """A warning where rounding changes the trained parts by more than a twentieth of what training has changed.

    The base weights are read again from their file, since keeping them would take as much memory during the whole run.
    """
    if plan.save.precision == "fp32" or not plan.method.artifact.is_full_model:
        return []
    start = plan.model.continue_from
    path = expand_path(start) if start else resolve_model_path(plan.model.path)
    try:
        if get_free_memory(torch.device("cpu")) < _MEMORY_FACTOR * _count_bytes(path):
            template = _("how much rounding to half precision loses is not known: too little memory to read {file}")
            return [Note(Message(template, file=path))]
        base = library.read_weights(path, model, learned.kind)
    except (OSError, TetradError):  # moved or changed during the run, which is no reason not to save
        return [
            Note(
                Message(
                    _("how much rounding to half precision loses is not known: {file} cannot be read any more"),
                    file=path,
                )
            )
        ]
    share = measure_rounding(base, learned, rounded, parts)
    if share <= WORTH_SAYING:
        return []
    template = _(
        "rounding to {precision} changes this file by {share:.0%} of what was trained; set save.precision=fp32 to keep"
        " all of it, or train longer, which makes the share smaller"
    )
    return [Note(Message(template, precision=plan.save.precision, share=share), "W3173")]


@torch.no_grad()
def measure_rounding(base: Weights, learned: Weights, rounded: Weights, parts: Collection[str]) -> float:
    """‖rounded - learned‖ / ‖learned - base‖ over the tensors of these parts; 0 where nothing was learned."""
    lost = changed = 0.0
    for name, tensor in learned.tensors.items():
        if name.partition(".")[0] in parts and name in base.tensors and tensor.is_floating_point():
            tensor = tensor.float()
            lost += (rounded.tensors[name].to(tensor) - tensor).square().sum().item()
            changed += (tensor - base.tensors[name].to(tensor)).square().sum().item()
    return (lost / changed) ** 0.5 if changed else 0.0


def _count_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
