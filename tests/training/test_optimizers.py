"""Optimizers by name, updates during the backward, and what saves memory."""

import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import tiny
import torch
from torch import Tensor, nn

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.methods.lora import Lora
from tetrad.training import device
from tetrad.training.ema import Ema
from tetrad.training.in_backward import InBackward
from tetrad.training.loop import set_rates, training_steps
from tetrad.training.optimizers import OPTIMIZERS, UNSCHEDULED, Name, adamw, made
from tetrad.training.remember import Remembered
from tetrad.training.schedules import constant
from tetrad.training.update import AtOnce


def line() -> tuple[nn.Parameter, Tensor, Tensor]:
    """A regression with a known answer: 8192 weights, above the size from which eight bits are used."""
    rng = generator(0, 0, "regression")
    x = torch.randn(256, 64, generator=rng)
    return nn.Parameter(torch.zeros(64, 128)), x, x @ torch.randn(64, 128, generator=rng)


@pytest.mark.parametrize("way", [AtOnce, InBackward])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_learns_either_way(name: Name, way: type[AtOnce | InBackward]) -> None:
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    weight, x, y = line()
    optimizer = made(name, {"unet": [weight]}, weight_decay=0.0)
    optimizer.param_groups[0]["lr"] = 0.05
    updater = way(optimizer, 0.0)
    losses = []
    for _ in range(40):
        loss = (x @ weight - y).square().mean()
        updater.backward(loss)
        assert not updater.finish()[1] and weight.grad is None
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("way", [AtOnce, InBackward])
@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_no_optimizer_writes_what_is_no_number(name: Name, way: type[AtOnce | InBackward]) -> None:
    weight, x, _ = line()
    updater = way(made(name, {"unet": [weight]}), 0.0)
    updater.backward((x @ weight).sum() * torch.nan)
    assert updater.finish()[1] == 1 and torch.equal(weight, torch.zeros_like(weight))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(TetradError, match="pip install") as caught:
        made("adamw8bit", {"unet": [nn.Parameter(torch.zeros(1))]})
    assert caught.value.code == "E3134"


def test_a_package_that_talks_while_it_is_imported_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bitsandbytes").mkdir()
    noise = (
        "import logging, sys, warnings\nprint(1)\nprint(2, file=sys.stderr)\nwarnings.warn('3')\nlogging.warning('4')"
    )
    (tmp_path / "bitsandbytes/__init__.py").write_text(noise)
    (tmp_path / "bitsandbytes/optim.py").write_text("from torch.optim import AdamW as AdamW8bit")
    monkeypatch.syspath_prepend(str(tmp_path))
    with patch.dict(sys.modules):  # afterwards nobody finds this one where the real one is looked for
        for name in ("bitsandbytes", "bitsandbytes.optim"):
            sys.modules.pop(name, None)
        made("adamw8bit", {"unet": [nn.Parameter(torch.zeros(1))]})
    assert capsys.readouterr() == ("", "")


def learned(
    in_backward: bool = False, checkpointed: bool = False, batches: int = 1
) -> tuple[list[float], dict[str, Tensor]]:
    model = tiny.model()
    if checkpointed:
        device.checkpointed(model)
    adapter = Lora(rank=2, dropout=0.3).attach(model, generator(0, 0, "method"))
    groups = adapter.groups()
    made_of = Batch(torch.randn(1, 4, 8, 8, generator=generator(9, 0, "z")), ("a cat",), torch.ones(1))
    steps = training_steps(
        model, model.condition, Objective(), [[made_of] * batches] * 3, adamw(groups), seed=0, max_grad_norm=0,
        rates=dict.fromkeys(groups, constant(1e-2)), in_backward=in_backward,
    )  # fmt: skip
    return [step.grad_norm for step in steps], adapter.weights().tensors


def test_updating_during_the_backward_is_updating_after_it() -> None:
    (norms, weights), (norms_after, weights_after) = learned(in_backward=True), learned()
    assert norms == pytest.approx(norms_after, rel=1e-5)
    assert all(torch.equal(weights[name], tensor) for name, tensor in weights_after.items())


def test_an_updates_batches_go_through_the_backward_together_as_class_pictures_of_another_size_do() -> None:
    (norms, weights), (norms_after, weights_after) = learned(in_backward=True, batches=2), learned(batches=2)
    assert norms == pytest.approx(norms_after, rel=1e-4)
    for name, tensor in weights_after.items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-4, rtol=1e-3)


def test_computing_activations_again_gives_the_same_gradients() -> None:
    assert learned(checkpointed=True)[0] == pytest.approx(learned()[0], rel=1e-4)


def test_updating_during_the_backward_cannot_clip() -> None:
    model = tiny.model()
    groups = Lora(rank=2, text_encoder=False).attach(model, generator(0, 0, "method")).groups()
    update = [Batch(torch.zeros(1, 4, 8, 8), ("",), torch.ones(1))]
    steps = training_steps(
        model, Remembered(model), Objective(), [update], adamw(groups), seed=0, max_grad_norm=1.0, in_backward=True
    )
    with pytest.raises(TetradError) as caught:
        next(steps)
    assert caught.value.code == "E3133"


def test_a_group_learns_at_its_own_rate() -> None:
    optimizer = made("adamw", {name: [nn.Parameter(torch.zeros(1))] for name in ("unet", "unet ×16", "other")})
    set_rates(optimizer, {"unet": constant(1e-4), "unet ×16": constant(16e-4)}, 1)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 16e-4, UNSCHEDULED]


def test_the_average_is_there_only_while_it_is_asked_for() -> None:
    weight = torch.ones(2)
    average = Ema([weight])
    weight.fill_(5.0)
    with average.applied([weight]):
        assert weight[0] == 1
    assert weight[0] == 5


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_numbers_may_be_chosen(precision: device.Precision) -> None:
    assert device.chosen("cpu", precision).dtype == device.NUMBERS[precision]


def test_the_lean_adamw_is_torchs_whoever_learns_and_after_a_resume() -> None:
    def weights() -> list[nn.Parameter]:
        return [nn.Parameter(torch.randn(7, 5, generator=generator(0, n, "w"))) for n in range(3)]

    ours, plain = weights(), weights()
    optimizer, theirs = made("adamw", {"unet": ours}), torch.optim.AdamW(plain, lr=UNSCHEDULED, fused=False)
    for step in range(6):
        for number, (mine, other) in enumerate(zip(ours, plain, strict=True)):
            learns = step < 2 or number != 1  # the second one comes to rest
            mine.grad = torch.randn(7, 5, generator=generator(1, step, f"g{number}")) if learns else None
            other.grad = None if mine.grad is None else mine.grad.clone()
        optimizer.step()
        theirs.step()
        if step == 3:
            state = optimizer.state_dict()
            optimizer = made("adamw", {"unet": ours})
            optimizer.load_state_dict(state)
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-7)
    assert optimizer.state[ours[0]]["step"] == 6 and optimizer.state[ours[1]]["step"] == 2
