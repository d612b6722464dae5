"""Whether generated images show what their prompts ask for besides the trigger word."""

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tetrad.builtin import (
    BACKGROUNDS,
    SAMPLE_STYLE_SET,
    STYLE_WORDS,
    TRAINED_SUBJECTS,
    SubjectStylePair,
    compute_distances,
    detect_background,
    detect_colour,
    get_subject_words,
)
from tetrad.data.captions.captions import contains_word
from tetrad.diffusion.noise import corrupt
from tetrad.diffusion.randomness import generator
from tetrad.images.tensors import to_array
from tetrad.judging.eyes.eye import TextEye, resize_to_square
from tetrad.judging.image_scores import estimate_share
from tetrad.judging.prompts import AttributePrompt
from tetrad.judging.scores import Score
from tetrad.models.base import Conditioning, Model, autocast_to_model_dtype, get_model_device

_TIMES = (300, 500, 700, 850)  # of 1000
_BACKGROUND = re.compile(r"\bon an? (\w+) background\b", re.I)


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


def score_by_recognition(images: Sequence[Tensor], prompts: Sequence[AttributePrompt]) -> Score | None:
    """The share of images of the built-in model that show the background, subject or colour that is asked for.

    None where a prompt asks for something else, which cannot be recognized.
    """
    shown = [recognize(to_array(image), prompt) for image, prompt in zip(images, prompts, strict=True)]
    found = [each for each in shown if each is not None]
    return estimate_share(torch.tensor(found)) if shown and len(found) == len(shown) else None


def recognize(image: NDArray[np.uint8], prompt: AttributePrompt) -> bool | None:
    """Whether an image (H, W, 3) shows what a prompt asks for in addition; None where that cannot be recognized."""
    background, usual = (_BACKGROUND.search(text) for text in (prompt.asked, prompt.unasked))
    if background and not usual:
        name = background[1].lower()
        return detect_background(image) == name if name in BACKGROUNDS else None
    new = [each for each in re.findall(r"[\w-]+", prompt.asked.lower()) if not contains_word(prompt.unasked, each)]
    words = {get_subject_words(subject): subject for subject in TRAINED_SUBJECTS}
    if subject := next((words[text] for text in words if contains_word(" ".join(new), text)), None):
        styles = (*STYLE_WORDS, SAMPLE_STYLE_SET)
        pairs = [SubjectStylePair(each, style) for style in styles for each in TRAINED_SUBJECTS]
        nearest = pairs[int(compute_distances(image, pairs, detect_background(image)).argmin())]
        return bool(nearest.subject == subject)
    colour = next((each for each in new if each in BACKGROUNDS), None)
    return detect_colour(image) == colour if colour else None
