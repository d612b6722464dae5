"""Batches that are computed in parts, because memory is short, or together, have the gradient that they have alone."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective, Pyramid
from tetrad.diffusion.randomness import generator
from tetrad.methods import Lora
from tetrad.models.base import Conditioning, move_networks
from tetrad.training import gradients
from tetrad.training.loop import training_steps


def gradient(batches: Sequence[Batch], samples_at_once: int) -> tuple[float, Tensor, list[int]]:
    """The loss and the gradient of an update, and how many samples each forward pass had."""
    model = tiny.build_model(is_shallow=True)
    move_networks(model, torch.device("cpu"), torch.float64)
    adapter = tiny.attach(Lora(rank=2), model, generator(0, 0, "method"))
    for parameter in (each for group in adapter.groups() for each in group.parameters):
        parameter.data = parameter.data.double()
    parameters = [parameter for group in adapter.groups() for parameter in group.parameters]
    with torch.no_grad():
        for number, parameter in enumerate(parameters):
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator(0, number, "w")))
    before = [parameter.detach().clone() for parameter in parameters]
    sizes: list[int] = []

    def condition(captions: Sequence[str], micro_conditioning: Tensor | None = None) -> Conditioning:
        sizes.append(len(captions))
        return model.condition(captions, micro_conditioning)

    (step,) = training_steps(
        model, condition, Objective(noise=Pyramid()), [batches], torch.optim.SGD(parameters, 1.0),
        seed=0, max_grad_norm=0, samples_at_once=samples_at_once,
    )  # fmt: skip
    difference = torch.cat([(a - b).flatten() for a, b in zip(before, parameters, strict=True)]).detach()
    return step.loss, difference, sizes


def test_batches_together_have_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those of one shape are computed together, and those with a mask apart from those without."""
    monkeypatch.setattr(gradients, "autocast_to_model_dtype", lambda model: nullcontext())  # which float64 has not
    wide, high = [
        Batch(torch.randn(2, 4, *shape, generator=generator(0, 0, "z")).double(), ("a", "b"), torch.ones(2).double())
        for shape in ((8, 16), (16, 8))
    ]
    masked = replace(wide, mask=torch.rand(2, 1, 8, 16, generator=generator(0, 0, "mask")).double())
    batches = [wide, high, wide, masked, wide, high.take(slice(1))]
    loss, exact, sizes = gradient(batches, 0)
    loss_together, found, sizes_together = gradient(batches, 4)
    assert sorted(sizes) == [1, 2, 2, 2, 2, 2] and sorted(sizes_together) == [2, 2, 3, 4]
    assert loss_together == pytest.approx(loss, rel=1e-6)  # added up in float32
    assert (found - exact).norm() / exact.norm() < 1e-12


@pytest.mark.parametrize("samples_at_once", [1, 2, 3])
def test_a_batch_in_parts_has_the_same_gradient(samples_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64, where rounding cannot hide a difference.

    With noise that depends on the whole batch, weights, a mask and class images; the parts are not all equal.
    """
    monkeypatch.setattr(gradients, "autocast_to_model_dtype", lambda model: nullcontext())  # which float64 has not
    whole = replace(
        Batch(torch.randn(5, 4, 8, 8, generator=generator(0, 0, "z")).double(), tuple("abcde"), torch.ones(5)),
        weight=torch.tensor([1.0, 1, 1, 0.5, 0.5], dtype=torch.float64),
        mask=torch.rand(5, 1, 8, 8, generator=generator(0, 0, "mask")),
        class_image_count=2,
    )

    loss, exact, _sizes = gradient([whole], 0)
    loss_of_parts, found, _sizes = gradient([whole], samples_at_once)
    assert loss_of_parts == pytest.approx(loss, rel=1e-6)  # added up in float32
    assert (found - exact).norm() / exact.norm() < 1e-12
