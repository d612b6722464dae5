"""The updates of a run of a model, as its plan wants them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Size, Tensor
from torch.optim import Optimizer

from tetrad.data.batches import Batch, Batches
from tetrad.diffusion.objective import build_objective
from tetrad.methods.base import Adapter, ParamGroup, parameters_of
from tetrad.models import device as devices
from tetrad.models.base import Model, denoiser_of, get_model_device
from tetrad.models.packed_convolutions import pack_convolutions
from tetrad.run.events import Note
from tetrad.run.plan import Plan
from tetrad.run.recovering_updates import RecoveringUpdates
from tetrad.run.recovery import Recovery
from tetrad.training.caption_cache import CaptionCache
from tetrad.training.ema import Ema
from tetrad.training.gradients import (
    ComputeGradients,
    Extend,
    PlainBackward,
    StepRandomness,
    add_nothing,
    compute_gradients,
    draw_portions,
)
from tetrad.training.loop import Step, make_loss_scaler, training_steps
from tetrad.training.lr_schedules import Schedule
from tetrad.training.optimizers import create_optimizer, use_result
from tetrad.training.preservation import make_preservation
from tetrad.training.reading import MAX_UNREAD
from tetrad.training.sharded_training import ShardedEma, ShardedLeader
from tetrad.training.shared_gradients import Leader
from tetrad.training.state import TrainingState
from tetrad.training.step import Condition
from tetrad.training.update import LossScaler


@dataclass(frozen=True)
class Updates(RecoveringUpdates):
    """Everything that updates change, and what they are made from."""

    plan: Plan
    model: Model
    adapter: Adapter
    schedules: Sequence[Schedule]
    batches: Batches
    optimizer: Optimizer
    loss_scaler: LossScaler | None
    ema: Ema | None
    points: Path  # the folder of the run's resume points
    recovery: Recovery
    extend: Extend = add_nothing  # adds samples to each batch
    leader: Leader | None = None  # of the processes that share each update

    @property
    def parameters(self) -> Sequence[Tensor]:
        return parameters_of(self.adapter)

    @property
    def sharded_leader(self) -> ShardedLeader | None:
        """What leads the other processes where each of them has a part of the weights."""
        return self.leader if isinstance(self.leader, ShardedLeader) else None

    def capture(self) -> TrainingState:
        if not self.sharded_leader:
            return super().capture()
        state = self.sharded_leader.capture(self.optimizer, self.ema, self.loss_scaler)
        return replace(state, values={**state.values, **self.recovery.as_values()})

    def restore_weights(self, state: TrainingState) -> None:
        if self.sharded_leader:
            self.sharded_leader.restore(state, self.optimizer, self.ema, self.loss_scaler)
        else:
            super().restore_weights(state)

    def save_memory(self, done: int) -> Note | None:
        """Nothing where the processes share a pass: those that have memory wait in the middle of it."""
        return None if self.sharded_leader else super().save_memory(done)

    @property
    def waits_for_device(self) -> bool:
        """Whether each update waits for the device, or does so on a CPU, where that costs nothing."""
        knows_nan = getattr(self.optimizer, "_step_supports_amp_scaling", False)
        is_simple = knows_nan and not (self.loss_scaler or self.leader or self.needs_after_update)
        return get_model_device(self.model).type == "cpu" or not is_simple

    @property
    def needs_after_update(self) -> bool:
        return self.ema is not None or self.adapter.has_constraint

    @property
    def max_unread(self) -> int:
        return 0 if self.waits_for_device else MAX_UNREAD

    def count_divisible(self, done: int) -> int:
        """A fused backward keeps the activations of the whole batch, so smaller parts would not help there.

        Each of several processes has its share of them.
        """
        if self.plan.train.fused_backward:
            return 1
        sizes: Counter[Size] = Counter()
        for batch in self.batches.get_update_batches(done, self.plan.train.gradient_accumulation):
            sizes[batch.latents.shape[1:]] += len(batch.captions)
        return min(-(-sizes.total() // self.plan.train.processes), max(sizes.values()))

    def enable_gradient_checkpointing(self) -> None:
        devices.enable_gradient_checkpointing(self.model)
        if self.leader:
            self.leader.gradient_checkpointing = True

    def update_from(self, done: int) -> Iterator[Step]:
        """The training loop after `done` steps, as the plan wants it."""
        train = self.plan.train
        for parameter in self.parameters:
            parameter.requires_grad_(True)  # the loop freezes those whose learning rate has ended
        if self.recovery.packs_convolutions:
            pack_convolutions(denoiser_of(self.model))
        return training_steps(
            self.model,
            self.condition(),
            build_objective(self.plan.loss),
            self.batches_from(done),
            self.optimizer,
            seed=train.seed,
            schedules=self.schedules,
            updates_before=done,
            samples_before=self.batches.count_samples_before(done, train.gradient_accumulation),
            max_grad_norm=train.max_grad_norm,
            fused_backward=train.fused_backward,
            samples_at_once=self.recovery.samples_at_once,
            loss_scaler=self.loss_scaler,
            after_update=self.after_update if self.needs_after_update else None,
            extend=self.extend,
            compute=self.leader.compute if self.leader else compute_gradients,
            measure_norm=self.sharded_leader.shards.measure_norm if self.sharded_leader else None,
        )

    def compute_gradients(self, done: int, compute: ComputeGradients, condition: Condition) -> None:
        """Compute the gradients of the update after `done` steps, and discard them."""
        train = self.plan.train
        objective = build_objective(self.plan.loss)
        samples_before = self.batches.count_samples_before(done, train.gradient_accumulation)
        portions = draw_portions(
            self.model,
            objective,
            next(self.batches_from(done)),
            StepRandomness(train.seed, done + 1, samples_before),
            self.extend,
        )
        try:
            compute(self.model, condition, objective, portions, PlainBackward(), self.recovery.samples_at_once).item()
        finally:
            self.optimizer.zero_grad()

    def after_update(self) -> None:
        self.adapter.after_update()
        if self.ema is not None:
            with self.use_result():
                self.ema.update(self.parameters)

    @contextmanager
    def use_result(self) -> Iterator[None]:
        """A context in which the weights are the optimizer's result, within the method's constraints."""
        with use_result(self.optimizer, self.parameters) as is_changed:
            if is_changed:
                self.adapter.after_update()
            yield

    def condition(self) -> Condition:
        """How captions are encoded: from a cache, unless a text encoder is trained."""
        caption = next(iter(self.batches.samples)).captions.default_caption
        trains = self.model.condition([caption]).hidden_states.requires_grad
        return self.model.condition if trains else CaptionCache(self.model)

    def batches_from(self, done: int) -> Iterator[list[Batch]]:
        """The batches of each update, on the device; update n has the same batches in a continued run."""
        device, accumulation = get_model_device(self.model), self.plan.train.gradient_accumulation
        for number in range(done, self.plan.train.steps):
            yield [batch.to(device) for batch in self.batches.get_update_batches(number, accumulation)]


def make_updates(
    plan: Plan,
    model: Model,
    adapter: Adapter,
    groups: Sequence[ParamGroup],
    schedules: Sequence[Schedule],
    batches: Batches,
    points: Path,
    leader: Leader | None = None,
) -> Updates:
    """The updates with a new optimizer; `points` is the folder of the run's resume points, `leader` shares them out."""
    train = plan.train
    return Updates(
        plan,
        model,
        adapter,
        schedules,
        batches,
        create_optimizer(train.optimizer, groups, train.weight_decay, train.optimizer_args),
        make_loss_scaler(model),
        make_ema(adapter, train.ema, leader) if train.ema else None,
        points,
        Recovery(
            samples_at_once=train.samples_at_once,
            gradient_checkpointing=train.gradient_checkpointing,
            packs_convolutions=train.packs_convolutions,
        ),
        make_preservation(
            plan.preserve, plan.data.unmasked_prior_weight, model, adapter, plan.data.unmasked_probability
        ),
        leader,
    )


def make_ema(adapter: Adapter, decay: float, leader: Leader | None) -> Ema:
    """The average of what is trained, or of this process's part of it."""
    return ShardedEma(leader, decay) if isinstance(leader, ShardedLeader) else Ema(parameters_of(adapter), decay)
