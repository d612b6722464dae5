"""The training loop: a generator that yields after every update.  Its caller decides what to log, save or stop."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.models.base import Model, get_model_device
from tetrad.training.caption_cache import maybe_cache
from tetrad.training.fused_backward import FusedBackwardUpdate
from tetrad.training.gradients import (
    ComputeGradients,
    Extend,
    StepRandomness,
    add_nothing,
    compute_gradients,
    draw_portions,
)
from tetrad.training.lr_schedules import Schedule
from tetrad.training.optimizers import get_learning_rate, start_training
from tetrad.training.step import Condition
from tetrad.training.stochastic_rounding import make_rounding
from tetrad.training.update import HalfUpdate, LossScaler, MeasureNorm, StandardUpdate, create_state


@dataclass(frozen=True)
class Step:
    """One finished update.  Only reading what is on the device waits for it."""

    number: int  # from 1
    learning_rates: tuple[float, ...]  # one for each of the optimizer's groups
    loss_on_device: Tensor
    norm_on_device: Tensor
    diverged_on_device: Tensor
    time: float = field(default_factory=time.time)  # when it was done, as far as the host knows

    @property
    def loss(self) -> float:
        """The sum of the samples' weighted losses, divided by the number of samples that are not class images."""
        return self.loss_on_device.item()

    @property
    def grad_norm(self) -> float:
        """The norm of all gradients before clipping."""
        return self.norm_on_device.item()

    @property
    def has_diverged(self) -> bool:
        """Whether the loss or a gradient was NaN or Inf, in this step or before, so that this step changed nothing.

        float16's usual overflows do not count; they are skipped without a word.
        """
        return bool(self.diverged_on_device.item())


def training_steps(
    model: Model,
    condition: Condition,
    objective: Objective,
    updates: Iterable[Sequence[Batch]],
    optimizer: Optimizer,
    *,
    seed: int,
    schedules: Sequence[Schedule] = (),
    updates_before: int = 0,
    samples_before: int = 0,
    max_grad_norm: float = 1.0,
    fused_backward: bool = False,
    samples_at_once: int = 0,
    loss_scaler: LossScaler | None = None,
    after_update: Callable[[], None] | None = None,
    extend: Extend = add_nothing,
    compute: ComputeGradients = compute_gradients,
    measure_norm: MeasureNorm | None = None,
) -> Iterator[Step]:
    """An update for each item of `updates`, whose batches are accumulated as if they were one.

    `updates_before` and `samples_before` count what was trained before this call. Each of the optimizer's groups
    follows its schedule, or keeps its learning rate without schedules; once a schedule is finished, the group's
    gradients are not computed any more. With `fused_backward` each parameter is updated, and its gradient freed, during
    the backward pass; this needs `max_grad_norm` 0 and keeps the activations of all batches of an update at once.
    For a float16 model a loss scaler is made unless one is given. `samples_at_once` is how many samples a forward pass
    has, 0 for those of a batch: a larger batch is computed in parts and smaller ones together, with the same noise and
    times, and the same loss but for rounding and for dropout inside the network. `extend` may add samples to each
    batch, such as preserved ones. `compute` says who computes the gradients, and `measure_norm` what their norm is
    where this process has only a part of them.
    A step whose loss or gradient is NaN or Inf changes nothing, and neither does any step after it, so that the host
    need not wait for the device to know; begin again after that step. `after_update` is not called then, and to know
    that, the host does wait where there is one. Raises HalfUpdate where an update fails in the middle; any other error
    leaves the weights as they were before the step.
    """
    loss_scaler = loss_scaler or make_loss_scaler(model)
    rounding = make_rounding(optimizer, seed)
    updater = (
        FusedBackwardUpdate(optimizer, max_grad_norm, loss_scaler, rounding)
        if fused_backward
        else StandardUpdate(optimizer, max_grad_norm, loss_scaler, rounding, measure_norm)
    )
    samples_seen = samples_before
    try:
        for step, batches in enumerate(updates, start=updates_before + 1):
            if set_learning_rates(optimizer, schedules, step):
                condition = maybe_cache(model, condition)
            if rounding:
                rounding.step_number = step
            if step == updates_before + 1:
                create_state(optimizer)
                start_training(optimizer)
            portions = draw_portions(model, objective, batches, StepRandomness(seed, step, samples_seen), extend)
            total = compute(model, condition, objective, portions, updater, samples_at_once)
            samples_seen += sum(len(batch.weight) for batch in batches)
            norm, diverged, skipped = updater.finish()
            if after_update and not skipped:
                after_update()
            updater.has_begun = False
            yield Step(step, tuple(map(get_learning_rate, optimizer.param_groups)), total, norm, diverged)
    except Exception as error:
        if updater.has_begun:
            raise HalfUpdate from error
        raise
    finally:
        updater.close()


def make_loss_scaler(model: Model) -> LossScaler | None:
    """The loss scaling that a model's dtype needs: none, unless it is float16."""
    return LossScaler(get_model_device(model)) if model.dtype == torch.float16 else None


def loss_is_nan(step: int) -> TetradError:
    """E7001, for a loss or a gradient that is NaN or Inf."""
    template = _(
        "the loss or its gradient is NaN or Inf at step {step}; lower the learning rate, for example to a third"
    )
    return TetradError("E7001", template, step=step)


def set_learning_rates(optimizer: Optimizer, schedules: Sequence[Schedule], step: int) -> bool:
    """Set each group's learning rate for a step; returns whether a group is finished and was frozen by this call."""
    any_frozen = False
    for group, schedule in zip(optimizer.param_groups, schedules, strict=False):
        group["lr"] = schedule(step)
        if schedule.is_finished(step) and any(parameter.requires_grad for parameter in group["params"]):
            any_frozen = True
            for parameter in group["params"]:
                parameter.requires_grad_(False)
                parameter.grad = None
    return any_frozen
