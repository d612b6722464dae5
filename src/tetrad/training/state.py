"""What a run has to keep in order to continue exactly: trained weights, optimizer state, average and loss scale."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from tetrad.training.ema import Ema
from tetrad.training.update import LossScaler

_GROUP = "group"
_GIVEN = ("params", "lr")  # what the run gives a group, not the optimizer


@dataclass(frozen=True)
class TrainingState:
    """Tensors by name, and the numbers, texts and None that an optimizer keeps beside its tensors, for JSON.

    Trained tensors keep their own dtype, float32, whatever the precision of the result file.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any] = field(default_factory=dict)


def capture_state(
    parameters: Sequence[Tensor], optimizer: Optimizer, ema: Ema | None = None, loss_scaler: LossScaler | None = None
) -> TrainingState:
    """The state after an update.  Its tensors are the live ones: write them before the next update."""
    tensors = {f"trained.{number}": parameter.detach() for number, parameter in enumerate(parameters)}
    values: dict[str, Any] = {}
    for name, value in (*_optimizer_entries(optimizer), *_group_entries(optimizer)):
        (tensors if isinstance(value, Tensor) else values)[name] = value
    if ema is not None:
        tensors |= {f"average.{number}": average for number, average in enumerate(ema.average)}
        values["average.steps"] = ema.steps
    if loss_scaler is not None:
        tensors |= {"loss_scale": loss_scaler.scale, "loss_scale.good_steps": loss_scaler.good_steps}
    return TrainingState(tensors, values)


@torch.no_grad()
def restore_state(
    state: TrainingState,
    parameters: Sequence[Tensor],
    optimizer: Optimizer,
    ema: Ema | None = None,
    loss_scaler: LossScaler | None = None,
) -> None:
    """Set everything as it was captured.  KeyError or RuntimeError where the state is of another run."""
    _copy_all(state, "trained", parameters)
    if ema is not None:
        _copy_all(state, "average", ema.average)
        ema.steps = state.values["average.steps"]
    if loss_scaler is not None:
        loss_scaler.scale.copy_(state.tensors["loss_scale"])
        loss_scaler.good_steps.copy_(state.tensors["loss_scale.good_steps"])
    by_parameter: dict[int, dict[str, Any]] = {}
    for name, value in (*state.tensors.items(), *state.values.items()):
        owner, _dot, rest = name.partition(".")
        if owner == "optimizer":
            number, _dot, key = rest.partition(".")
            by_parameter.setdefault(int(number), {})[key] = value.clone() if isinstance(value, Tensor) else value
    optimizer.load_state_dict({"state": by_parameter, "param_groups": optimizer.state_dict()["param_groups"]})
    _restore_dtypes(optimizer, by_parameter)
    _restore_groups(optimizer, state)


def _optimizer_entries(optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    """What an optimizer keeps for each parameter; bitsandbytes puts its tensors into a dict, and reads them without."""
    for number, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            for inner_key, inner in value.items() if isinstance(value, Mapping) else [(key, value)]:
                yield f"optimizer.{number}.{inner_key}", inner


def _group_entries(optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    """What an optimizer keeps for each group and has changed since it was made, such as the rate that it has found."""
    for number, group in enumerate(optimizer.param_groups):
        for key, value in group.items():
            is_changed = key not in optimizer.defaults or optimizer.defaults[key] != value
            if key not in _GIVEN and is_changed:
                yield f"{_GROUP}.{number}.{key}", value


def _restore_dtypes(optimizer: Optimizer, by_parameter: Mapping[int, Mapping[str, Any]]) -> None:
    """Give the state its own dtypes, where torch has made float32 of bfloat16 because the parameter is float32."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, entries in by_parameter.items():
        loaded = optimizer.state[parameters[number]]
        for key, value in entries.items():
            if isinstance(value, Tensor) and isinstance(loaded.get(key), Tensor) and loaded[key].dtype != value.dtype:
                loaded[key] = value.to(loaded[key].device)


def _restore_groups(optimizer: Optimizer, state: TrainingState) -> None:
    """Set what the optimizer keeps for each group; what is not in the state is as it was made."""
    entries = {**state.tensors, **state.values}
    for number, group in enumerate(optimizer.param_groups):
        device = group["params"][0].device
        for key in [key for key in group if key not in _GIVEN]:
            if key in optimizer.defaults:
                group[key] = optimizer.defaults[key]
            else:
                del group[key]
        prefix = f"{_GROUP}.{number}."
        for name, value in entries.items():
            if name.startswith(prefix):
                group[name.removeprefix(prefix)] = value.to(device).clone() if isinstance(value, Tensor) else value


def _copy_all(state: TrainingState, kind: str, targets: Sequence[Tensor]) -> None:
    """Copy the tensors of a kind; a shape that differs is an error, where `copy_` would repeat the tensor."""
    found = sum(name.startswith(f"{kind}.") for name in state.tensors)
    if found != len(targets):
        raise RuntimeError(f"there are {found} tensors of {kind}, not {len(targets)}")
    for number, target in enumerate(targets):
        source = state.tensors[f"{kind}.{number}"]
        if source.shape != target.shape:
            raise RuntimeError(f"{kind}.{number} has the shape {tuple(source.shape)}, not {tuple(target.shape)}")
        target.copy_(source)
