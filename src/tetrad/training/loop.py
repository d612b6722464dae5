"""The loop: a generator that yields after every update.  Whoever drives it decides what to log, save or stop."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator, stratified
from tetrad.errors import TetradError
from tetrad.models.base import Model, precision
from tetrad.training.schedules import Schedule, constant
from tetrad.training.step import Condition, denoising_loss


@dataclass(frozen=True)
class Step:
    """One update done: its number from 1, the mean loss of its samples, the gradient's norm before clipping.

    The learning rate is that of the first group.
    """

    number: int
    loss: float
    grad_norm: float
    learning_rate: float


def training_steps(
    model: Model,
    condition: Condition,
    objective: Objective,
    updates: Iterable[Sequence[Batch]],
    optimizer: Optimizer,
    *,
    seed: int,
    samples_before: int = 0,
    max_grad_norm: float = 1.0,
    schedule: Schedule = constant,
) -> Iterator[Step]:
    """An update for each item of `updates`, whose batches are accumulated as if they were one.

    Raises E7001 before the update where a loss or a gradient is not a number, so that what was learned stays good.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    rates = [group["lr"] for group in optimizer.param_groups]
    drawn = samples_before
    for number, batches in enumerate(updates, start=1):
        total = torch.zeros(())
        samples = sum(len(batch.weight) for batch in batches)
        for micro, batch in enumerate(batches):
            u = stratified(seed, drawn, len(batch.weight))
            drawn += len(batch.weight)
            with precision(model):
                losses = denoising_loss(
                    model, condition, objective, batch, u, generator(seed, number, f"noise {micro}")
                )
                loss = (batch.weight * losses).sum() / samples
            loss.backward()  # type: ignore[no-untyped-call]
            total = total.to(loss.device) + loss.detach()
        set_rates(optimizer, rates, schedule(number))
        norm = update(optimizer, parameters, max_grad_norm, number)
        yield Step(number, total.item(), norm, optimizer.param_groups[0]["lr"])


def update(optimizer: Optimizer, parameters: list[nn.Parameter], max_grad_norm: float, number: int) -> float:
    """Clip, step, forget the gradients; the gradient's norm before clipping."""
    norm: Tensor = nn.utils.clip_grad_norm_(parameters, max_grad_norm)
    if not norm.isfinite():
        advice = "lower the learning rate, by three to begin with"
        raise TetradError("E7001", f"the loss is no longer a number at step {number}; {advice}")
    optimizer.step()
    optimizer.zero_grad()
    return norm.item()


def set_rates(optimizer: Optimizer, rates: Sequence[float], factor: float) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor
