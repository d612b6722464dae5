"""What a person chooses for a merge of checkpoints: the method, the weights, and what becomes of each part."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Generator, Tensor

from tetrad.errors import TetradError
from tetrad.library.checkpoints import DTYPES
from tetrad.locales import Message, _, ngettext
from tetrad.merging import arithmetic

MERGE = "merge"  # of the text encoder or the VAE: like everything else
_DENSITY, _SEED = 0.5, 1
_SUM_TOLERANCE = 0.0011  # so that 0.333 + 0.333 + 0.333 is 1


@dataclass(frozen=True)
class CheckpointMerge:
    """How checkpoints are merged.  E3301 for a method, precision, density or seed that does not exist."""

    method: str = "weighted-sum"
    text_encoder: str = MERGE  # or the letter of the model whose text encoder is kept
    vae: str = "A"  # the letter of the model whose VAE is kept, "merge", or a VAE file
    density: float = _DENSITY  # of TIES and DARE: the share of each difference that is kept
    seed: int = _SEED  # of DARE
    precision: str = ""  # "" for that of the first model, tensor by tensor

    def __post_init__(self) -> None:
        _require("method", self.method, METHODS)
        _require("precision", self.precision, ["", *DTYPES])
        method = METHODS[self.method]
        for setting, default in (("density", _DENSITY), ("seed", _SEED)):
            if getattr(self, setting) != default and setting not in method.settings:
                template = _("{setting} has no effect on {method}; leave it out")
                raise TetradError("E3301", template, setting=setting, method=method.title)
        if not 0 < self.density <= 1:
            template = _("density must be above 0 and at most 1, not {value}; 0.5 keeps half of each difference")
            raise TetradError("E3301", template, value=self.density)
        if self.seed < 0:
            raise TetradError("E3301", _("seed must be at least 0, not {value}"), value=self.seed)


Combine = Callable[[Iterable[Tensor], Tensor | None, Sequence[float], CheckpointMerge, Generator], Tensor]


@dataclass(frozen=True)
class MergeMethod:
    """`combine(tensors, base, weights, choices, rng)` gives the merged tensor; one weight for each model.

    `is_elementwise`: any part of a tensor can be merged alone. The first tensor is A's. A method that
    `adds_differences` adds those of the other models to their base, C, to A.
    """

    title: str  # A1111's `interp_method`
    combine: Combine
    is_elementwise: bool = True
    adds_differences: bool = False
    needs_base: bool = False  # else the base is A where none is given
    takes_weight_for_each: bool = False
    max_models: float = math.inf
    default_weight: float = 0.5
    settings: tuple[str, ...] = ()  # those of `CheckpointMerge` that it has and others do not

    def resolve_weights(self, given: Sequence[float | None], weight: float | None) -> list[float]:
        """The weight of each model: its own, or `weight`.

        E3301 for a number of models or a weight that the method does not take, E3303 where the weights of a sum do not
        add up to 1.
        """
        if not 2 <= len(given) <= self.max_models:
            raise TetradError(
                "E3301",
                ngettext(
                    "{method} needs {needed}, and {count} model is given",
                    "{method} needs {needed}, and {count} models are given",
                    len(given),
                ),
                method=self.title,
                needed=Message(_("two models")) if self.max_models == 2 else Message(_("two models or more")),
            )
        for value in (*given, weight):
            if value is not None and not math.isfinite(value):
                raise TetradError("E3301", _("a weight must be a number, not {value}"), value=value)
        if self.takes_weight_for_each:
            return _check_sum(given, weight)
        default = self.default_weight if weight is None else weight
        first, *others = [default if each is None else each for each in given]
        if given[0] is not None:
            template = _("{method} gives the first model no weight of its own, so leave out {value}; weight the others")
            raise TetradError("E3301", template, method=self.title, value=f":{first:g}")
        return [1.0, *others] if self.adds_differences else [1 - others[0], others[0]]


def _check_sum(given: Sequence[float | None], weight: float | None) -> list[float]:
    """The weights of a sum.  E3301 where one is missing, E3303 where they do not add up to 1."""
    weights = [each for each in given if each is not None]
    if weight is not None or len(weights) < len(given):
        template = _(
            "a sum needs the weight of each model and no other, for example A.safetensors:0.5 B.safetensors:0.5"
        )
        raise TetradError("E3301", template)
    if abs(total := sum(weights) - 1) > _SUM_TOLERANCE:
        raise TetradError(
            "E3303",
            _("the weights of a sum must add up to 1, and {weights} add up to {total:g}; use for example {proposal}"),
            weights=_join(weights),
            total=total + 1,
            proposal=_join(
                [each / (total + 1) for each in weights] if total + 1 else [1 / len(weights)] * len(weights)
            ),
        )
    return weights


def _join(weights: Iterable[float]) -> str:
    return ", ".join(f"{round(weight, 4):g}" for weight in weights)


def _require(setting: str, value: str, known: Iterable[str]) -> None:
    """E3301 for a value that does not exist."""
    if value not in known:
        template = _("{setting} must be one of {known}, not {value}")
        raise TetradError("E3301", template, setting=setting, known=", ".join(filter(None, known)), value=value)


def _sum(tensors: Iterable[Tensor], base: Tensor | None, weights: Sequence[float], *_others: object) -> Tensor:
    return arithmetic.add_weighted(tensors, weights)


def _add_differences(
    tensors: Iterable[Tensor], base: Tensor | None, weights: Sequence[float], *_others: object
) -> Tensor:
    a, *others = tensors
    return arithmetic.add_differences(a, others, _base(a, base), weights[1:])


def _slerp(tensors: Iterable[Tensor], base: Tensor | None, weights: Sequence[float], *_others: object) -> Tensor:
    a, b = tensors
    return arithmetic.slerp(a, b, weights[1])


def _ties(
    tensors: Iterable[Tensor], base: Tensor | None, weights: Sequence[float], choices: CheckpointMerge, rng: Generator
) -> Tensor:
    a, *others = tensors
    return arithmetic.ties(a, others, _base(a, base), weights[1:], choices.density)


def _dare(
    tensors: Iterable[Tensor], base: Tensor | None, weights: Sequence[float], choices: CheckpointMerge, rng: Generator
) -> Tensor:
    a, *others = tensors
    return arithmetic.dare(a, others, _base(a, base), weights[1:], choices.density, rng)


def _base(a: Tensor, base: Tensor | None) -> Tensor:
    return a.clone() if base is None else base


METHODS = {
    "weighted-sum": MergeMethod("Weighted sum", _sum, max_models=2),
    "add-difference": MergeMethod(
        "Add difference", _add_differences, adds_differences=True, needs_base=True, default_weight=1.0
    ),
    "sum": MergeMethod("Sum", _sum, takes_weight_for_each=True),
    "slerp": MergeMethod("SLERP", _slerp, is_elementwise=False, max_models=2),
    "ties": MergeMethod(
        "TIES", _ties, is_elementwise=False, adds_differences=True, default_weight=1.0, settings=("density",)
    ),
    "dare": MergeMethod("DARE", _dare, adds_differences=True, default_weight=1.0, settings=("density", "seed")),
}
