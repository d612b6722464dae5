"""The tensors of a new layer for each algorithm, still without effect: shapes and first values are LyCORIS'."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Generator, Tensor, nn

from tetrad.methods.lora.layer import LowRankBranch, weight_of
from tetrad.methods.lora.lycoris_branch import LycorisBranch
from tetrad.methods.lora.settings import Lora

Branch = LowRankBranch | LycorisBranch


@dataclass(frozen=True)
class _Size:
    """A layer's weight (out, in, …), and the rank that its branch gets."""

    shape: torch.Size
    rank: int
    alpha: float

    @property
    def kernel(self) -> tuple[int, ...]:
        return tuple(self.shape[2:])

    def has_core(self, settings: Lora) -> bool:
        """Whether a core tensor takes the kernel, and the factors have none."""
        return settings.use_tucker and prod(self.kernel) > 1


def create_branch(settings: Lora, layer: nn.Module, rank: int, alpha: float, rng: Generator) -> Branch:
    """A branch that does not change its layer yet, with magnitudes where the settings have DoRA."""
    weight = weight_of(layer)
    size = _Size(weight.shape, rank, alpha)
    # The usual LoRA has a branch of its own, which never computes ΔW; magnitudes of columns need ΔW.
    by_rows = not settings.dora or settings.wd_on_output
    if settings.algorithm == "lora" and by_rows and not size.has_core(settings):
        return LowRankBranch.initialize(layer, rank, alpha, rng)
    return LycorisBranch(_CREATORS[settings.algorithm](settings, size, rng), weight.device)


def factorize_side(side: int, factor: int) -> tuple[int, int]:
    """A side of a weight as a product m · n with m ≤ n: m is the factor where it divides the side, else the largest
    divisor up to it with the smallest sum m + n; -1 for the most nearly equal ones."""
    if factor > 0 and side % factor == 0:
        return min(factor, side // factor), max(factor, side // factor)
    best = (1, side)
    for m in range(2, (side if factor < 0 else factor) + 1):
        n, rest = divmod(side, m)
        if best[0] >= best[1] or (not rest and m + n > sum(best)):
            break
        if not rest:
            best = (m, n)
    return min(best), max(best)


def _create_lora(settings: Lora, size: _Size, rng: Generator) -> dict[str, Tensor]:
    """B A with a core tensor (r, r, h, w) between them, or without one."""
    out, ins = size.shape[:2]
    ones = [1] * len(size.kernel)
    has_core = size.has_core(settings)
    core = {"mid": _uniform(rng, size.rank, size.rank, *size.kernel)} if has_core else {}
    down = _uniform(rng, size.rank, ins, *(ones if has_core else size.kernel))
    return {"down": down, "up": torch.zeros(out, size.rank, *ones), **core, "alpha": torch.tensor(size.alpha)}


def _create_loha(settings: Lora, size: _Size, rng: Generator) -> dict[str, Tensor]:
    """A₂ is zero; the other factors are normal, with σ 1 for B and 0.1 for A₁ and the core tensors."""
    out, ins, rank = size.shape[0], size.shape[1], size.rank
    has_core = size.has_core(settings)
    a_shape = (rank, out) if has_core else (out, rank)
    b_shape = (rank, ins) if has_core else (rank, ins * prod(size.kernel))
    tensors = {
        "hada_w1_a": _normal(rng, 0.1, *a_shape),
        "hada_w1_b": _normal(rng, 1.0, *b_shape),
        "hada_w2_a": torch.zeros(a_shape),
        "hada_w2_b": _normal(rng, 1.0, *b_shape),
    }
    if has_core:
        tensors |= {f"hada_t{n}": _normal(rng, 0.1, rank, rank, *size.kernel) for n in (1, 2)}
    return {**tensors, "alpha": torch.tensor(size.alpha)}


def _create_lokr(settings: Lora, size: _Size, rng: Generator) -> dict[str, Tensor]:
    """W₁ ⊗ W₂, where W₂ starts at zero; each is a product of two matrices if the rank is below half of its larger side,
    W₁ only with decompose_both."""
    rank, alpha = size.rank, size.alpha
    (out_1, out_2), (in_1, in_2) = (factorize_side(side, settings.factor) for side in size.shape[:2])
    tensors: dict[str, Tensor] = {}
    if settings.decompose_both and not settings.full_matrix and rank < max(out_1, in_1) / 2:
        tensors |= {"lokr_w1_a": _uniform(rng, out_1, rank), "lokr_w1_b": _uniform(rng, rank, in_1)}
    else:
        tensors["lokr_w1"] = _uniform(rng, out_1, in_1)
    if settings.full_matrix or rank >= max(out_2, in_2) / 2:
        tensors["lokr_w2"] = torch.zeros(out_2, in_2, *size.kernel)
        alpha = float(rank) if "lokr_w1" in tensors else alpha  # without a rank there is no scale
    elif size.has_core(settings):
        tensors["lokr_t2"] = _uniform(rng, rank, rank, *size.kernel)
        tensors |= {"lokr_w2_a": _uniform(rng, rank, out_2), "lokr_w2_b": torch.zeros(rank, in_2)}
    else:
        tensors |= {"lokr_w2_a": _uniform(rng, out_2, rank), "lokr_w2_b": torch.zeros(rank, in_2 * prod(size.kernel))}
    return {**tensors, "alpha": torch.tensor(alpha)}


def _create_oft(settings: Lora, size: _Size, rng: Generator) -> dict[str, Tensor]:
    """Blocks of zeros, whose rotation is the identity; alpha is the constraint."""
    out = size.shape[0]
    block, count = factorize_side(out, size.rank)
    tensors = {"oft_blocks": torch.zeros(count, block, block), "alpha": torch.tensor(settings.constraint)}
    if settings.rescaled:
        tensors["rescale"] = torch.ones(out, *[1] * (len(size.shape) - 1))
    return tensors


_CREATORS: dict[str, Callable[[Lora, _Size, Generator], dict[str, Tensor]]] = {
    "lora": _create_lora,
    "loha": _create_loha,
    "lokr": _create_lokr,
    "oft": _create_oft,
}


def _uniform(rng: Generator, *shape: int) -> Tensor:
    """Kaiming's uniform values with a = √5, as in a linear layer."""
    return nn.init.kaiming_uniform_(torch.empty(shape), a=5**0.5, generator=rng)


def _normal(rng: Generator, std: float, *shape: int) -> Tensor:
    return nn.init.normal_(torch.empty(shape), std=std, generator=rng)
