"""What a run decides when a step gives NaN or memory runs out; it belongs to the run's state and is resumed with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tetrad.locales import Message, _, ngettext
from tetrad.run.events import Note

MAX_IN_A_ROW = 2  # steps with NaN that are left out one after the other; at the next one the run goes back
WINDOW, MAX_IN_WINDOW = 100, 10  # or at the next one after so many within so many steps
PointWish = Literal["now", "later", "usual"]  # when to save a resume point
_PREFIX = "recovery."


@dataclass
class Recovery:
    """The steps that were left out, whether the run has gone back, and how it saves memory."""

    left_out: list[int] = field(default_factory=list)  # steps whose loss or gradient was NaN or Inf
    returned_at: int = 0  # the step after which the run went back to an earlier resume point; 0 for never
    samples_at_once: int = 0  # in a forward pass; 0: the whole batch
    gradient_checkpointing: bool = False
    packs_convolutions: bool = False  # decided before the first step
    _point_due_after: int = -1  # the step after which a point is to be saved at once, because of a decision

    def as_values(self) -> dict[str, Any]:
        """Everything as values for JSON; a resume point keeps them."""
        return {f"{_PREFIX}{name}": value for name, value in vars(self).items() if not name.startswith("_")}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Set everything as it was in a resume point; those of earlier versions know no packed convolutions."""
        values = {f"{_PREFIX}packs_convolutions": False, **values}
        for name in vars(self):
            if not name.startswith("_"):
                setattr(self, name, values[f"{_PREFIX}{name}"])
        self.left_out = list(self.left_out)

    def leave_out(self, step: int) -> Note:
        """Note a step with NaN; returns the warning."""
        self.left_out = sorted({*self.left_out, step})
        template = _(
            "the loss or its gradient is NaN or Inf at step {step}; this step changes nothing, and training goes on"
        )
        return Note(Message(template, step=step), "W7001")

    def is_too_often(self, step: int) -> bool:
        """Whether a warning is not enough any more after this step, which was left out."""
        recent = [each for each in self.left_out if max(self.returned_at, step - WINDOW) < each]
        return step - self.first_in_a_row(step) >= MAX_IN_A_ROW or len(recent) > MAX_IN_WINDOW

    def first_in_a_row(self, step: int) -> int:
        """The first of the steps until this one that were left out without a step between them."""
        while step - 1 > self.returned_at and step - 1 in self.left_out:
            step -= 1
        return step

    def go_back(self, step: int, point_step: int) -> Note:
        """Note that the run takes the weights of an earlier point after a step; returns the warning."""
        self.returned_at = self._point_due_after = step
        template = _(
            "too many steps gave NaN or Inf: the run takes the weights, optimizer and average of step {point_step} and"
            " goes on with step {next_step}; what it trained in between is left out"
        )
        return Note(Message(template, point_step=point_step, next_step=step + 1), "W7002")

    def use_smaller_parts(self, step: int, size: int) -> Note:
        """Compute at most half of `size` samples at once, from this step on."""
        self.samples_at_once, self._point_due_after = -(-size // 2), step - 1
        template: str = ngettext(
            "there is not enough memory for {size} images at once at step {step}, so from now on {count} is computed at"
            " a time; batch, noise and times stay the same, and so does the result, but for rounding and for dropout"
            " inside the network",
            "there is not enough memory for {size} images at once at step {step}, so from now on {count} are computed"
            " at a time; batch, noise and times stay the same, and so does the result, but for rounding and for dropout"
            " inside the network",
            self.samples_at_once,
        )
        return Note(Message(template, size=size, step=step), "W6002")

    def use_checkpointing(self, step: int) -> Note:
        """Recompute activations instead of keeping them, from this step on."""
        self.gradient_checkpointing, self._point_due_after = True, step - 1
        template = _(
            "there is not enough memory at step {step}, so gradient checkpointing is turned on; steps take about a"
            " third longer, and the result stays the same"
        )
        return Note(Message(template, step=step), "W6002")

    def wish_for_point(self, step: int) -> PointWish:
        """When to save a resume point: at once after a decision, and not while the last step was left out.

        A decision about memory is made before a step, so the point of the step before it is saved with it, and a run
        that is killed within the step remembers it. Points of steps that changed nothing would take the place of the
        one to go back to.
        """
        if step == self._point_due_after:
            self._point_due_after = -1
            return "now"
        return "later" if step in self.left_out else "usual"
