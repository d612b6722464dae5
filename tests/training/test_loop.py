"""The loop: accumulation, schedules, and stopping before harm is done."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tetrad.data.batches import Batch
from tetrad.diffusion.noise import Noise
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.generation.generate import pictures
from tetrad.generation.request import Request
from tetrad.methods.lora import Lora
from tetrad.models.base import Conditioning, to
from tetrad.training.ema import Ema
from tetrad.training.loop import Watch, training_steps
from tetrad.training.optimizers import adamw
from tetrad.training.remember import Remembered
from tetrad.training.schedules import constant, parsed
from tetrad.training.step import masked_mean
from tetrad.training.update import AtOnce, Scaling


def batch(samples: int, first: int = 0) -> Batch:
    latents = torch.stack([torch.randn(4, 8, 8, generator=generator(9, n, "z")) for n in range(first, first + samples)])
    return Batch(latents, tuple(f"picture {n}" for n in range(first, first + samples)), torch.ones(samples))


def silent(z: Tensor, rng: object) -> Tensor:
    """The same noise whatever the batch, so that only the times and the sums differ."""
    return torch.ones_like(z)


def learned(updates: list[list[Batch]], objective: Objective) -> dict[str, Tensor]:
    model = tiny.model()
    adapter = Lora(rank=2, text_encoder=False).attach(model, generator(0, 0, "method"))
    groups = adapter.groups()
    optimizer = adamw(groups, dict.fromkeys(groups, 1e-2))
    for _ in training_steps(model, model.condition, objective, updates, optimizer, seed=0):
        pass
    return adapter.weights().tensors


def test_accumulated_batches_are_one_batch() -> None:
    objective = Objective(noise=silent)
    whole = learned([[batch(3)]] * 2, objective)
    parts = learned([[batch(2), batch(1, first=2)]] * 2, objective)
    for name, tensor in whole.items():
        # AdamW divides by the gradient's size, so the last bits of a tiny gradient become visible; the step is 1e-2.
        torch.testing.assert_close(parts[name], tensor, atol=2e-4, rtol=0)


def test_a_weight_of_zero_is_as_if_the_sample_taught_nothing() -> None:
    model = tiny.model()
    adapter = Lora(rank=2, text_encoder=False).attach(model, generator(0, 0, "method"))
    groups = adapter.groups()
    optimizer = adamw(groups, dict.fromkeys(groups, 1e-2), weight_decay=0)
    before = adapter.weights().tensors
    nothing = replace(batch(2), weight=torch.zeros(2))
    for step in training_steps(model, model.condition, Objective(), [[nothing]], optimizer, seed=0):
        assert step.loss == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in adapter.weights().tensors.items())


def test_a_loss_that_is_no_number_stops_before_the_update() -> None:
    def broken(noise: Noise, t: Tensor) -> Tensor:
        return torch.full((len(t),), math.nan)

    model = tiny.model()
    adapter = Lora(rank=2).attach(model, generator(0, 0, "method"))
    groups = adapter.groups()
    before = adapter.weights().tensors
    optimizer = adamw(groups, dict.fromkeys(groups, 1e-2))
    with pytest.raises(TetradError, match="no longer a number at step 1") as caught:
        list(training_steps(model, model.condition, Objective(weight=broken), [[batch(1)]], optimizer, seed=0))
    assert caught.value.exit_code == 7
    assert all(torch.equal(before[name], tensor) for name, tensor in adapter.weights().tensors.items())


def test_a_remembered_encoding_is_the_encoding() -> None:
    model = tiny.model()
    remembered = Remembered(model)
    for captions in (["a cat", "a dog"], ["a dog", "a cat", "a dog"]):
        one_by_one = torch.cat([model.condition([caption]).tokens for caption in captions])
        assert torch.equal(remembered(captions).tokens, one_by_one)
    assert len(remembered.known) == 2


def test_the_average_follows_and_swaps_back() -> None:
    weight = torch.zeros(2)
    average = Ema([weight], decay=0.9)
    for _ in range(200):
        weight.fill_(1.0)
        average.update([weight])
    torch.testing.assert_close(average.average[0], torch.ones(2), atol=1e-4, rtol=0)
    weight.fill_(5.0)
    average.swap([weight])
    assert weight[0] < 2 and average.average[0][0] == 5
    average.swap([weight])
    assert weight[0] == 5


def test_a_mask_leaves_out_what_it_covers() -> None:
    error = torch.arange(8.0).view(1, 2, 2, 2)
    mask = torch.tensor([[[[1.0, 0], [0, 0]]]])
    assert masked_mean(error, mask).tolist() == [2.0]  # of 0 and 4
    assert masked_mean(error, None).tolist() == [3.5]


def test_half_precision_keeps_what_learns_in_single() -> None:
    """What a GPU does by default, here on the CPU: frozen weights in bfloat16, the LoRA and its updates in float32."""
    model = tiny.model()
    to(model, torch.device("cpu"), torch.bfloat16)
    adapter = Lora(rank=2, conv_rank=2).attach(model, generator(0, 0, "method"))
    groups = adapter.groups()
    optimizer = adamw(groups, dict.fromkeys(groups, 2e-2), weight_decay=0)
    losses = []
    for _ in range(8):
        losses += [
            step.loss for step in training_steps(model, model.condition, Objective(), [[batch(2)]], optimizer, seed=0)
        ]
    assert losses[-1] < 0.9 * losses[0]
    assert all(tensor.dtype == torch.float32 for tensor in adapter.weights().tensors.values())
    assert next(model.unet.parameters()).dtype == torch.bfloat16
    (picture,) = pictures(model, [Request("a", steps=2)])
    assert picture.dtype == torch.float32 and picture.isfinite().all()


class NoWaiting(TorchDispatchMode):
    """Fails where a number is fetched from a tensor, which on an accelerator waits for all that was asked before."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default), func
        return func(*args, **(kwargs or {}))


def test_nothing_in_a_step_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "see", lambda self, step, bad: None)
    model = tiny.model()
    groups = Lora(rank=2, text_encoder=False).attach(model, generator(0, 0, "method")).groups()
    condition = Remembered(model)
    condition.remember_all(batch(2).captions)
    steps = training_steps(model, condition, Objective(), [[batch(2)]] * 2, adamw(groups), seed=0)
    with NoWaiting():
        assert [step.number for step in steps] == [1, 2]


@pytest.mark.parametrize("longest", [0.01, 100.0])
def test_a_folded_update_is_clipping_and_then_adamw(longest: float) -> None:
    def weights() -> list[nn.Parameter]:
        return [nn.Parameter(torch.randn(7, 5, generator=generator(0, n, "w"))) for n in range(3)]

    ours, plain = weights(), weights()
    updater = AtOnce(adamw({"unet": ours}, {"unet": 1e-2}), longest)
    theirs = torch.optim.AdamW(plain, lr=1e-2, weight_decay=0.01, fused=False)
    for step in range(4):
        for mine, other in zip(ours, plain, strict=True):
            mine.grad = torch.randn(7, 5, generator=generator(1, step, "g"))
            other.grad = mine.grad.clone()
        norm, bad = updater.finish()
        assert not bad and torch.equal(norm, nn.utils.clip_grad_norm_(plain, longest))
        theirs.step()
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-7)


def test_a_group_at_rest_costs_nothing_and_its_captions_are_remembered() -> None:
    model = tiny.model()
    groups = Lora(rank=2).attach(model, generator(0, 0, "method")).groups()
    read: list[str] = []

    def condition(captions: Sequence[str], framing: Tensor | None = None) -> Conditioning:
        read.extend(captions)
        return model.condition(captions, framing)

    rates = {"unet": constant(1e-3), "text_encoder": constant(1e-3).until(2)}
    updates = [[batch(1)]] * 4
    moved = []
    for _ in training_steps(model, condition, Objective(), updates, adamw(groups), seed=0, rates=rates):
        moved.append(groups["text_encoder"][1].detach().clone())
    assert not torch.equal(moved[0], moved[1]) and torch.equal(moved[1], moved[3])
    assert read == ["picture 0", "picture 0", ""]
    assert all(parameter.grad is None for parameter in groups["text_encoder"])


def test_going_on_is_as_if_it_had_never_stopped() -> None:
    """Steps 3 and 4 alone draw the noise, the times and the dropout they would have drawn after 1 and 2."""

    def run(updates: int, first: int) -> list[float]:
        model = tiny.model()
        groups = Lora(rank=2, dropout=0.5).attach(model, generator(0, 0, "method")).groups()
        with torch.no_grad():
            for parameter in groups["unet"]:
                parameter.fill_(0.01)
        rates = dict.fromkeys(groups, parsed("0:3, 1e-3"))
        steps = training_steps(
            model, model.condition, Objective(), [[batch(2)]] * updates, adamw(groups, weight_decay=0),
            seed=0, rates=rates, first=first, samples_before=2 * first,
        )  # fmt: skip
        return [step.loss for step in steps]

    assert run(4, 0)[2:] == run(2, 2)


def test_priors_count_beside_the_subjects_and_not_among_them() -> None:
    """One subject and one prior: the sum of their losses, as diffusers adds the loss of its priors."""

    def loss(made: Batch) -> float:
        model = tiny.model()
        groups = Lora(rank=2).attach(model, generator(0, 0, "method")).groups()
        (step,) = training_steps(model, model.condition, Objective(), [[made]], adamw(groups), seed=0)
        return step.loss

    plain = batch(2)
    assert loss(replace(plain, priors=1)) == pytest.approx(2 * loss(plain))


def test_float16_learns_with_its_loss_scaled_and_gives_up_only_when_nothing_is_left() -> None:
    model = tiny.model()
    to(model, torch.device("cpu"), torch.float16)
    groups = Lora(rank=2).attach(model, generator(0, 0, "method")).groups()
    optimizer = adamw(groups, dict.fromkeys(groups, 2e-2), weight_decay=0)
    updates = [[batch(1)]] * 4
    norms = [
        step.grad_norm for step in training_steps(model, Remembered(model), Objective(), updates, optimizer, seed=0)
    ]
    exact = learned_norm()
    assert norms[0] == pytest.approx(exact, rel=0.05)


def learned_norm() -> float:
    model = tiny.model()
    groups = Lora(rank=2).attach(model, generator(0, 0, "method")).groups()
    (step,) = training_steps(model, Remembered(model), Objective(), [[batch(1)]], adamw(groups), seed=0)
    return step.grad_norm


def test_scaling_halves_on_overflow_and_ends_under_one() -> None:
    weight = nn.Parameter(torch.ones(2))
    scaling = Scaling(torch.device("cpu"))
    updater = AtOnce(adamw({"unet": [weight]}, {"unet": 1e-2}), 1.0, scaling)
    verdicts = []
    for _ in range(17):
        weight.grad = torch.tensor([math.inf, 1.0])
        verdicts.append(bool(updater.finish()[1]))
    assert verdicts == [False] * 16 + [True] and torch.equal(weight, torch.ones(2))
    scaling.scale.fill_(1024.0)
    updater.backward((weight * torch.tensor([3.0, 4.0])).sum())
    assert updater.finish()[0].item() == pytest.approx(5.0)
