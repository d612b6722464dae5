"""The training loop: accumulation, schedules, EMA, float16, and no update where the loss is NaN."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from tetrad.data.batches import Batch
from tetrad.diffusion.noise import Noise
from tetrad.diffusion.objective import Objective, masked_mean
from tetrad.diffusion.randomness import generator
from tetrad.generation.generate import generate_images
from tetrad.generation.request import Request
from tetrad.methods import Lora
from tetrad.methods.base import ParamGroup
from tetrad.models.base import Conditioning, move_networks
from tetrad.settings.learning_rate import parse_learning_rate
from tetrad.training.caption_cache import CaptionCache
from tetrad.training.ema import Ema
from tetrad.training.loop import training_steps
from tetrad.training.lr_schedules import Schedule
from tetrad.training.optimizers import create_adamw
from tetrad.training.state import capture_state
from tetrad.training.update import LossScaler, StandardUpdate


def batch(samples: int, first: int = 0) -> Batch:
    latents = torch.stack([torch.randn(4, 8, 8, generator=generator(9, n, "z")) for n in range(first, first + samples)])
    return Batch(latents, tuple(f"image {n}" for n in range(first, first + samples)), torch.ones(samples))


def constant_noise(z: Tensor, rng: object) -> Tensor:
    """The same noise for every batch, so that only times and sums can differ."""
    return torch.ones_like(z)


def make_sgd(groups: Sequence[ParamGroup], learning_rate: float) -> Optimizer:
    return torch.optim.SGD([parameter for group in groups for parameter in group.parameters], learning_rate)


def train_lora(
    updates: list[list[Batch]],
    objective: Objective,
    make_optimizer: Callable[[Sequence[ParamGroup], float], Optimizer] = create_adamw,
) -> dict[str, Tensor]:
    model = tiny.build_model(is_shallow=True)
    adapter = tiny.attach(Lora(rank=2, text_encoder=False), model, generator(0, 0, "method"))
    groups = adapter.groups()
    optimizer = make_optimizer(groups, 1e-2)
    for _ in training_steps(model, model.condition, objective, updates, optimizer, seed=0):
        pass
    return adapter.weights().tensors


def test_accumulated_batches_are_equal_to_one_batch() -> None:
    """Compared after SGD, whose steps are as large as the gradients: AdamW's show the rounding of tiny ones."""
    objective = Objective(noise=constant_noise)
    whole = train_lora([[batch(3)]] * 2, objective, make_sgd)
    parts = train_lora([[batch(2), batch(1, first=2)]] * 2, objective, make_sgd)
    other = train_lora([[batch(2)]] * 2, objective, make_sgd)
    ups = [name for name in whole if name.endswith("up")]
    for name in ups:
        torch.testing.assert_close(parts[name], whole[name], atol=1e-4 * whole[name].abs().max().item(), rtol=0)
    assert any(not torch.allclose(other[name], whole[name], rtol=1e-2) for name in ups)


def test_a_sample_with_weight_0_changes_nothing() -> None:
    model = tiny.build_model(is_shallow=True)
    adapter = tiny.attach(Lora(rank=2, text_encoder=False), model, generator(0, 0, "method"))
    groups = adapter.groups()
    optimizer = create_adamw(groups, 1e-2, weight_decay=0)
    before = adapter.weights().tensors
    nothing = replace(batch(2), weight=torch.zeros(2))
    for step in training_steps(model, model.condition, Objective(), [[nothing]], optimizer, seed=0):
        assert step.loss == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in adapter.weights().tensors.items())


def test_a_step_with_a_nan_loss_changes_nothing() -> None:
    def nan_weight(noise: Noise, t: Tensor) -> Tensor:
        return torch.full((len(t),), math.nan)

    model = tiny.build_model(is_shallow=True)
    adapter = tiny.attach(Lora(rank=2), model, generator(0, 0, "method"))
    groups = adapter.groups()
    before = adapter.weights().tensors
    optimizer = create_adamw(groups, 1e-2)
    calls: list[int] = []
    for _ in training_steps(model, model.condition, Objective(), [[batch(1)]], optimizer, seed=0):
        before = adapter.weights().tensors
        before = {name: tensor.clone() for name, tensor in before.items()}
        state = {name: tensor.clone() for name, tensor in capture_state([], optimizer).tensors.items()}
    steps = training_steps(
        model, model.condition, Objective(weight=nan_weight), [[batch(1)]], optimizer,
        seed=0, after_update=lambda: calls.append(1),
    )  # fmt: skip
    assert [step.has_diverged for step in steps] == [True] and not calls
    assert state and all(torch.equal(state[name], each) for name, each in capture_state([], optimizer).tensors.items())
    assert all(torch.equal(before[name], tensor) for name, tensor in adapter.weights().tensors.items())


def test_a_cached_encoding_is_equal_to_a_new_one() -> None:
    model = tiny.build_model(is_shallow=True)
    cache = CaptionCache(model)
    for captions in (["a cat", "a dog"], ["a dog", "a cat", "a dog"]):
        one_by_one = torch.cat([model.condition([caption]).hidden_states for caption in captions])
        assert torch.equal(cache(captions).hidden_states, one_by_one)
    assert len(cache.encodings) == 2


def test_the_ema_follows_the_weights_and_swaps_back() -> None:
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


def test_a_mask_limits_the_loss_to_what_it_shows() -> None:
    error = torch.arange(8.0).view(1, 2, 2, 2)
    mask = torch.tensor([[[[1.0, 0], [0, 0]]]])
    assert masked_mean(error, mask).tolist() == [2.0]  # of 0 and 4
    assert masked_mean(error, None).tolist() == [3.5]


def test_trained_weights_stay_float32_beside_bfloat16_weights() -> None:
    """The default of a GPU, here on the CPU: frozen weights in bfloat16, the LoRA and its updates in float32."""
    model = tiny.build_model(is_shallow=True)
    move_networks(model, torch.device("cpu"), torch.bfloat16)
    adapter = tiny.attach(Lora(rank=2, conv_rank=2), model, generator(0, 0, "method"))
    groups = adapter.groups()
    optimizer = create_adamw(groups, 2e-2, weight_decay=0)
    losses = []
    for _ in range(8):
        losses += [
            step.loss for step in training_steps(model, model.condition, Objective(), [[batch(2)]], optimizer, seed=0)
        ]
    assert losses[-1] < 0.9 * losses[0]
    assert all(tensor.dtype == torch.float32 for tensor in adapter.weights().tensors.values())
    assert next(model.unet.parameters()).dtype == torch.bfloat16
    (image,) = generate_images(model, [Request("a", steps=2)])
    assert image.dtype == torch.float32 and image.isfinite().all()


class ForbidSynchronization(TorchDispatchMode):
    """Fails when the host reads a value from a tensor, which on an accelerator waits for all earlier work."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default), func
        return func(*args, **(kwargs or {}))


def test_a_step_does_not_wait_for_the_device() -> None:
    model = tiny.build_model(is_shallow=True)
    groups = tiny.attach(Lora(rank=2, text_encoder=False), model, generator(0, 0, "method")).groups()
    condition = CaptionCache(model)
    condition.encode_missing(batch(2).captions)
    steps = training_steps(model, condition, Objective(), [[batch(2)]] * 2, create_adamw(groups), seed=0)
    with ForbidSynchronization():
        assert [step.number for step in steps] == [1, 2]


@pytest.mark.parametrize("max_grad_norm", [0.01, 100.0])
def test_an_update_is_gradient_clipping_followed_by_adamw(max_grad_norm: float) -> None:
    def weights() -> list[nn.Parameter]:
        return [nn.Parameter(torch.randn(7, 5, generator=generator(0, n, "w"))) for n in range(3)]

    ours, plain = weights(), weights()
    updater = StandardUpdate(create_adamw([ParamGroup("unet", ours)], 1e-2), max_grad_norm)
    theirs = torch.optim.AdamW(plain, lr=1e-2, weight_decay=0.01, fused=False)
    for step in range(4):
        for ours_parameter, plain_parameter in zip(ours, plain, strict=True):
            ours_parameter.grad = torch.randn(7, 5, generator=generator(1, step, "g"))
            plain_parameter.grad = ours_parameter.grad.clone()
        norm, diverged, _skipped = updater.finish()
        assert not diverged and torch.equal(norm, nn.utils.clip_grad_norm_(plain, max_grad_norm))
        theirs.step()
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-7)


def test_a_finished_group_has_no_gradients_and_its_captions_are_cached() -> None:
    model = tiny.build_model(is_shallow=True)
    adapter = tiny.attach(Lora(rank=2), model, generator(0, 0, "method"))
    groups, text = adapter.groups(), tiny.parts(adapter)["text_encoder"]
    encoded: list[str] = []

    def condition(captions: Sequence[str], micro_conditioning: Tensor | None = None) -> Conditioning:
        encoded.extend(captions)
        return model.condition(captions, micro_conditioning)

    always = Schedule(parse_learning_rate("1e-3"))
    schedules = [always.stop_after(2) if group.part == "text_encoder" else always for group in groups]
    updates = [[batch(1)]] * 4
    moved = []
    for _ in training_steps(model, condition, Objective(), updates, create_adamw(groups), seed=0, schedules=schedules):
        moved.append(text[1].detach().clone())
    assert not torch.equal(moved[0], moved[1]) and torch.equal(moved[1], moved[3])
    assert encoded == ["image 0", "image 0", ""]
    assert all(parameter.grad is None for parameter in text)


def test_a_continued_run_uses_the_same_random_numbers() -> None:
    """Steps 3 and 4 alone use the noise, times and dropout that they have after steps 1 and 2."""

    def run(updates: int, first: int) -> list[float]:
        model = tiny.build_model(is_shallow=True)
        adapter = tiny.attach(Lora(rank=2, dropout=0.5), model, generator(0, 0, "method"))
        with torch.no_grad():
            for parameter in tiny.parts(adapter)["unet"]:
                parameter.fill_(0.01)
        groups = adapter.groups()
        schedules = [Schedule(parse_learning_rate("0:3, 1e-3"))] * len(groups)
        steps = training_steps(
            model, model.condition, Objective(), [[batch(2)]] * updates, create_adamw(groups, weight_decay=0),
            seed=0, schedules=schedules, updates_before=first, samples_before=2 * first,
        )  # fmt: skip
        return [step.loss for step in steps]

    assert run(4, 0)[2:] == run(2, 2)


def test_class_images_add_to_the_loss_without_dividing_it() -> None:
    """One subject image and one class image: the sum of their losses, as in diffusers."""

    def loss(batch: Batch) -> float:
        model = tiny.build_model(is_shallow=True)
        groups = tiny.attach(Lora(rank=2), model, generator(0, 0, "method")).groups()
        (step,) = training_steps(model, model.condition, Objective(), [[batch]], create_adamw(groups), seed=0)
        return step.loss

    plain = batch(2)
    assert loss(replace(plain, class_image_count=1)) == pytest.approx(2 * loss(plain))


def test_float16_gradients_are_those_of_float32() -> None:
    model = tiny.build_model(is_shallow=True)
    move_networks(model, torch.device("cpu"), torch.float16)
    groups = tiny.attach(Lora(rank=2), model, generator(0, 0, "method")).groups()
    optimizer = create_adamw(groups, 2e-2, weight_decay=0)
    updates = [[batch(1)]] * 4
    norms = [
        step.grad_norm for step in training_steps(model, CaptionCache(model), Objective(), updates, optimizer, seed=0)
    ]
    exact = float32_norm()
    assert norms[0] == pytest.approx(exact, rel=0.05)


def float32_norm() -> float:
    model = tiny.build_model(is_shallow=True)
    groups = tiny.attach(Lora(rank=2), model, generator(0, 0, "method")).groups()
    (step,) = training_steps(model, CaptionCache(model), Objective(), [[batch(1)]], create_adamw(groups), seed=0)
    return step.grad_norm


def test_the_loss_scale_halves_on_overflow_and_below_1_training_has_diverged() -> None:
    weight = nn.Parameter(torch.ones(2))
    loss_scaler = LossScaler(torch.device("cpu"))
    updater = StandardUpdate(create_adamw([ParamGroup("unet", [weight])], 1e-2), 1.0, loss_scaler)
    diverged = []
    for _ in range(17):
        weight.grad = torch.tensor([math.inf, 1.0])
        diverged.append(bool(updater.finish()[1]))
    assert diverged == [False] * 16 + [True] and torch.equal(weight, torch.ones(2))
    loss_scaler.scale.fill_(1024.0)
    updater.backward((weight * torch.tensor([3.0, 4.0])).sum())
    assert updater.finish()[0].item() == pytest.approx(5.0)
