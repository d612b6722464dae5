"""What each process of a sharded training does with its own part of the network."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Size, Tensor
from torch.optim import Optimizer

from tetrad.training.ema import Ema
from tetrad.training.shards import Shards
from tetrad.training.state import TrainingState, capture_state, restore_state
from tetrad.training.update import LossScaler

PART_TASKS = ("keep_original", "use_original", "use_trained")  # methods of ShardOwner


class ShardOwner:
    """What each process does with its own part when all do it."""

    def __init__(self, shards: Shards, dtype: torch.dtype) -> None:
        self.shards, self.dtype = shards, dtype
        self.original: list[Tensor] = []
        self.trained: list[Tensor] = []  # while the original weights are in use

    def do(self, task: str) -> None:
        """One of `PART_TASKS`, as a message names it."""
        assert task in PART_TASKS
        getattr(self, task)()

    @torch.no_grad()
    def keep_original(self) -> None:
        """A copy of the own part, in the precision of the model."""
        self.original = [parameter.detach().to(self.dtype, copy=True) for parameter in self.shards.parameters]

    @torch.no_grad()
    def use_original(self) -> None:
        self.trained = [parameter.detach().clone() for parameter in self.shards.parameters]
        for parameter, original in zip(self.shards.parameters, self.original, strict=True):
            parameter.copy_(original)

    @torch.no_grad()
    def use_trained(self) -> None:
        for parameter, trained in zip(self.shards.parameters, self.trained, strict=True):
            parameter.copy_(trained)
        self.trained = []

    def capture(self, optimizer: Optimizer, ema: Ema | None, loss_scaler: LossScaler | None) -> TrainingState:
        """The state of all processes, in process 0; its tensors are on the CPU."""
        own = capture_state(self.shards.parameters, optimizer, ema, loss_scaler)
        shape_of = self._find_shapes(optimizer)
        tensors = {
            name: self.shards.collect(tensor, shape_of(name)) if tensor.dim() else tensor
            for name, tensor in own.tensors.items()
        }
        return TrainingState(tensors, own.values)

    def restore(
        self,
        tensors: Mapping[str, Tensor | None],
        values: Mapping[str, Any],
        optimizer: Optimizer,
        ema: Ema | None,
        loss_scaler: LossScaler | None,
    ) -> None:
        """Set the own part of a state; its tensors are None where process 0 gives them."""
        shape_of, own = self._find_shapes(optimizer), {}
        for name, tensor in tensors.items():
            is_whole = tensor is not None and not tensor.dim()
            own[name] = tensor if is_whole else self.shards.distribute(tensor, shape_of(name), torch.float32)
        state = TrainingState({name: each for name, each in own.items() if each is not None}, values)
        restore_state(state, self.shards.parameters, optimizer, ema, loss_scaler)

    def _find_shapes(self, optimizer: Optimizer) -> Callable[[str], Size]:
        """The shape of a whole tensor of a state, by its name; the optimizer counts in the order of its groups."""
        numbers = {parameter: number for number, parameter in enumerate(self.shards.parameters)}
        order = [numbers[parameter] for group in optimizer.param_groups for parameter in group["params"]]

        def shape_of(name: str) -> Size:
            kind, _dot, rest = name.partition(".")
            number = int(rest.partition(".")[0])
            return self.shards.shapes[order[number] if kind == "optimizer" else number]

        return shape_of
