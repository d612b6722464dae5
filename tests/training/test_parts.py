"""A batch that is computed in parts, because memory is short, gives the gradient of the whole batch."""

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
from tetrad.models.base import move_networks
from tetrad.training import gradients
from tetrad.training.loop import training_steps


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

    def gradient(samples_at_once: int) -> tuple[float, Tensor]:
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
        (step,) = training_steps(
            model, model.condition, Objective(noise=Pyramid()), [[whole]], torch.optim.SGD(parameters, 1.0),
            seed=0, max_grad_norm=0, samples_at_once=samples_at_once,
        )  # fmt: skip
        return step.loss, torch.cat([(a - b).flatten() for a, b in zip(before, parameters, strict=True)]).detach()

    loss, exact = gradient(0)
    loss_of_parts, found = gradient(samples_at_once)
    assert loss_of_parts == pytest.approx(loss, rel=1e-6)  # added up in float32
    assert (found - exact).norm() / exact.norm() < 1e-12
