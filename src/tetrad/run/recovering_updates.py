"""Updates that go on after a step that gave NaN, or that needed more memory than there is; of any kind of training."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from torch import Tensor
from torch.optim import Optimizer

from tetrad.models import device as devices
from tetrad.run.events import Note
from tetrad.run.recovery import Recovery
from tetrad.run.resume.points import read_newest_point
from tetrad.training.ema import Ema
from tetrad.training.loop import Step, loss_is_nan
from tetrad.training.reading import read_together
from tetrad.training.state import TrainingState, capture_state, restore_state
from tetrad.training.update import LossScaler


class RecoveringUpdates(ABC):
    """What updates change, their state, and `run_from`; a subclass says what one update is."""

    optimizer: Optimizer
    loss_scaler: LossScaler | None
    ema: Ema | None
    points: Path  # the folder of the run's resume points
    recovery: Recovery

    @property
    @abstractmethod
    def parameters(self) -> Sequence[Tensor]:
        """What is trained."""

    @abstractmethod
    def update_from(self, done: int) -> Iterator[Step]:
        """The updates after `done` steps; from one whose loss or gradient is NaN on, they change nothing."""

    @property
    def max_unread(self) -> int:
        """How many steps may be done before the first of them is read: none where each waits for the device anyway."""
        return 0

    @abstractmethod
    def count_divisible(self, done: int) -> int:
        """How many samples the update after `done` has that can be computed one after the other; 1 for none."""

    @abstractmethod
    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass from now on."""

    def capture(self) -> TrainingState:
        """What the updates until now have changed, and what the run has decided."""
        state = capture_state(self.parameters, self.optimizer, self.ema, self.loss_scaler)
        return replace(state, values={**state.values, **self.recovery.as_values()})

    def restore(self, state: TrainingState) -> None:
        """Set everything as it was captured."""
        self.restore_weights(state)
        self.recovery.restore(state.values)
        if self.recovery.gradient_checkpointing:
            self.enable_gradient_checkpointing()

    def restore_weights(self, state: TrainingState) -> None:
        """Set weights, optimizer, average and loss scale as they were captured."""
        restore_state(state, self.parameters, self.optimizer, self.ema, self.loss_scaler)

    def run_from(
        self, done: int, is_due: Callable[[int], bool] = lambda step: False
    ) -> Iterator[Sequence[Step] | Note]:
        """The updates after `done` steps, and what becomes of one that gives NaN or needs more memory than there is.

        Updates that are read together come together; the weights are those of the last one. It is one of those after
        which something `is_due`. E7001 where NaN comes too often, and the error itself where nothing is left that would
        save memory.
        """
        while True:
            try:
                for steps in read_together(self.update_from(done), self.max_unread, is_due):
                    if good := list(takewhile(lambda step: not step.has_diverged, steps)):
                        done = good[-1].number
                        yield good
                    if len(good) < len(steps):
                        yield from self.leave_out(done + 1)
                        done += 1
                        yield steps[len(good) : len(good) + 1]
                        break  # the updates start again, as they do in a resumed run
                else:
                    return
                continue
            except Exception as error:
                note = self.save_memory(done) if devices.is_memory_error(error) else None
                if note is None:
                    raise
            devices.free_memory(self.parameters[0].device)  # the error is gone, and with it what it kept in memory
            yield note

    def leave_out(self, step: int) -> Iterator[Note]:
        """Say that a step changes nothing; where that happens too often, go back to an earlier point once, else E7001.

        The step numbers go on: the steps between the point and this one stay left out, since the same weights and the
        same images would give the same NaN again.
        """
        yield self.recovery.leave_out(step)
        if not self.recovery.is_too_often(step):
            return
        point, _damaged = read_newest_point(self.points, before=self.recovery.first_in_a_row(step))
        if self.recovery.returned_at or point is None:
            raise loss_is_nan(step)
        self.restore_weights(point.state)
        yield self.recovery.go_back(step, point.step)

    def save_memory(self, done: int) -> Note | None:
        """Use less memory for the update after `done`, in a way that gives the same result; None if nothing is left."""
        divisible = self.count_divisible(done)
        size = min(divisible, self.recovery.samples_at_once or divisible)
        if size > 1:
            return self.recovery.use_smaller_parts(done + 1, size)
        if not self.recovery.gradient_checkpointing:
            self.enable_gradient_checkpointing()
            return self.recovery.use_checkpointing(done + 1)
        return None
