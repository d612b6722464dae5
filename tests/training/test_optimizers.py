"""Optimizers, fused backward, gradient checkpointing, EMA and precision."""

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
from tetrad.methods import Lora
from tetrad.methods.base import ParamGroup
from tetrad.models import device
from tetrad.settings.learning_rate import parse_learning_rate
from tetrad.settings.optimizers import OPTIMIZERS
from tetrad.training.caption_cache import CaptionCache
from tetrad.training.ema import Ema
from tetrad.training.fused_backward import FusedBackwardUpdate
from tetrad.training.loop import set_learning_rates, training_steps
from tetrad.training.lr_schedules import Schedule
from tetrad.training.optimizers import DEFAULT_LEARNING_RATE, create_adamw, create_optimizer, start_training
from tetrad.training.update import LossScaler, StandardUpdate

UpdateClass = type[StandardUpdate | FusedBackwardUpdate]


def regression() -> tuple[nn.Parameter, Tensor, Tensor]:
    """A regression with a known answer; 8192 weights, above the size from which bitsandbytes uses 8 bits."""
    rng = generator(0, 0, "regression")
    x = torch.randn(256, 64, generator=rng)
    return nn.Parameter(torch.zeros(64, 128)), x, x @ torch.randn(64, 128, generator=rng)


@pytest.mark.parametrize("update_class", [StandardUpdate, FusedBackwardUpdate])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_trains_with_both_updates(name: str, update_class: UpdateClass) -> None:
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    facts = OPTIMIZERS[name]
    if update_class is FusedBackwardUpdate and not facts.updates_tensors_alone:
        pytest.skip("it needs all gradients at once, and train.fused_backward is refused (E3133)")
    weight, x, y = regression()
    arguments = ["d0=0.01"] if facts.finds_rate else []
    optimizer = create_optimizer(name, [ParamGroup("unet", [weight])], 0.0, arguments)
    optimizer.param_groups[0]["lr"] = 1.0 if facts.finds_rate else 0.05
    start_training(optimizer)
    updater = update_class(optimizer, 0.0)
    losses = []
    for _ in range(40):
        loss = (x @ weight - y).square().mean()
        updater.backward(loss)
        assert not updater.finish()[1] and weight.grad is None
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("update_class", [StandardUpdate, FusedBackwardUpdate])
@pytest.mark.parametrize("name", ["adamw", "adafactor", "prodigy"])
def test_no_optimizer_applies_a_nan_gradient(name: str, update_class: UpdateClass) -> None:
    weight, x, _ = regression()
    updater = update_class(create_optimizer(name, [ParamGroup("unet", [weight])]), 0.0)
    updater.backward((x @ weight).sum() * torch.nan)
    assert updater.finish()[1] == 1 and torch.equal(weight, torch.zeros_like(weight))


def test_adafactor_with_relative_steps_does_not_depend_on_the_given_rate() -> None:
    def train(rate: float, *arguments: str) -> torch.Tensor:
        weight, x, y = regression()
        optimizer = create_optimizer("adafactor", [ParamGroup("unet", [weight])], arguments=arguments)
        for _step in range(3):
            optimizer.param_groups[0]["lr"] = rate
            (x @ weight - y).square().mean().backward()
            optimizer.step()
        return weight.detach()

    own = "relative_step=True"
    assert torch.equal(train(1e-2, own), train(1e-5, own)) and not torch.equal(train(1e-2), train(1e-5))
    assert train(1e-5, own).abs().sum() > train(1e-5).abs().sum()


@pytest.mark.parametrize("update_class", [StandardUpdate, FusedBackwardUpdate])
def test_the_reported_gradient_norm_does_not_depend_on_the_loss_scale(update_class: UpdateClass) -> None:
    weight = nn.Parameter(torch.ones(2))
    loss_scaler = LossScaler(torch.device("cpu"))
    loss_scaler.scale.fill_(1024.0)
    updater = update_class(create_adamw([ParamGroup("unet", [weight])], 1e-2), 0.0, loss_scaler)
    updater.backward((weight * torch.tensor([3.0, 4.0])).sum())
    assert updater.finish()[0].item() == pytest.approx(5.0)


def test_a_missing_bitsandbytes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim.adamw", None)
    with pytest.raises(TetradError, match="E3134"):
        create_optimizer("adamw8bit", [ParamGroup("unet", [nn.Parameter(torch.zeros(1))])])


def test_output_of_bitsandbytes_while_it_is_imported_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bitsandbytes/optim").mkdir(parents=True)
    prints = (
        "import logging, sys, warnings\nprint(1)\nprint(2, file=sys.stderr)\nwarnings.warn('3')\nlogging.warning('4')"
    )
    (tmp_path / "bitsandbytes/__init__.py").write_text(prints)
    (tmp_path / "bitsandbytes/optim/__init__.py").touch()
    (tmp_path / "bitsandbytes/optim/adamw.py").write_text("from torch.optim import AdamW as AdamW8bit")
    monkeypatch.syspath_prepend(str(tmp_path))
    with patch.dict(sys.modules):  # so that later imports find the real package again
        for name in ("bitsandbytes", "bitsandbytes.optim", "bitsandbytes.optim.adamw"):
            sys.modules.pop(name, None)
        create_optimizer("adamw8bit", [ParamGroup("unet", [nn.Parameter(torch.zeros(1))])])
    assert capsys.readouterr() == ("", "")


def train_lora(
    fused_backward: bool = False, gradient_checkpointing: bool = False, batches: int = 1
) -> tuple[list[float], dict[str, Tensor]]:
    model = tiny.build_model(is_shallow=True)
    if gradient_checkpointing:
        device.enable_gradient_checkpointing(model)
    adapter = tiny.attach(Lora(rank=2, dropout=0.3), model, generator(0, 0, "method"))
    groups = adapter.groups()
    batch = Batch(torch.randn(1, 4, 8, 8, generator=generator(9, 0, "z")), ("a cat",), torch.ones(1))
    steps = training_steps(
        model, model.condition, Objective(), [[batch] * batches] * 3, create_adamw(groups), seed=0, max_grad_norm=0,
        schedules=[Schedule(parse_learning_rate("1e-2"))] * len(groups), fused_backward=fused_backward,
    )  # fmt: skip
    return [step.grad_norm for step in steps], adapter.weights().tensors


def test_fused_backward_gives_the_same_weights() -> None:
    (norms, weights), (norms_after, weights_after) = train_lora(fused_backward=True), train_lora()
    assert norms == pytest.approx(norms_after, rel=1e-5)
    assert all(torch.equal(weights[name], tensor) for name, tensor in weights_after.items())


def test_fused_backward_accumulates_batches() -> None:
    (norms, weights), (norms_after, weights_after) = train_lora(fused_backward=True, batches=2), train_lora(batches=2)
    assert norms == pytest.approx(norms_after, rel=1e-4)
    for name, tensor in weights_after.items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-4, rtol=1e-3)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    assert train_lora(gradient_checkpointing=True)[0] == pytest.approx(train_lora()[0], rel=1e-4)


def test_fused_backward_cannot_clip_gradients() -> None:
    model = tiny.build_model(is_shallow=True)
    groups = tiny.attach(Lora(rank=2, text_encoder=False), model, generator(0, 0, "method")).groups()
    update = [Batch(torch.zeros(1, 4, 8, 8), ("",), torch.ones(1))]
    steps = training_steps(
        model,
        CaptionCache(model),
        Objective(),
        [update],
        create_adamw(groups),
        seed=0,
        max_grad_norm=1.0,
        fused_backward=True,
    )
    with pytest.raises(TetradError) as caught:
        next(steps)
    assert caught.value.code == "E3133"


def test_groups_have_their_own_learning_rates() -> None:
    groups = [ParamGroup(part, [nn.Parameter(torch.zeros(1))], scale) for part, scale in (("unet", 1), ("unet", 16))]
    optimizer = create_optimizer("adamw", groups)
    assert [group["lr"] for group in optimizer.param_groups] == [DEFAULT_LEARNING_RATE, 16 * DEFAULT_LEARNING_RATE]
    set_learning_rates(optimizer, [Schedule(parse_learning_rate(text)) for text in ("2e-4", "32e-4")], 1)
    assert [group["lr"] for group in optimizer.param_groups] == [2e-4, 32e-4]


def test_the_ema_is_used_only_inside_its_context() -> None:
    weight = torch.ones(2)
    average = Ema([weight])
    weight.fill_(5.0)
    with average.use_average([weight]):
        assert weight[0] == 1
    assert weight[0] == 5


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_precision_can_be_chosen(precision: device.Precision) -> None:
    assert device.select_device("cpu", precision).dtype == device.DTYPES[precision]


def test_fused_adamw_is_torchs_adamw_with_missing_gradients_and_after_loading_its_state() -> None:
    def weights() -> list[nn.Parameter]:
        return [nn.Parameter(torch.randn(7, 5, generator=generator(0, n, "w"))) for n in range(3)]

    ours, plain = weights(), weights()
    optimizer, theirs = (
        create_optimizer("adamw", [ParamGroup("unet", ours)]),
        torch.optim.AdamW(plain, lr=DEFAULT_LEARNING_RATE, fused=False),
    )
    for step in range(6):
        for number, (mine, other) in enumerate(zip(ours, plain, strict=True)):
            has_gradient = step < 2 or number != 1  # the second parameter has no gradients after two steps
            mine.grad = torch.randn(7, 5, generator=generator(1, step, f"g{number}")) if has_gradient else None
            other.grad = None if mine.grad is None else mine.grad.clone()
        optimizer.step()
        theirs.step()
        if step == 3:
            state = optimizer.state_dict()
            optimizer = create_optimizer("adamw", [ParamGroup("unet", ours)])
            optimizer.load_state_dict(state)
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-7)
    assert optimizer.state[ours[0]]["step"] == 6 and optimizer.state[ours[1]]["step"] == 2
