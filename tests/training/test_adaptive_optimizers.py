"""Optimizers of other packages: their trajectories, their state, schedule-free averages, and what is refused."""

import json
import sys
from collections.abc import Mapping

import pytest
import torch
from prodigyopt import Prodigy
from torch import Tensor, nn

from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.methods.base import ParamGroup
from tetrad.settings.optimizers import OPTIMIZERS
from tetrad.training.ema import Ema
from tetrad.training.optimizers import (
    check_optimizer,
    create_optimizer,
    get_learning_rate,
    start_training,
    use_result,
)
from tetrad.training.state import TrainingState, capture_state, restore_state
from tetrad.training.update import StandardUpdate

NAMES = [name for name, facts in OPTIMIZERS.items() if facts.extra == "optimizers"]
AVERAGING = [name for name, facts in OPTIMIZERS.items() if facts.is_schedule_free]


class Problem:
    """A small regression with two groups of weights, so that it is trained in milliseconds."""

    def __init__(self, name: str, arguments: tuple[str, ...] = (), max_grad_norm: float = 1.0) -> None:
        rng = generator(0, 0, "problem")
        self.x = torch.randn(32, 40, generator=rng)
        self.y = torch.randn(32, 36, generator=rng)
        self.weights = [nn.Parameter(0.1 * torch.randn(40, 36, generator=rng)), nn.Parameter(torch.zeros(36))]
        groups = [ParamGroup("unet", self.weights[:1]), ParamGroup("text_encoder", self.weights[1:])]
        self.optimizer = create_optimizer(name, groups, 0.01, arguments)
        self.rate = 1.0 if OPTIMIZERS[name].finds_rate else 1e-2
        self.updater = StandardUpdate(self.optimizer, max_grad_norm)

    def train(self, steps: int, factor: float = 1.0) -> None:
        start_training(self.optimizer)
        for _number in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate
            loss = factor * (self.x @ self.weights[0] + self.weights[1] - self.y).square().mean()
            self.updater.backward(loss)
            self.updater.finish()

    def copy(self) -> list[Tensor]:
        return [weight.detach().clone() for weight in self.weights]


def as_read_from_disk(state: TrainingState) -> TrainingState:
    """A state as a resume point gives it back: copies of the tensors, and values that went through JSON."""
    values: Mapping[str, object] = json.loads(json.dumps(state.values))
    return TrainingState({name: tensor.clone() for name, tensor in state.tensors.items()}, values)


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(map(torch.equal, first, second))


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_was_saved_and_restored_goes_on_bit_for_bit(name: str) -> None:
    whole, broken = Problem(name), Problem(name)
    whole.train(9)
    broken.train(4)
    state = as_read_from_disk(capture_state(broken.weights, broken.optimizer))
    resumed = Problem(name)
    resumed.train(2)  # so that everything in it has other values
    restore_state(state, resumed.weights, resumed.optimizer)
    resumed.train(5)
    assert equal(resumed.copy(), whole.copy())


@pytest.mark.parametrize("name", NAMES)
def test_looking_at_the_result_changes_nothing(name: str) -> None:
    seen, plain = Problem(name), Problem(name)
    for problem in (seen, plain):
        problem.train(5)
    before = seen.copy()
    with use_result(seen.optimizer, seen.weights) as is_changed:
        assert is_changed == OPTIMIZERS[name].is_schedule_free
        assert equal(seen.copy(), before) != is_changed
    assert equal(seen.copy(), before)
    seen.train(3)
    plain.train(3)
    assert equal(seen.copy(), plain.copy())


@pytest.mark.parametrize("name", AVERAGING)
def test_the_result_of_a_schedule_free_optimizer_is_what_its_library_gives(name: str) -> None:
    problem = Problem(name)
    problem.train(6)
    with use_result(problem.optimizer, problem.weights):
        ours = problem.copy()
    problem.optimizer.eval()  # type: ignore[attr-defined]
    assert equal(problem.copy(), ours)


def test_prodigy_goes_the_way_of_its_library() -> None:
    """Prodigy as it is made here, with clipping off, is prodigyopt alone at rate 1, step for step."""
    problem = Problem("prodigy", ("d_coef=2.0", "use_bias_correction=True"), max_grad_norm=0)
    weights = [nn.Parameter(weight) for weight in problem.copy()]
    theirs = Prodigy([{"params": [weight]} for weight in weights], lr=1.0, weight_decay=0.01, d_coef=2.0,
                     use_bias_correction=True)  # fmt: skip
    for _number in range(8):
        problem.train(1)
        theirs.zero_grad()
        (problem.x @ weights[0] + weights[1] - problem.y).square().mean().backward()  # type: ignore[no-untyped-call]
        theirs.step()
        assert equal(problem.copy(), [weight.detach() for weight in weights])
    assert get_learning_rate(problem.optimizer.param_groups[0]) == theirs.param_groups[0]["d"] != 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_a_nan_changes_neither_weights_nor_state(name: str) -> None:
    problem = Problem(name)
    problem.train(3)
    before = as_read_from_disk(capture_state(problem.weights, problem.optimizer))
    problem.train(1, factor=torch.nan)
    after = as_read_from_disk(capture_state(problem.weights, problem.optimizer))
    assert before.values == after.values
    assert all(torch.equal(before.tensors[key], tensor) for key, tensor in after.tensors.items())


def test_an_average_of_averages_follows_the_result() -> None:
    problem = Problem("adamwschedulefree")
    average = Ema(problem.weights, 0.5)
    expected = problem.copy()
    for number in range(1, 4):
        problem.train(1)
        with use_result(problem.optimizer, problem.weights):
            average.update(problem.weights)
            decay = min(0.5, (1 + number) / (10 + number))
            pairs = zip(expected, problem.copy(), strict=True)
            expected = [torch.lerp(mean, weight, 1 - decay) for mean, weight in pairs]
    torch.testing.assert_close(average.average, expected)


@pytest.mark.parametrize(
    "name,arguments,weight_decay,code,words",
    [
        ("prodigy", ["d_coeff=2"], None, "E3138", "prodigy has no argument d_coeff"),
        ("lion", ["nesterov=True"], None, "E3138", "lion has no argument nesterov"),  # its **kwargs would swallow it
        ("prodigy", ["d0=-1"], None, "E3138", "prodigy refuses its arguments d0=-1: Invalid d0 value"),
        ("adamw", ["amsgrad=True"], None, "E3138", "it takes betas, eps"),
        ("torch.optim.Nosuch", [], None, "E3137", "Nosuch in torch.optim is no class"),
        ("nosuch.Optimizer", [], None, "E3137", "nosuch.Optimizer cannot be imported"),
        ("json.JSONDecoder", [], None, "E3137", "there is no optimizer json.JSONDecoder"),
        ("torch.optim.LBFGS", [], None, "E3137", "the optimizer torch.optim.LBFGS cannot be used"),
        ("torch.optim.Rprop", [], 0.1, "E3138", "torch.optim.Rprop takes no weight decay"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_before_the_run(
    name: str, arguments: list[str], weight_decay: float | None, code: str, words: str
) -> None:
    with pytest.raises(TetradError) as caught:
        check_optimizer(name, arguments, weight_decay)
    assert caught.value.code == code and words in caught.value.message


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    with pytest.raises(TetradError) as caught:
        check_optimizer("prodigy", [], None)
    assert caught.value.code == "E3134" and '".[optimizers]"' in caught.value.message


def test_a_class_is_used_with_its_arguments() -> None:
    check_optimizer("torch.optim.NAdam", ["momentum_decay=0.01"], 0.1)
    made = create_optimizer("torch.optim.NAdam", [ParamGroup("unet", [nn.Parameter(torch.ones(2))])], 0.1,
                            ["momentum_decay=0.01"])  # fmt: skip
    assert type(made) is torch.optim.NAdam
    assert made.param_groups[0]["momentum_decay"] == 0.01 and made.param_groups[0]["weight_decay"] == 0.1
