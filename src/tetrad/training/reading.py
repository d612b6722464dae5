"""Reading what steps leave on the device: several steps in one transfer, so that the host seldom waits for it."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from tetrad.training.loop import Step
from tetrad.training.update import HalfUpdate

MAX_UNREAD = 15  # steps, so that 16 are read together
_EARLIER_STEPS = 8  # for each unread step, so that the first steps of a run are seen one by one
_MAX_SECONDS = 1.0


def read_together(
    steps: Iterator[Step], max_unread: int, is_due: Callable[[int], bool] = lambda step: False
) -> Iterator[list[Step]]:
    """The steps in groups, each read in one transfer as soon as something `is_due` after its last step.

    It is read after a second at the latest, and before there are more than `max_unread` unread steps. No step of a
    later group has been computed yet, so that the weights are those of the group's last step. If a step fails, those
    before it are read first; but not if it has changed a part of the weights.
    """
    unread: list[Step] = []
    count, start = 0, time.monotonic()
    try:
        for step in steps:
            unread.append(step)
            count += 1
            is_full = len(unread) > min(max_unread, count // _EARLIER_STEPS)
            if is_full or time.monotonic() - start >= _MAX_SECONDS or is_due(step.number):
                group, unread = read_results(unread, start), []
                yield group
                start = time.monotonic()
    except HalfUpdate:
        raise
    except Exception:
        if unread:
            yield read_results(unread, start)
        raise
    if unread:
        yield read_results(unread, start)


def read_results(steps: Sequence[Step], start: float) -> list[Step]:
    """The same steps with their results on the host; each has taken an equal share of the time since `start`."""
    results = [
        torch.stack([step.loss_on_device, step.norm_on_device, step.diverged_on_device]).detach() for step in steps
    ]
    rows = torch.stack(results).cpu()
    now, seconds = time.time(), (time.monotonic() - start) / len(steps)
    return [
        replace(step, loss_on_device=loss, norm_on_device=norm, diverged_on_device=diverged, time=now - later * seconds)
        for step, (loss, norm, diverged), later in zip(steps, rows, reversed(range(len(steps))), strict=True)
    ]
