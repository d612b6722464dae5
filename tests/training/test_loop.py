"""The loop: accumulation, schedules, and stopping before harm is done."""

import math
from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor

from tetrad.data.batches import Batch
from tetrad.diffusion.noise import Noise
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.generation.generate import pictures
from tetrad.generation.request import Request
from tetrad.methods.lora import Lora
from tetrad.models.base import to
from tetrad.training.ema import Ema
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import adamw
from tetrad.training.remember import Remembered
from tetrad.training.schedules import shaped
from tetrad.training.step import masked_mean


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


def test_schedules_start_full_and_end_at_nothing() -> None:
    assert [shaped("constant", 4)(step) for step in range(1, 5)] == [1.0] * 4
    assert [shaped("linear", 4)(step) for step in range(1, 5)] == [1.0, 0.75, 0.5, 0.25]
    cosine = [shaped("cosine", 4)(step) for step in range(1, 6)]
    assert cosine[0] == 1 and abs(cosine[2] - 0.5) < 1e-12 and abs(cosine[4]) < 1e-12
    assert shaped("cosine", 1)(1) == 1.0


def test_warm_up_rises_step_by_step() -> None:
    assert [shaped("constant", 10, warmup_steps=3)(step) for step in range(1, 6)] == [0.25, 0.5, 0.75, 1.0, 1.0]


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
