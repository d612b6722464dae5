"""The gradients of an update, computed by several processes: each computes those of its samples.

Process 0 draws times, noise and order as it does alone, so that they depend on the seed and the step and not on the
number of processes. It sends each process its samples and the trained weights, adds up the gradients, and is the only
one that updates, averages and saves. A process where that fails says so before gradients are added up, so that the
weights are those of the step before.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.models.base import Model
from tetrad.models.device import is_memory_error
from tetrad.training.caption_cache import maybe_cache
from tetrad.training.gradients import Backward, PlainBackward, Portion, compute_gradients
from tetrad.training.processes import FOREVER, Packet, Processes
from tetrad.training.step import Condition, NoisyBatch
from tetrad.training.update import LossScaler, StandardUpdate

_PATIENCE_SECONDS, _PATIENCE_FACTOR = 120.0, 10.0  # for the other processes, after process 0 has finished
_NO_FAILURE, _OUT_OF_MEMORY, _FAILED = range(3)


@dataclass(frozen=True)
class Order:
    """What a process is to compute for an update."""

    portions: Sequence[Portion]
    is_trained: Sequence[bool]  # of each parameter; others have come to rest
    samples_at_once: int = 0
    loss_scale: float = 1.0
    gradient_checkpointing: bool = False
    learning_rates: Sequence[float] = ()  # of the optimizer's groups, where the process has a part of them
    is_first: bool = False  # of the updates since the run began or went back

    def encode(self) -> Packet:
        parts = [_encode_portion(portion) for portion in self.portions]
        values = {
            "portions": [values for values, _tensors in parts],
            "is_trained": list(self.is_trained),
            "samples_at_once": self.samples_at_once,
            "loss_scale": self.loss_scale,
            "gradient_checkpointing": self.gradient_checkpointing,
            "learning_rates": list(self.learning_rates),
            "is_first": self.is_first,
        }
        tensors = {f"{n}.{name}": each for n, (_values, found) in enumerate(parts) for name, each in found.items()}
        return Packet(values, tensors)

    @classmethod
    def decode(cls, packet: Packet, device: torch.device) -> "Order":
        portions: list[dict[str, Any]] = packet.values["portions"]
        decoded = [_decode_portion(values, f"{n}.", packet.tensors, device) for n, values in enumerate(portions)]
        return cls(**{**packet.values, "portions": decoded})


def _encode_portion(portion: Portion) -> tuple[dict[str, Any], dict[str, Tensor]]:
    noisy, batch = portion.noisy, portion.noisy.batch
    values = {
        "captions": list(batch.captions),
        "class_image_count": batch.class_image_count,
        "subjects": portion.subjects,
        "dropout_seed": portion.dropout_seed,
    }
    tensors = {"latents": batch.latents, "weight": batch.weight, "t": noisy.t, "target": noisy.target, "z_t": noisy.z_t}
    optional = {"micro_conditioning": batch.micro_conditioning, "mask": batch.mask}
    return values, tensors | {name: tensor for name, tensor in optional.items() if tensor is not None}


def _decode_portion(values: Any, prefix: str, tensors: Any, device: torch.device) -> Portion:
    found = {name.removeprefix(prefix): each.to(device) for name, each in tensors.items() if name.startswith(prefix)}
    batch = Batch(
        found["latents"],
        tuple(values["captions"]),
        found["weight"],
        found.get("micro_conditioning"),
        found.get("mask"),
        values["class_image_count"],
    )
    return Portion(
        NoisyBatch(batch, found["t"], found["target"], found["z_t"]), values["subjects"], values["dropout_seed"]
    )


def divide(portions: Sequence[Portion], count: int) -> list[list[Portion]]:
    """The samples of all portions in `count` shares, in order; the sizes of two shares differ by one sample at most."""
    total = sum(map(len, portions))
    shares: list[list[Portion]] = []
    for number in range(count):
        first, last, offset = total * number // count, total * (number + 1) // count, 0
        share = []
        for portion in portions:
            begin, end = max(first - offset, 0), min(last - offset, len(portion))
            if begin < end:
                share.append(portion.take(begin, end))
            offset += len(portion)
        shares.append(share)
    return shares


class Leader:
    """Process 0: shares the gradients of each update out and adds them up."""

    def __init__(self, processes: Processes, parameters: Sequence[Tensor], checkpointing: bool = False) -> None:
        self.processes, self.parameters = processes, parameters
        self.gradient_checkpointing = checkpointing

    def compute(
        self,
        model: Model,
        condition: Condition,
        objective: Objective,
        portions: Iterable[Portion],
        updater: Backward,
        samples_at_once: int,
    ) -> Tensor:
        """What `compute_gradients` does, by all processes.  An error of any of them is raised here."""
        own, *others = divide(list(portions), self.processes.count)
        scaler: LossScaler | None = getattr(updater, "loss_scaler", None)
        is_trained = [parameter.requires_grad for parameter in self.parameters]
        scale = scaler.scale.item() if scaler else 1.0
        self.processes.is_busy = True
        for rank, share in enumerate(others, start=1):
            order = Order(share, is_trained, samples_at_once, scale, self.gradient_checkpointing)
            self.processes.send(rank, order.encode())
        self.processes.broadcast(self.parameters)
        start = time.monotonic()
        total, error = _attempt(lambda: compute_gradients(model, condition, objective, own, updater, samples_at_once))
        patience = timedelta(seconds=_PATIENCE_SECONDS + _PATIENCE_FACTOR * (time.monotonic() - start))
        failures, has_gradient = _agree(self.processes, self.parameters, error, patience)
        reason = self._explain(failures, error) if any(failures) else None
        if reason is None:
            total = _add_up(self.processes, self.parameters, has_gradient, total)
        self.processes.is_busy = False
        if reason is not None:
            raise reason
        if isinstance(updater, StandardUpdate):
            updater.note_loss(total)
        return total

    def _explain(self, failures: Sequence[int], error: Exception | None) -> Exception:
        """The error of the first process that has failed, this one's own before all; a lack of memory where that is
        all.
        """
        failed = [rank for rank, failure in enumerate(failures) if rank and failure == _FAILED]
        reasons = {rank: self.processes.receive(rank).values["reason"] for rank in failed}
        if error is not None:
            return error
        if not reasons:
            return MemoryError("a process of the run is out of memory")
        number, reason = next(iter(reasons.items()))
        return failure_error(number, reason)


def failure_error(number: int, reason: str) -> TetradError:
    """E8005, for an error of another process."""
    return TetradError("E8005", _("process {number} of the run has failed: {reason}"), number=number, reason=reason)


class Follower:
    """A process that computes the gradients of its samples whenever process 0 sends some."""

    def __init__(
        self,
        processes: Processes,
        model: Model,
        objective: Objective,
        parameters: Sequence[Tensor],
        enable_gradient_checkpointing: Callable[[], None],
    ) -> None:
        self.processes, self.model, self.objective, self.parameters = processes, model, objective, parameters
        self.enable_gradient_checkpointing = enable_gradient_checkpointing
        self.condition = maybe_cache(model, model.condition)
        self.is_checkpointing = False

    def follow(self, packet: Packet, device: torch.device) -> None:
        """Do what a packet says."""
        order = Order.decode(packet, device)
        self.processes.broadcast(self.parameters)
        self._prepare(order)
        total, error = _attempt(
            lambda: compute_gradients(
                self.model,
                self.condition,
                self.objective,
                order.portions,
                PlainBackward(order.loss_scale),
                order.samples_at_once,
            )
        )
        failures, has_gradient = _agree(self.processes, self.parameters, error, FOREVER)
        if not any(failures):
            _add_up(self.processes, self.parameters, has_gradient, total.to(device))
        elif failures[self.processes.rank] == _FAILED:
            reason = str(error.sentence) if isinstance(error, TetradError) else repr(error)
            self.processes.send(0, Packet({"reason": reason}))
        for parameter in self.parameters:
            parameter.grad = None

    def _prepare(self, order: Order) -> None:
        """Freeze what has come to rest, and recompute activations where process 0 does."""
        if [parameter.requires_grad for parameter in self.parameters] != list(order.is_trained):
            for parameter, is_trained in zip(self.parameters, order.is_trained, strict=True):
                parameter.requires_grad_(is_trained)
            self.condition = maybe_cache(self.model, self.model.condition)
        if order.gradient_checkpointing and not self.is_checkpointing:
            self.enable_gradient_checkpointing()
            self.is_checkpointing = True


def _attempt(compute: Callable[[], Tensor]) -> tuple[Tensor, Exception | None]:
    """The loss, or the error."""
    try:
        return compute(), None
    except Exception as error:
        return torch.zeros(()), error


def _agree(
    processes: Processes, parameters: Sequence[Tensor], error: Exception | None, patience: timedelta
) -> tuple[list[int], list[bool]]:
    """How each process has failed, and which parameters have a gradient in any of them."""
    flags = torch.zeros(processes.count + len(parameters), dtype=torch.uint8)
    if error is not None:
        flags[processes.rank] = _OUT_OF_MEMORY if is_memory_error(error) else _FAILED
    for number, parameter in enumerate(parameters, start=processes.count):
        flags[number] = parameter.grad is not None
    highest = processes.take_highest(flags, patience).tolist()
    return highest[: processes.count], list(map(bool, highest[processes.count :]))


def _add_up(processes: Processes, parameters: Sequence[Tensor], has_gradient: Sequence[bool], total: Tensor) -> Tensor:
    """Give process 0 the sums of all gradients and of all losses.

    A parameter that has no gradient anywhere keeps none, since an optimizer treats a gradient of 0 as another one.
    """
    gradients = []
    for parameter, is_used in zip(parameters, has_gradient, strict=True):
        if is_used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    total = total.float().clone()
    processes.add_up([*gradients, total])
    return total
