"""Learning rates over a run: schedulers, warm-up, schedules, and parts that stop early."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from transformers.optimization import (
    get_cosine_with_min_lr_schedule_with_warmup,
    get_inverse_sqrt_schedule,
    get_wsd_schedule,
)

from tetrad.settings.learning_rate import parse_learning_rate
from tetrad.training.lr_schedules import Decay, Schedule, make_schedule


def rates(schedule: Schedule, *steps: int) -> list[float]:
    return [schedule(step) for step in steps]


def scheduled(text: str, decay: Decay) -> Schedule:
    return make_schedule(parse_learning_rate(text), decay)


def constant(text: str) -> Schedule:
    return Schedule(parse_learning_rate(text))


def test_a_single_learning_rate_decays_and_a_schedule_does_not() -> None:
    assert rates(scheduled("1e-4", Decay("linear", 4)), 1, 2, 3, 4) == pytest.approx([1e-4, 0.75e-4, 0.5e-4, 0.25e-4])
    assert rates(scheduled("1e-4:-1", Decay("linear", 4)), 1, 4) == [1e-4, 1e-4]
    assert rates(scheduled("0.2:2, 0.1", Decay("cosine", 4, 2)), 1, 2, 3, 4) == [0.2, 0.2, 0.1, 0.1]


def test_a_schedule_is_finished_when_all_later_rates_are_0() -> None:
    share = constant("1e-4").stop_after(3)
    assert rates(share, 3, 4) == [1e-4, 0] and not share.is_finished(3) and share.is_finished(4)
    text = constant("1e-4:3, 0:-1")
    assert not text.is_finished(3) and text.is_finished(4)
    assert constant("0").is_finished(1) and not constant("0:3, 1e-4").is_finished(1)


def test_schedulers_start_at_1_and_end_at_0() -> None:
    assert [Decay("constant", 4)(step) for step in range(1, 5)] == [1.0] * 4
    assert [Decay("linear", 4)(step) for step in range(1, 5)] == [1.0, 0.75, 0.5, 0.25]
    assert [Decay("polynomial", 4)(step) for step in range(1, 6)] == [1.0, 0.75**2, 0.25, 0.25**2, 0.0]
    cosine = [Decay("cosine", 4)(step) for step in range(1, 6)]
    assert cosine[1] == pytest.approx((1 + 0.5**0.5) / 2)  # (1 + cos(π / 4)) / 2; linear would be 0.75
    assert cosine[0] == 1 and abs(cosine[2] - 0.5) < 1e-12 and abs(cosine[4]) < 1e-12
    again = [Decay("cosine_with_restarts", 6, cycles=3)(step) for step in range(1, 8)]
    assert again == pytest.approx([1, 0.5, 1, 0.5, 1, 0.5, 0])
    assert Decay("cosine", 1)(1) == 1.0


def test_warm_up_rises_in_equal_steps() -> None:
    assert [Decay("constant", 10, 3)(step) for step in range(1, 6)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def theirs(make: Callable[..., LambdaLR], steps: int, **settings: Any) -> list[float]:
    """The factors of a schedule of transformers, as sd-scripts uses it, at each update and the one after the last."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer, **settings)
    return [schedule.lr_lambdas[0](step) for step in range(steps + 1)]


def test_the_schedules_of_sd_scripts_have_its_rates() -> None:
    """Also in the warm-up, but for warmup_stable_decay with a minimum, which begins at the minimum there."""
    after = {"warmup_steps": 7, "warmup_from_zero": True}
    for name, ours, expected in (
        (
            "cosine_with_min_lr",
            Decay("cosine", 50, min_ratio=0.1, **after),
            theirs(
                get_cosine_with_min_lr_schedule_with_warmup, 50, num_warmup_steps=7, num_training_steps=50,
                num_cycles=0.5, min_lr_rate=0.1,
            ),
        ),
        (
            "inverse_sqrt",
            Decay("inverse_sqrt", 50, timescale=20, **after),
            theirs(get_inverse_sqrt_schedule, 50, num_warmup_steps=7, timescale=20),
        ),
        (
            "warmup_stable_decay",
            Decay("warmup_stable_decay", 50, decay_steps=15, **after),
            theirs(
                get_wsd_schedule, 50, num_warmup_steps=7, num_decay_steps=15, num_stable_steps=28,
                decay_type="cosine", num_cycles=0.5,
            ),
        ),
    ):  # fmt: skip
        assert [ours(step) for step in range(1, 52)] == pytest.approx(expected, abs=1e-12), name


def test_rex_is_onetrainers() -> None:
    """(1 - p) / (0.1 + 0.9 (1 - p)), then min + (1 - min) · f, with p = (s - w) / (T - w)."""
    ours = Decay("rex", 40, 4, min_ratio=0.2)
    for step in range(5, 42):
        remaining = 1 - (step - 1 - 4) / 36
        assert ours(step) == pytest.approx(0.2 + 0.8 * remaining / (0.1 + 0.9 * remaining))


def test_cosine_annealing_is_torchs_also_after_its_period() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=7, eta_min=0.1)
    ours = Decay("cosine_annealing", 20, timescale=7, min_ratio=0.2)
    for step in range(1, 21):
        assert 0.5 * ours(step) == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        schedule.step()
