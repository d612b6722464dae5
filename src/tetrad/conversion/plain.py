"""Turns every algorithm of LyCORIS into a plain LoRA, which all programs read, by singular value decomposition."""

from collections import Counter
from collections.abc import Mapping

from torch import Tensor

from tetrad.conversion.job import Job
from tetrad.locales import ngettext
from tetrad.methods.lora.combine import SUMMED_TENSORS, changes_weight, combine, with_alpha
from tetrad.methods.lora.layer import weight_of
from tetrad.methods.lora.svd import RankLimit
from tetrad.methods.lora.weights import get_matching_layer, group_by_layer, named_layers
from tetrad.models.base import Model
from tetrad.weights import Weights

_KEPT_ENERGY = 0.9999  # of a layer's squared norm, where no rank is given: it loses a hundredth of its change
# kohya's metadata entries about ranks; "Dynamic" is what kohya's own merges write.
DYNAMIC_RANKS = {"ss_network_module": "networks.lora", "ss_network_dim": "Dynamic", "ss_network_alpha": "Dynamic"}
DYNAMIC_RANKS |= {"ss_network_args": "{}"}


def is_plain(tensors: Mapping[str, Tensor]) -> bool:
    return {"down", "up"} <= tensors.keys() <= {"down", "up", "alpha"}


def make_plain(weights: Weights, model: Model, job: Job) -> Weights:
    """A LoRA of `down`, `up` and `alpha` alone; layers that are plain already stay as they are.

    All new layers have one alpha, because diffusers misreads kohya's alphas where they differ. What no plain LoRA can
    hold, and the share of the change that the rank leaves out, is noted.
    """
    layers, by_path = dict(named_layers(model)), group_by_layer(weights)
    plain = {path: tensors for path, tensors in by_path.items() if is_plain(tensors)}
    if len(plain) == len(by_path):
        return weights
    limit = RankLimit(job.options.rank or None, 1.0 if job.options.rank else _KEPT_ENERGY)
    combined = {
        path: combine([(1.0, tensors)], weight_of(get_matching_layer(layers, path, tensors, model)), limit)
        for path, tensors in by_path.items()
        if path not in plain and changes_weight(tensors)
    }
    ranks = [layer.rank for layer in combined.values()]
    alpha = _most_common_alpha(plain) or float(max(ranks, default=1))
    tensors = {f"{path}.{name}": tensor for path, each in plain.items() for name, tensor in each.items()}
    for path, layer in combined.items():
        dtype = next(iter(by_path[path].values())).dtype
        factors = {name: tensor for name, tensor in layer.tensors.items() if name not in SUMMED_TENSORS}
        for name, tensor in with_alpha(factors, alpha).items():
            tensors[f"{path}.{name}"] = tensor.to(dtype)
    norm, lost = (sum(getattr(each, name) ** 2 for each in combined.values()) ** 0.5 for name in ("norm", "lost"))
    if combined:
        template = ngettext(
            "{count} layer becomes a plain LoRA of rank {rank}; {loss} of its change is lost by that",
            "{count} layers become a plain LoRA of rank {rank} or less; {loss} of their change is lost by that",
            len(combined),
        )
        job.note(template, rank=max(ranks), loss=f"{lost / max(norm, 1e-30):.2%}")
    _note_unheld(by_path, job)
    return Weights(weights.kind, tensors, weights.metadata | DYNAMIC_RANKS)


def _most_common_alpha(layers: Mapping[str, Mapping[str, Tensor]]) -> float:
    """The alpha that most plain layers have; 0 where there are none."""
    alphas = Counter(float(tensors["alpha"]) for tensors in layers.values() if "alpha" in tensors)
    return alphas.most_common(1)[0][0] if alphas else 0.0


def _note_unheld(by_path: Mapping[str, Mapping[str, Tensor]], job: Job) -> None:
    """Name the changes of biases and norms, which a plain LoRA cannot hold."""
    unheld = [f"{path}.{name}" for path, tensors in by_path.items() for name in tensors if name in SUMMED_TENSORS]
    if unheld:
        template = ngettext(
            "{count} change of a bias or a norm is left out, because a plain LoRA cannot hold it: {name}",
            "{count} changes of biases and norms are left out, because a plain LoRA cannot hold them: {name}, …",
            len(unheld),
        )
        job.note(template, name=unheld[0])
