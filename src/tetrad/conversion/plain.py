"""Turns every algorithm of LyCORIS into a plain LoRA, which all programs read, by singular value decomposition."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from torch import Tensor

from tetrad.conversion.job import Job
from tetrad.locales import Message, ngettext
from tetrad.methods.lora.combine import SUMMED_TENSORS, CombinedLayer, Tensors, changes_weight, combine, depends_on_base
from tetrad.methods.lora.layer import weight_of
from tetrad.methods.lora.svd import RankLimit
from tetrad.methods.lora.weights import named_layers
from tetrad.models.base import Model

_KEPT_ENERGY = 0.9999  # of a layer's squared norm, where no rank is given: it loses a hundredth of its change


def is_plain(tensors: Tensors) -> bool:
    return {"down", "up"} <= tensors.keys() <= {"down", "up", "alpha"}


def make_plain(
    layers: Mapping[str, Tensors], model: Model, read_weight: Callable[[str], Tensor], job: Job
) -> dict[str, Tensors]:
    """The layers of a LoRA with `down`, `up` and `alpha` alone; those that are plain already stay as they are.

    `read_weight` gives the model's weight of a layer, which the change of a DoRA or an OFT depends on. All new layers
    have one alpha, because diffusers misreads kohya's alphas where they differ. What no plain LoRA can hold, and the
    share of the change that the rank leaves out, is noted.
    """
    shapes = {path: weight_of(layer) for path, layer in named_layers(model)}
    plain = {path: tensors for path, tensors in layers.items() if is_plain(tensors)}
    limit = RankLimit(job.options.rank or None, 1.0 if job.options.rank else _KEPT_ENERGY)
    combined = {}
    for done, (path, tensors) in enumerate(layers.items(), 1):
        if path not in plain and changes_weight(tensors):
            weight = read_weight(path) if depends_on_base(tensors) else shapes[path]
            combined[path] = combine([(1.0, tensors)], weight, limit)
        job.on_progress(done, len(layers))
    if combined:
        _note_loss(combined, job)
    _note_unheld(layers, job)
    alpha = _most_common_alpha(plain) or float(max((layer.rank for layer in combined.values()), default=1))
    return plain | {path: _build_tensors(layer, alpha, layers[path]) for path, layer in combined.items() if layer.rank}


def _build_tensors(layer: CombinedLayer, alpha: float, old_tensors: Tensors) -> Tensors:
    """The tensors of a layer in the precision of those that it is made from."""
    dtype = next(iter(old_tensors.values())).dtype
    factors = replace(layer, others={}).tensors(alpha)
    return {name: tensor.to(dtype) for name, tensor in factors.items()}


def _note_loss(combined: Mapping[str, CombinedLayer], job: Job) -> None:
    factors = [layer.factors for layer in combined.values() if layer.factors]
    total, lost = sum(each.total for each in factors), sum(each.lost for each in factors)
    template = ngettext(
        "{count} layer becomes a plain LoRA of rank {rank}; {loss} of its change is lost by that",
        "{count} layers become a plain LoRA of rank {rank} or less; {loss} of their change is lost by that",
        len(combined),
    )
    rank = max(layer.rank for layer in combined.values())
    job.notes.append(Message(template, rank=rank, loss=f"{(lost / max(total, 1e-30)) ** 0.5:.2%}"))


def _most_common_alpha(layers: Mapping[str, Tensors]) -> float:
    """The alpha that most plain layers have; 0 where there are none."""
    alphas = Counter(float(tensors["alpha"]) for tensors in layers.values() if "alpha" in tensors)
    return alphas.most_common(1)[0][0] if alphas else 0.0


def _note_unheld(by_path: Mapping[str, Tensors], job: Job) -> None:
    """Name the changes of biases and norms, which a plain LoRA cannot hold."""
    unheld = [f"{path}.{name}" for path, tensors in by_path.items() for name in tensors if name in SUMMED_TENSORS]
    if unheld:
        template = ngettext(
            "{count} change of a bias or a norm is left out, because a plain LoRA cannot hold it: {name}",
            "{count} changes of biases and norms are left out, because a plain LoRA cannot hold them: {name}, …",
            len(unheld),
        )
        job.notes.append(Message(template, name=unheld[0]))
