"""Whether generated images show what their prompts ask for besides the trigger word."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tetrad.diffusion.noise import corrupt
from tetrad.diffusion.randomness import generator
from tetrad.judging.eyes.eye import TextEye, resize_to_square
from tetrad.judging.image_scores import estimate_share
from tetrad.judging.prompts import AttributePrompt
from tetrad.judging.scores import Score
from tetrad.models.base import Conditioning, Model, autocast_to_model_dtype, get_model_device

_TIMES = (300, 500, 700, 850)  # of 1000


def score_by_likelihood(model: Model, images: Sequence[Tensor], prompts: Sequence[AttributePrompt]) -> Score:
    """The share of images that the base model finds more likely with the attribute they were asked for than without.

    `model` has no adapter attached. Its loss stands for the likelihood of an image.  [Li et al. 2023, Diffusion
    Classifier]
    """
    gains = measure_gains(model, images, prompts)
    return estimate_share(gains > 0)


@torch.no_grad()
def measure_gains(model: Model, images: Sequence[Tensor], prompts: Sequence[AttributePrompt]) -> Tensor:
    """How much the asked attribute lowers the denoising loss of each image, with the same noise and times: (N,)."""
    device = get_model_device(model)
    texts = dict.fromkeys(text for each in prompts for text in (each.asked, each.unasked))
    conditionings = {text: model.condition([text]) for text in texts}
    gains = []
    for image, prompt in zip(images, prompts, strict=True):
        z = model.vae.encode(resize_to_square(image, model.resolution)[None])[0].float().to(device)
        z = z.expand(len(_TIMES), -1, -1, -1)
        rng = generator(0, 0, "likelihood")
        eps = torch.randn(z.shape, generator=rng).to(device)
        t = model.noise.times(torch.tensor(_TIMES) / 1000).to(device)
        z_t, target = corrupt(model.noise, z, eps, t), model.noise.target(z, eps, t)
        pair = [conditionings[prompt.asked], conditionings[prompt.unasked]]
        conditioning = Conditioning.stack([each for each in pair for _time in _TIMES])
        with autocast_to_model_dtype(model):
            output = model.predict(z_t.repeat(2, 1, 1, 1), t.repeat(2), conditioning).float()
        error = (output - target.repeat(2, 1, 1, 1)).square().flatten(1).mean(1)
        asked, unasked = error[: len(_TIMES)], error[len(_TIMES) :]
        gains.append(((unasked - asked) / unasked).mean().cpu())
    return torch.stack(gains)


def score_by_eye(eye: TextEye, images: Sequence[Tensor], prompts: Sequence[AttributePrompt]) -> Score:
    """The share of images that fit the attribute they were asked for better than any other that was asked for."""
    texts = list(dict.fromkeys(each.asked for each in prompts))
    nearest = (eye.look(images) @ eye.encode_texts(texts).T).argmax(1)
    return estimate_share(nearest == torch.tensor([texts.index(each.asked) for each in prompts]))
