"""Training a network whose weights, gradients and optimizer state are divided among the processes of a run.

Each process updates and averages its own part. Process 0 tells the others what all of them do next, gathers the whole
network for itself where it predicts outside of an update, as for previews, and gathers the state for files, which are
those of a run in one process.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tetrad.diffusion.objective import Objective
from tetrad.errors import TetradError
from tetrad.methods.base import Adapter, ParamGroup
from tetrad.models.base import Model, denoiser_of
from tetrad.training.ema import Ema
from tetrad.training.gradients import Backward, Portion, join_portions
from tetrad.training.processes import Packet, Processes, lost_process_error
from tetrad.training.shard_owner import ShardOwner
from tetrad.training.shards import Shards
from tetrad.training.shared_gradients import Leader, Order, divide
from tetrad.training.state import TrainingState
from tetrad.training.step import Condition
from tetrad.training.update import LossScaler, StandardUpdate

TASK = "task"


@dataclass(frozen=True)
class UpdateSettings:
    """What all processes must know in order to make the same updates."""

    optimizer: str
    weight_decay: float
    optimizer_args: Sequence[str]
    block_rates: str
    max_grad_norm: float
    ema: float


def split_into_passes(portions: Iterable[Portion], samples_at_once: int) -> list[Portion]:
    """The samples of each pass through the network; a larger portion is divided, smaller ones are joined."""
    passes: list[Portion] = []
    for portion in join_portions(portions, samples_at_once):
        size = samples_at_once or len(portion)
        passes += [portion.take(begin, min(begin + size, len(portion))) for begin in range(0, len(portion), size)]
    return passes


def fill_up(shares: Sequence[list[Portion]]) -> list[list[Portion]]:
    """The shares with as many passes each: what is missing is a sample of weight 0, whose gradients are 0."""
    sample = next(portion for share in shares for portion in share).take(0, 1)
    batch = replace(sample.noisy.batch, weight=torch.zeros_like(sample.noisy.batch.weight))
    filler = replace(sample, noisy=replace(sample.noisy, batch=batch))
    count = max(map(len, shares))
    return [[*share, *[filler] * (count - len(share))] for share in shares]


class ShardedLeader(Leader):
    """Process 0: tells the others what to do, and does it with them."""

    def __init__(
        self,
        processes: Processes,
        model: Model,
        find_failure: Callable[[], TetradError | None] = lambda: None,
        checkpointing: bool = False,
    ) -> None:
        self.network = denoiser_of(model)
        self.shards = Shards(self.network, processes)
        self.owner = ShardOwner(self.shards, model.dtype)
        self.find_failure = find_failure  # why another process has ended
        self.is_whole = False  # whether this process has the whole network
        self._updater: Backward | None = None
        super().__init__(processes, self.shards.parameters, checkpointing)
        self.network.register_forward_pre_hook(lambda *_call: self.gather(), prepend=True)
        self.network.register_state_dict_pre_hook(lambda *_call: self.release())  # type: ignore[no-untyped-call]
        self.network.register_state_dict_post_hook(  # type: ignore[no-untyped-call]
            lambda *call: self._fill_in(*call)
        )

    def tell(
        self, task: str, values: Mapping[str, Any] | None = None, tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        """Let the others do something.  E8004 where they cannot, because an update has failed."""
        if self.processes.is_busy:
            raise lost_process_error()
        for rank in range(1, self.processes.count):
            self.processes.send(rank, Packet({TASK: task, **(values or {})}, tensors or {}))

    def gather(self) -> None:
        """Have the whole network, unless an update makes each block whole when it is needed."""
        if self.is_whole or self.processes.is_busy:
            return
        self.tell("visit_blocks")
        self.shards.make_whole()
        self.is_whole = True

    def release(self) -> None:
        """Have the own part only."""
        if self.is_whole:
            self.shards.divide_again()
            # It has recorded in which order blocks were computed, and would fetch them so in the next backward pass.
            self.network.reset_iter_state()  # type: ignore[operator]
            self.is_whole = False

    def change_parts(self, task: str) -> None:
        """Let all processes do one of `PART_TASKS`."""
        self.release()
        self.tell(task)
        self.owner.do(task)

    def compute(
        self,
        model: Model,
        condition: Condition,
        objective: Objective,
        portions: Iterable[Portion],
        updater: Backward,
        samples_at_once: int,
    ) -> Tensor:
        """What `compute_gradients` does, by all processes, each of which then has its part of the gradients.

        An error of any of them ends the run, since the others wait in the middle of a pass.
        """
        assert isinstance(updater, StandardUpdate)
        shares = [split_into_passes(each, samples_at_once) for each in divide(list(portions), self.processes.count)]
        own, *others = fill_up(shares)
        self.release()
        scale = updater.loss_scaler.scale.item() if updater.loss_scaler else 1.0
        order = Order(
            (),
            [parameter.requires_grad for parameter in self.parameters],
            loss_scale=scale,
            gradient_checkpointing=self.gradient_checkpointing,
            learning_rates=[group["lr"] for group in updater.optimizer.param_groups],
            is_first=updater is not self._updater,
        )
        for rank, share in enumerate(others, start=1):
            packet = replace(order, portions=share).encode()
            self.processes.send(rank, replace(packet, values={TASK: "update", **packet.values}))
        self.processes.is_busy = True
        try:
            total = self.shards.compute(model, condition, objective, own, updater)
        except TetradError as error:
            raise self.find_failure() or error from error
        self.processes.is_busy = False
        self._updater = updater
        updater.note_loss(total)
        return total

    def capture(self, optimizer: Optimizer, ema: Ema | None, loss_scaler: LossScaler | None) -> TrainingState:
        """The same state as in one process."""
        self.tell("capture")
        return self.owner.capture(optimizer, ema, loss_scaler)

    def restore(
        self, state: TrainingState, optimizer: Optimizer, ema: Ema | None, loss_scaler: LossScaler | None
    ) -> None:
        """Set everything as it was captured, by however many processes.

        KeyError or RuntimeError where the state is of another run.
        """
        shapes = [state.tensors[f"trained.{number}"].shape for number in range(len(self.shards.shapes))]
        if shapes != self.shards.shapes:
            raise RuntimeError("the trained tensors have other shapes")
        self.release()
        small = {name: tensor for name, tensor in state.tensors.items() if not tensor.dim()}
        names = {"names": list(state.tensors), "values": dict(state.values)}
        self.tell("restore", names, small)
        self.owner.restore(state.tensors, state.values, optimizer, ema, loss_scaler)

    def _fill_in(self, module: nn.Module, content: dict[str, Any], prefix: str, _metadata: object) -> None:
        """Put whole tensors into the network's state dict."""
        self.tell("give_weights")
        for name, own, shape in zip(self.shards.names, self.shards.parameters, self.shards.shapes, strict=True):
            content[prefix + name] = self.shards.collect(own, shape)


class ShardedEma(Ema):
    """An average of which each process has its part."""

    def __init__(self, leader: ShardedLeader, decay: float) -> None:
        super().__init__(leader.parameters, decay)
        self.leader = leader

    def swap(self, parameters: Iterable[Tensor]) -> None:
        self.leader.release()
        self.leader.tell("swap_average")
        super().swap(parameters)


@dataclass(frozen=True)
class ShardedAdapter:
    """An adapter of whose parameters this process trains its part."""

    whole: Adapter
    shards: Shards
    leader: ShardedLeader | None = None  # None in other processes than 0

    @property
    def has_constraint(self) -> bool:
        return self.whole.has_constraint

    def groups(self) -> list[ParamGroup]:
        (group,) = self.whole.groups()
        return [replace(group, parameters=self.shards.parameters)]

    def weights(self) -> Any:
        """The whole weights, on the CPU where they are divided."""
        return self.whole.weights()

    def after_update(self) -> None:
        self.whole.after_update()

    def detach(self) -> None:
        raise NotImplementedError("the network stays divided until its processes end")

    def keep_original(self) -> None:
        assert self.leader
        self.leader.change_parts("keep_original")

    @contextmanager
    def without_training(self) -> Iterator[None]:
        assert self.leader
        self.leader.change_parts("use_original")
        try:
            yield
        finally:
            self.leader.change_parts("use_trained")
