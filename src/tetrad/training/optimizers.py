"""What turns gradients into updates: a table of names people know."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer

from tetrad.errors import TetradError
from tetrad.training.adamw import FusedAdamW

Name = Literal["adamw", "adamw8bit", "adafactor"]
Groups = Mapping[str, list[nn.Parameter]]
UNSCHEDULED = 1e-4  # the rate of a group for which the loop has no schedule


def made(name: Name, groups: Groups, weight_decay: float = 0.01) -> Optimizer:
    """The optimizer called `name` over an adapter's groups.  E3134 where a package is missing."""
    return OPTIMIZERS[name](named(groups), weight_decay)


def check_there(name: Name) -> None:
    """E3134 where an optimizer's package is missing: before a long preparation, not after it."""
    if name == "adamw8bit":
        eight_bit()


def adamw(groups: Groups, rates: Mapping[str, float] | None = None, weight_decay: float = 0.01) -> Optimizer:
    """AdamW with a group for each part, which keeps its rate where the loop has no schedule for it."""
    return FusedAdamW(named(groups, rates), weight_decay)


def named(groups: Groups, rates: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Torch's parameter groups, each with the name that its schedule has too."""
    own = rates or {}
    return [
        {"params": parameters, "lr": own.get(name, UNSCHEDULED), "name": name} for name, parameters in groups.items()
    ]


def adamw_8bit(groups: list[dict[str, Any]], weight_decay: float) -> Optimizer:
    """AdamW whose two averages take one byte a number instead of four.  [Dettmers et al. 2022]"""
    optimizer: Optimizer = eight_bit()(groups, weight_decay=weight_decay)
    return optimizer


def eight_bit() -> Any:
    try:
        with silence():
            from bitsandbytes.optim import AdamW8bit
    except (ImportError, OSError, RuntimeError) as error:
        raise TetradError(
            "E3134", "adamw8bit needs the package bitsandbytes; pip install 'tetrad[bnb]', or choose adafactor"
        ) from error
    return AdamW8bit


@contextmanager
def silence() -> Iterator[None]:
    """Nothing that is imported inside can speak: bitsandbytes tells of itself, and of what it did not find."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def adafactor(groups: list[dict[str, Any]], weight_decay: float) -> Optimizer:
    """AdamW's second average as a row and a column, and no first: hardly any memory.  [Shazeer & Stern 2018]

    At the given rates; the paper's own rates by step and by size are left out, as every trainer leaves them out.
    """
    from transformers.optimization import Adafactor

    optimizer: Optimizer = Adafactor(
        groups, weight_decay=weight_decay, scale_parameter=False, relative_step=False, warmup_init=False
    )
    return optimizer


OPTIMIZERS: dict[Name, Callable[[list[dict[str, Any]], float], Optimizer]] = {
    "adamw": FusedAdamW,
    "adamw8bit": adamw_8bit,
    "adafactor": adafactor,
}
