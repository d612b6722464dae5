"""Optimizers, by the names that trainers use."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

from torch.optim import Optimizer

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.base import ParamGroup
from tetrad.settings.train import Optimizer as OptimizerName
from tetrad.training.fused_adamw import FusedAdamW

DEFAULT_LEARNING_RATE = 1e-4  # the rate of groups for which the loop has no schedules


def create_optimizer(name: OptimizerName, groups: Sequence[ParamGroup], weight_decay: float = 0.01) -> Optimizer:
    """The optimizer called `name` over an adapter's groups.  E3134 where a package is missing."""
    return OPTIMIZERS[name](_make_param_groups(groups), weight_decay)


def require_optimizer_package(name: OptimizerName) -> None:
    """E3134 where an optimizer's package is missing; called before the long preparation of a run."""
    if name == "adamw8bit":
        _import_adamw_8bit()


def create_adamw(
    groups: Sequence[ParamGroup], learning_rate: float = DEFAULT_LEARNING_RATE, weight_decay: float = 0.01
) -> Optimizer:
    """AdamW over an adapter's groups, at one learning rate where the loop has no schedules."""
    return FusedAdamW(_make_param_groups(groups, learning_rate), weight_decay)


def _make_param_groups(
    groups: Sequence[ParamGroup], learning_rate: float = DEFAULT_LEARNING_RATE
) -> list[dict[str, Any]]:
    """The groups in the form that torch's optimizers take, in the same order."""
    return [{"params": group.parameters, "lr": learning_rate * group.lr_scale} for group in groups]


def _create_adamw_8bit(groups: list[dict[str, Any]], weight_decay: float) -> Optimizer:
    """AdamW whose two moments take one byte per parameter instead of four.  [Dettmers et al. 2022]"""
    optimizer: Optimizer = _import_adamw_8bit()(groups, weight_decay=weight_decay)
    return optimizer


def _import_adamw_8bit() -> Any:
    try:
        with _silence_output():
            from bitsandbytes.optim import AdamW8bit
    except (ImportError, OSError, RuntimeError) as error:
        raise TetradError(
            "E3134",
            _(
                "adamw8bit needs the package bitsandbytes; run {command} in Tetrad's folder, or use"
                " train.optimizer=adafactor"
            ),
            command='python -m pip install -c constraints.txt -e ".[bnb]"',
        ) from error
    return AdamW8bit


@contextmanager
def _silence_output() -> Iterator[None]:
    """Hide what is printed while importing: bitsandbytes prints a banner and what it did not find."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _create_adafactor(groups: list[dict[str, Any]], weight_decay: float) -> Optimizer:
    """AdamW's second moment as a row and a column, and no first moment: hardly any memory.  [Shazeer & Stern 2018]

    It uses the given learning rates; the paper's own rates by step and parameter size are off, as in other trainers.
    """
    from transformers.optimization import Adafactor

    optimizer: Optimizer = Adafactor(
        groups, weight_decay=weight_decay, scale_parameter=False, relative_step=False, warmup_init=False
    )
    return optimizer


OPTIMIZERS: dict[OptimizerName, Callable[[list[dict[str, Any]], float], Optimizer]] = {
    "adamw": FusedAdamW,
    "adamw8bit": _create_adamw_8bit,
    "adafactor": _create_adafactor,
}
