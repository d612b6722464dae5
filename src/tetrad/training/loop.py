"""The loop: a generator that yields after every update.  Whoever drives it decides what to log, save or stop."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator, number, stratified
from tetrad.errors import TetradError
from tetrad.models.base import Model, device_of, precision
from tetrad.training.in_backward import InBackward
from tetrad.training.remember import settled
from tetrad.training.schedules import Schedule
from tetrad.training.step import Condition, denoising_loss
from tetrad.training.update import AtOnce, Scaling


@dataclass(frozen=True)
class Step:
    """One update done.  Reading its loss or its gradient's norm waits for the device; nothing else does."""

    number: int  # from 1
    learning_rate: float  # of the first group
    loss_on_device: Tensor
    norm_on_device: Tensor

    @property
    def loss(self) -> float:
        """The sum of its samples' weighted losses over the number of those that are of the subject."""
        return self.loss_on_device.item()

    @property
    def grad_norm(self) -> float:
        """Before clipping."""
        return self.norm_on_device.item()


def training_steps(
    model: Model,
    condition: Condition,
    objective: Objective,
    updates: Iterable[Sequence[Batch]],
    optimizer: Optimizer,
    *,
    seed: int,
    rates: Mapping[str, Schedule] | None = None,
    first: int = 0,
    samples_before: int = 0,
    max_grad_norm: float = 1.0,
    in_backward: bool = False,
    after_update: Callable[[], None] | None = None,
) -> Iterator[Step]:
    """An update for each item of `updates`, whose batches are accumulated as if they were one.

    `first` updates and `samples_before` samples were learned from before. A group of the optimizer follows the
    schedule of its name in `rates` or else keeps its rate; once its schedule rests its gradients are no longer
    computed. With `in_backward` each parameter is updated and its gradient freed as soon as there is one, for which
    there may be no clipping; the batches of an update then wait for each other. Raises E7001 where a gradient is
    not a number: at once on a CPU, after at most `LOOK` updates on an accelerator. No such gradient is ever
    applied, so what was learned stays good.
    """
    scaling = Scaling(device_of(model)) if model.dtype == torch.float16 else None
    updater = (InBackward if in_backward else AtOnce)(optimizer, max_grad_norm, scaling)
    watch = Watch(1 if device_of(model).type == "cpu" else LOOK)
    drawn = samples_before
    try:
        for step, batches in enumerate(updates, start=first + 1):
            if set_rates(optimizer, rates or {}, step):
                condition = settled(model, condition)
            losses = batch_losses(model, condition, objective, batches, Draws(seed, step, drawn))
            total = accumulated(losses, updater, device_of(model))
            drawn += sum(len(batch.weight) for batch in batches)
            norm, bad = updater.finish()
            watch.see(step, bad)
            if after_update:
                after_update()
            yield Step(step, optimizer.param_groups[0]["lr"], total, norm)
        watch.look()
    finally:
        updater.close()


@dataclass(frozen=True)
class Draws:
    """Which random numbers are a step's own."""

    seed: int
    step: int
    first: int  # samples drawn before it


def batch_losses(
    model: Model, condition: Condition, objective: Objective, batches: Sequence[Batch], draws: Draws
) -> Iterator[Tensor]:
    """Each batch's share of an update's loss: their sum is that of the weighted losses, a subject."""
    subjects = max(1, sum(batch.subjects for batch in batches))
    first = draws.first
    for micro, batch in enumerate(batches):
        u = stratified(draws.seed, first, len(batch.weight))
        first += len(batch.weight)
        noise = generator(draws.seed, draws.step, f"noise {micro}")
        torch.manual_seed(number(draws.seed, draws.step, f"dropout {micro}"))
        with precision(model):
            losses = denoising_loss(model, condition, objective, batch, u, noise)
            loss = (batch.weight * losses).sum() / subjects
        yield loss


def accumulated(losses: Iterable[Tensor], updater: AtOnce | InBackward, device: torch.device) -> Tensor:
    """Gradients of all of them added up; the sum of the losses.

    Updates during the backward can only be right in one for all: the activations of every batch wait for it.
    """
    total = torch.zeros((), device=device)
    if isinstance(updater, InBackward):
        total = sum(losses, total)
        updater.backward(total)
        return total.detach()
    for loss in losses:
        updater.backward(loss)
        total += loss.detach()
    return total


LOOK = 16


class Watch:
    """Looks at the device's verdicts now and then, since every look waits for the device."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.seen: list[tuple[int, Tensor]] = []

    def see(self, step: int, bad: Tensor) -> None:
        self.seen.append((step, bad))
        if len(self.seen) >= self.every:
            self.look()

    def look(self) -> None:
        """E7001 with the first step that went wrong since the last look."""
        seen, self.seen = self.seen, []
        verdicts = torch.stack([bad for _, bad in seen]).tolist() if seen else []
        for (step, _), bad in zip(seen, verdicts, strict=True):
            if bad:
                advice = "lower the learning rate, by three to begin with"
                raise TetradError("E7001", f"the loss is no longer a number at step {step}; {advice}")


def set_rates(optimizer: Optimizer, rates: Mapping[str, Schedule], step: int) -> bool:
    """Each group's rate at a step; whether a group has come to rest, whose gradients are not computed from now on."""
    rested = False
    for group in optimizer.param_groups:
        if (schedule := rates.get(group.get("name", ""))) is None:
            continue
        group["lr"] = schedule(step)
        if schedule.rests(step) and any(parameter.requires_grad for parameter in group["params"]):
            rested = True
            for parameter in group["params"]:
                parameter.requires_grad_(False)
                parameter.grad = None
    return rested
