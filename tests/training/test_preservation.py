"""Preservation: generic captions keep the prediction of the model before training."""

from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective, mean_of_masked
from tetrad.diffusion.randomness import generator
from tetrad.methods import METHODS, Lora
from tetrad.models.base import Model
from tetrad.settings import PreserveSettings
from tetrad.training.gradients import add_nothing
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import create_adamw
from tetrad.training.preservation import make_preservation
from tetrad.training.step import add_noise

SETTINGS: dict[str, dict[str, Any]] = {"dreambooth": {"text_encoder": True, "reversible": True}}
PRESERVE = PreserveSettings(samples=1, weight=3.0, captions=("a dog", "a red house"))
FEW_LAYERS: dict[str, Any] = {"rank": 2, "block_ranks": {"up": 0}}


def build_batch(samples: int = 2, mask: Tensor | None = None) -> Batch:
    latents = torch.randn(samples, 4, 8, 8, generator=generator(2, 0, "z"))
    return Batch(latents, ("a photo of zkr",) * samples, torch.ones(samples), mask=mask)


def predict(model: Model, caption: str = "a dog") -> Tensor:
    z = torch.randn(1, 4, 8, 8, generator=generator(1, 0, "z"))
    with torch.no_grad():
        return model.predict(z, torch.tensor([300]), model.condition([caption]))


def train(
    model: Model, adapter: Any, extend: Any, first: int, last: int, optimizer: Any = None, mask: Tensor | None = None
) -> tuple[Any, list[float]]:
    optimizer = optimizer or create_adamw(adapter.groups(), 2e-2, weight_decay=0)
    updates = [[build_batch(mask=mask)] for _ in range(first, last)]
    steps = training_steps(
        model,
        model.condition,
        Objective(),
        updates,
        optimizer,
        seed=3,
        updates_before=first,
        samples_before=2 * first,
        extend=extend,
    )
    return optimizer, [step.loss for step in steps]


@pytest.mark.parametrize("kind", list(METHODS))
def test_the_targets_are_the_predictions_before_training(kind: str) -> None:
    model = tiny.build_model(is_shallow=True)
    before = predict(model)
    adapter: Any = tiny.attach(
        METHODS[kind](**SETTINGS.get(kind, {})).with_defaults("zkr", 2), model, generator(0, 0, "method")
    )
    extend = make_preservation(PRESERVE, 0.0, model, adapter)
    train(model, adapter, add_nothing, 0, 2)
    changed = predict(model, "a photo of zkr")
    with adapter.without_training():
        assert torch.allclose(predict(model), before, atol=1e-6)
    assert torch.equal(predict(model, "a photo of zkr"), changed)
    noisy = add_noise(model, Objective(), build_batch(3), torch.tensor([0.2, 0.4, 0.6]), generator(0, 0, "noise"))
    joined = extend(model, Objective(), noisy, generator(0, 0, "extend"))
    [caption] = joined.batch.captions[3:]
    assert caption in PRESERVE.captions and joined.batch.subject_count == 3
    assert joined.batch.weight.tolist() == [1, 1, 1, 9]  # 3 × the mean of the preserved one, beside the mean of 3
    with torch.no_grad():
        adapter.detach()
        expected = model.predict(joined.z_t[3:], joined.t[3:], model.condition([caption]))
    torch.testing.assert_close(joined.target[3:], expected, atol=1e-5, rtol=1e-4)


def test_other_prompts_change_less_with_preservation_and_a_new_adapter_has_no_such_loss() -> None:
    drifts, losses = [], []
    for preserved in (False, True):
        model = tiny.build_model(is_shallow=True)
        before = predict(model)
        adapter: Any = tiny.attach(Lora(**FEW_LAYERS), model, generator(0, 0, "method"))
        extend = make_preservation(PRESERVE, 0.0, model, adapter) if preserved else add_nothing
        losses.append(train(model, adapter, extend, 0, 10)[1])
        drifts.append(float((predict(model) - before).norm()))
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-4)
    assert drifts[1] < 0.6 * drifts[0]


def test_training_that_is_continued_preserves_the_same_samples() -> None:
    results = []
    for parts in ((4,), (2, 4)):
        model = tiny.build_model(is_shallow=True)
        adapter: Any = tiny.attach(Lora(**FEW_LAYERS), model, generator(0, 0, "method"))
        optimizer, first = None, 0
        for last in parts:
            extend = make_preservation(PRESERVE, 0.0, model, adapter)
            optimizer, _losses = train(model, adapter, extend, first, last, optimizer)
            first = last
        results.append(adapter.weights().tensors)
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())


def test_outside_of_a_mask_the_target_is_the_prediction_before_training() -> None:
    model = tiny.build_model(is_shallow=True)
    adapter: Any = tiny.attach(Lora(**FEW_LAYERS), model, generator(0, 0, "method"))
    extend = make_preservation(PreserveSettings(), 0.5, model, adapter)
    train(model, adapter, add_nothing, 0, 2)
    mask = torch.ones(2, 1, 8, 8)
    mask[0, :, :4], mask[0, :, 4] = 0.0, 0.25
    batch = build_batch(mask=mask)
    noisy = add_noise(model, Objective(), batch, torch.tensor([0.2, 0.6]), generator(0, 0, "noise"))
    held = extend(model, Objective(), noisy, generator(0, 0, "extend"))
    with adapter.without_training(), torch.no_grad():
        prior = model.predict(noisy.z_t, noisy.t, model.condition(batch.captions))
    torch.testing.assert_close(held.target[0, :, :4], prior[0, :, :4], atol=1e-5, rtol=1e-4)
    assert torch.equal(held.target[:, :, 5:], noisy.target[:, :, 5:]) and torch.equal(held.target[1], noisy.target[1])
    assert held.batch.mask is not None and held.batch.mask[0, 0, :, 0].tolist() == [0.5] * 4 + [0.625] + [1.0] * 3
    predicted = torch.randn_like(prior).requires_grad_()
    for objective, divisor in ((Objective(), mask.sum((1, 2, 3)) * 4), (Objective(reduce=mean_of_masked), 4 * 64)):
        held = extend(model, objective, noisy, generator(0, 0, "extend"))
        got = held.batch.weight * objective.reduce((predicted - held.target).square(), held.batch.mask)
        own, other = (predicted - noisy.target).square(), (predicted - prior).square()
        expected = (mask * own + 0.5 * (1 - mask) * other).flatten(1).sum(1) / divisor
        torch.testing.assert_close(
            torch.autograd.grad(got.sum(), predicted), torch.autograd.grad(expected.sum(), predicted)
        )
    assert extend(model, Objective(), replace(noisy, batch=build_batch()), generator(0, 0, "x")).batch.mask is None


def test_a_mask_is_left_out_with_its_probability() -> None:
    model = tiny.build_model(is_shallow=True)
    adapter: Any = tiny.attach(Lora(**FEW_LAYERS), model, generator(0, 0, "method"))
    extend = make_preservation(PreserveSettings(), 0.0, model, adapter, unmasked_probability=0.25)
    batch = build_batch(200, torch.zeros(200, 1, 8, 8))
    noisy = add_noise(model, Objective(), batch, torch.rand(200), generator(0, 0, "noise"))
    found = extend(model, Objective(), noisy, generator(0, 0, "extend")).batch.mask
    assert found is not None and 30 <= found[:, 0, 0, 0].sum() <= 70
    assert set(found.flatten(1).sum(1).tolist()) == {0.0, 64.0}


def test_the_area_that_a_mask_excludes_changes_less_with_the_prior() -> None:
    mask = torch.ones(2, 1, 8, 8)
    mask[..., :4] = 0.0
    drifts = []
    for weight in (0.0, 4.0):
        model = tiny.build_model(is_shallow=True)
        before = predict(model, "a photo of zkr")
        adapter: Any = tiny.attach(Lora(**FEW_LAYERS), model, generator(0, 0, "method"))
        train(model, adapter, make_preservation(PreserveSettings(), weight, model, adapter), 0, 12, mask=mask)
        change = predict(model, "a photo of zkr") - before
        drifts.append(float(change[..., :4].norm()))
    free, held = drifts
    assert held < 0.6 * free, drifts
