"""The loss and the speed of a training as one line, and durations as people read them."""

import math
import time
from typing import TYPE_CHECKING

from tetrad.locales import Message, _

if TYPE_CHECKING:
    from tetrad.run.events import Trained


class TrainingSpeed:
    """The loss, smoothed over steps, and the speed of training since the last phase began."""

    def __init__(self) -> None:
        self.weighted_loss = 0.0
        self.weight = 0.0
        self.restart()

    def restart(self) -> None:
        """Measure the speed anew, since other work, such as previews, was done in between."""
        self.start_time = time.monotonic()
        self.first_step = 0

    def format_step(self, event: "Trained") -> str:
        """`loss 0.1234  2.1 steps/s  1:20 left`; the loss is an exponential moving average over about 50 steps."""
        if not self.first_step:  # the first step includes what is set up once, so it is not timed
            self.start_time, self.first_step = time.monotonic(), event.step
        if math.isfinite(event.loss):
            self.weighted_loss, self.weight = 0.98 * self.weighted_loss + 0.02 * event.loss, 0.98 * self.weight + 0.02
        loss = Message(_("loss {loss:.4f}"), loss=self.weighted_loss / self.weight if self.weight else event.loss)
        if event.step == self.first_step:
            return str(loss)
        speed = (event.step - self.first_step) / max(1e-9, time.monotonic() - self.start_time)
        if speed >= 1:
            speed_text = Message(_("{speed:.1f} steps/s"), speed=speed)
        else:
            speed_text = Message(_("{seconds:.1f} s/step"), seconds=1 / speed)
        time_left = Message(_("{duration} left"), duration=format_clock((event.steps - event.step) / speed))
        return f"{loss}  {speed_text}  {time_left}"


def format_clock(seconds: float) -> str:
    """`0:07`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
