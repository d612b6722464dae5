"""Whether several processes make a run faster, measured before its first step."""

import time
from collections.abc import Callable, Iterator

import torch

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.models import device as devices
from tetrad.models.base import get_model_device
from tetrad.run.events import Note
from tetrad.run.processes.team import Team
from tetrad.run.updates import Updates
from tetrad.training.gradients import compute_gradients

_TRIES = 2  # the first one encodes captions and warms caches up


def check_speed(team: Team, updates: Updates, done: int) -> Iterator[Note]:
    """What several processes save in the update after `done`.  E3191 where one process alone would be faster."""
    try:
        alone, together = _measure(team, updates, done)
    except Exception as error:
        if not devices.is_memory_error(error):
            raise
        devices.free_memory(get_model_device(updates.model))
        return  # the training says how it saves memory
    values = {"count": team.count, "together": together, "alone": alone}
    if together >= alone:
        template = _(
            "{count} processes need {together:.2f} s for the gradients of an update, and one process needs"
            " {alone:.2f} s; leave out --processes, raise train.batch_size, or train anyway with --allow-slower"
        )
        raise TetradError("E3191", template, **values)
    template = _(
        "{count} processes need {together:.2f} s for the gradients of an update, and one process needs {alone:.2f} s:"
        " {factor:.2f} times as fast"
    )
    yield Note(Message(template, factor=alone / together, **values))


def _measure(team: Team, updates: Updates, done: int) -> tuple[float, float]:
    """The seconds in one process and in all, each the best of a few tries; the weights stay."""
    leader = updates.leader
    assert leader
    is_small = devices.count_unet_parameters(updates.model) < devices.SINGLE_THREAD_MAX_PARAMETERS
    condition, threads = updates.condition(), torch.get_num_threads()
    alone, together = [], []
    for _try in range(_TRIES):
        torch.set_num_threads(threads if is_small else team.threads_alone)
        try:
            alone.append(_time(lambda: updates.compute_gradients(done, compute_gradients, condition)))
        finally:
            torch.set_num_threads(threads)
        together.append(_time(lambda: updates.compute_gradients(done, leader.compute, condition)))
    return min(alone), min(together)


def _time(compute: Callable[[], None]) -> float:
    start = time.perf_counter()
    compute()
    return time.perf_counter() - start
