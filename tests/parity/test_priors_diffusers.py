"""DreamBooth with class pictures: our loss and its gradient are those of diffusers' training script.

Its definition: predictions and targets of a batch are cut in two halves, subjects and class pictures, and the loss is
mse(subjects) + prior_loss_weight * mse(class pictures).
"""

import pytest
import tiny
import torch
from torch.nn import functional as F

from tetrad.data.batches import Batch
from tetrad.diffusion.noise import corrupt
from tetrad.diffusion.objective import Objective, gaussian
from tetrad.diffusion.randomness import generator, stratified
from tetrad.methods.dreambooth import DreamBooth
from tetrad.training.loop import training_steps

SEED, WEIGHT = 3, 0.7
CAPTIONS = ("a zkr dog", "zkr dog in a park", "a dog", "a photo of a dog")


@pytest.mark.parametrize("apart", [False, True])
def test_loss_and_gradient_with_priors_are_diffusers(apart: bool) -> None:
    latents = torch.randn(4, 4, 8, 8, generator=generator(0, 0, "latents"))
    weight = torch.tensor([1.0, 1.0, WEIGHT, WEIGHT])
    together = [Batch(latents, CAPTIONS, weight, priors=2)]
    two = [Batch(latents[:2], CAPTIONS[:2], weight[:2]), Batch(latents[2:], CAPTIONS[2:], weight[2:], priors=2)]
    batches = two if apart else together

    model = tiny.model()
    adapter = DreamBooth(text_encoder=True).attach(model, generator(0, 0, "method"))
    parameters = [parameter for group in adapter.groups().values() for parameter in group]
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.SGD(parameters, lr=1.0)
    steps = training_steps(model, model.condition, Objective(), [batches], optimizer, seed=SEED, max_grad_norm=0)
    ours = next(iter(steps)).loss
    moved = [old - new.detach() for old, new in zip(before, parameters, strict=True)]

    reference = tiny.model()
    learning = DreamBooth(text_encoder=True).attach(reference, generator(0, 0, "method"))
    outputs, targets, drawn = [], [], 0
    for number, batch in enumerate(batches):  # the same times and the same noise
        t = reference.noise.times(stratified(SEED, drawn, len(batch.latents)))
        drawn += len(batch.latents)
        noise = gaussian(batch.latents, generator(SEED, 1, f"noise {number}"))
        hidden = reference.condition(batch.captions).tokens
        outputs.append(reference.unet(corrupt(reference.noise, batch.latents, noise, t), t, hidden).sample)
        targets.append(noise)
    model_pred, model_pred_prior = torch.chunk(torch.cat(outputs), 2, dim=0)
    target, target_prior = torch.chunk(torch.cat(targets), 2, dim=0)
    loss = F.mse_loss(model_pred, target, reduction="mean")
    loss = loss + WEIGHT * F.mse_loss(model_pred_prior, target_prior, reduction="mean")
    loss.backward()

    assert ours == pytest.approx(loss.item(), rel=1e-5)
    wanted = [parameter.grad for group in learning.groups().values() for parameter in group]
    for found, gradient in zip(moved, wanted, strict=True):
        gradient = torch.zeros_like(found) if gradient is None else gradient
        torch.testing.assert_close(found, gradient, atol=2e-6, rtol=1e-3)  # old - new loses digits of small gradients
