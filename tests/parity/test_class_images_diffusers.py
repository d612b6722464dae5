"""DreamBooth with class images: loss and gradient equal those of diffusers' training script.

The script splits predictions and targets of a batch into two halves, subject and class images, and its loss is
mse(subject) + prior_loss_weight * mse(class).
"""

import pytest
import tiny
import torch
from torch.nn import functional as F

from tetrad.data.batches import Batch
from tetrad.diffusion.noise import corrupt
from tetrad.diffusion.objective import Objective, gaussian
from tetrad.diffusion.randomness import generator, stratified_quantiles
from tetrad.methods import DreamBooth
from tetrad.methods.base import parameters_of
from tetrad.training.loop import training_steps

SEED, WEIGHT = 3, 0.7
CAPTIONS = ("a zkr dog", "zkr dog in a park", "a dog", "a photo of a dog")


@pytest.mark.parametrize("in_two_batches", [False, True])
def test_loss_and_gradient_with_class_images_equal_diffusers(in_two_batches: bool) -> None:
    latents = torch.randn(4, 4, 8, 8, generator=generator(0, 0, "latents"))
    weight = torch.tensor([1.0, 1.0, WEIGHT, WEIGHT])
    one_batch = [Batch(latents, CAPTIONS, weight, class_image_count=2)]
    two_batches = [
        Batch(latents[:2], CAPTIONS[:2], weight[:2]),
        Batch(latents[2:], CAPTIONS[2:], weight[2:], class_image_count=2),
    ]
    batches = two_batches if in_two_batches else one_batch

    model = tiny.build_model()
    adapter = tiny.attach(DreamBooth(text_encoder=True), model, generator(0, 0, "method"))
    parameters = parameters_of(adapter)
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    steps = training_steps(model, model.condition, Objective(), [batches], optimizer, seed=SEED, max_grad_norm=0)
    ours = next(iter(steps)).loss
    gradients = [old - new.detach() for old, new in zip(before, parameters, strict=True)]  # learning rate 1

    reference = tiny.build_model()
    reference_adapter = tiny.attach(DreamBooth(text_encoder=True), reference, generator(0, 0, "method"))
    outputs, targets, sample_count = [], [], 0
    for number, batch in enumerate(batches):  # the same times and the same noise
        t = reference.noise.times(stratified_quantiles(SEED, sample_count, len(batch.latents)))
        sample_count += len(batch.latents)
        noise = gaussian(batch.latents, generator(SEED, 1, f"noise {number}"))
        hidden = reference.condition(batch.captions).hidden_states
        outputs.append(reference.unet(corrupt(reference.noise, batch.latents, noise, t), t, hidden).sample)
        targets.append(noise)
    model_pred, model_pred_prior = torch.chunk(torch.cat(outputs), 2, dim=0)
    target, target_prior = torch.chunk(torch.cat(targets), 2, dim=0)
    loss = F.mse_loss(model_pred, target, reduction="mean")
    loss = loss + WEIGHT * F.mse_loss(model_pred_prior, target_prior, reduction="mean")
    loss.backward()

    assert ours == pytest.approx(loss.item(), rel=1e-5)
    for gradient, parameter in zip(gradients, parameters_of(reference_adapter), strict=True):
        expected = torch.zeros_like(gradient) if parameter.grad is None else parameter.grad
        # old - new loses digits of small gradients
        torch.testing.assert_close(gradient, expected, atol=2e-6, rtol=1e-3)
