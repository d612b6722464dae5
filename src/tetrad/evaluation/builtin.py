"""Score a training on the built-in model: likeness, obedience and leak, from images generated before and after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tetrad.builtin.recognition import compute_distances, detect_background
from tetrad.evaluation.builtin_tasks import EvaluationPrompt, Task, make_prompts_without_trigger_word
from tetrad.generation.generate import StepCallback, generate_images, ignore_step
from tetrad.generation.request import Request
from tetrad.locales import Message, _
from tetrad.models.base import Model

# More steps are not better: of 64 images of a LoRA, 59 % were recognized with 6 steps, 56 % with 7, 53 % with 15.
_SAMPLING_STEPS, _CFG_SCALE, BATCH_SIZE = 8, 4.0, 16


@dataclass(frozen=True)
class EvaluationScores:
    """Scores on prompts that were not trained on; shares are from 0 to 1."""

    likeness_before: float  # share of the base model's images that are recognized as the trained subject or style
    likeness: float  # the same after training
    obedience: float  # share of the images after training with the background that the prompt asks for
    leak: float  # change of images without the trigger word: 0 none, 1 as much as with another seed

    def __str__(self) -> str:
        message = Message(
            _("likeness {before:.0%} before, {after:.0%} after; obedience {obedience:.0%}; leak {leak:.2f}"),
            before=self.likeness_before,
            after=self.likeness,
            obedience=self.obedience,
            leak=self.leak,
        )
        return str(message)


def evaluate_training(
    model: Model,
    task: Task,
    trigger_word: str,
    attach: Callable[[], object],
    count: int = 32,
    on_step: StepCallback = ignore_step,
) -> EvaluationScores:
    """Generate `count` of the task's prompts and half as many without the trigger word, before and after `attach`.

    What `attach` attached stays on the model.
    """
    evaluation_prompts, prompts_without_word = (
        task.make_prompts(trigger_word)[:count],
        make_prompts_without_trigger_word()[: max(1, count // 2)],
    )
    prompts = [each.prompt for each in evaluation_prompts]

    def generate_all(texts: Sequence[str], first_seed: int = 0) -> NDArray[np.uint8]:
        return generate_arrays(model, texts, first_seed, on_step)

    before, without_word_before = generate_all(prompts), generate_all(prompts_without_word)
    without_word_other_seeds = generate_all(prompts_without_word, first_seed=1000)
    attach()
    after, without_word_after = generate_all(prompts), generate_all(prompts_without_word)
    return EvaluationScores(
        measure_likeness(evaluation_prompts, before),
        measure_likeness(evaluation_prompts, after),
        measure_obedience(evaluation_prompts, after),
        _compute_mean_difference(without_word_before, without_word_after)
        / max(1e-6, _compute_mean_difference(without_word_before, without_word_other_seeds)),
    )


def count_evaluation_steps(count: int = 32) -> int:
    """How often `evaluate_training` calls `on_step`."""
    batches = [-(-number // BATCH_SIZE) for number in (count, max(1, count // 2))]
    return _SAMPLING_STEPS * (2 * batches[0] + 3 * batches[1])


def generate_arrays(
    model: Model,
    prompts: Sequence[str],
    first_seed: int = 0,
    on_step: StepCallback = ignore_step,
    sampling_steps: int = _SAMPLING_STEPS,
) -> NDArray[np.uint8]:
    """An image for each prompt, with increasing seeds: (N, H, W, 3) in 0 … 255."""
    requests = [
        Request(prompt, seed=first_seed + number, steps=sampling_steps, cfg_scale=_CFG_SCALE)
        for number, prompt in enumerate(prompts)
    ]
    arrays = [
        image.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
        for image in generate_images(model, requests, BATCH_SIZE, on_step=on_step)
    ]
    return np.stack(arrays)


def measure_likeness(evaluation_prompts: Sequence[EvaluationPrompt], images: NDArray[np.uint8]) -> float:
    """The share of images whose nearest candidate drawing is a correct one."""
    nearest = [
        each.candidates[int(compute_distances(image, each.candidates, each.background).argmin())]
        for each, image in zip(evaluation_prompts, images, strict=True)
    ]
    return float(np.mean([pair in each.correct for pair, each in zip(nearest, evaluation_prompts, strict=True)]))


def measure_obedience(evaluation_prompts: Sequence[EvaluationPrompt], images: NDArray[np.uint8]) -> float:
    """The share of images with the background that their prompt asks for."""
    backgrounds = [each.background for each in evaluation_prompts]
    return float(np.mean([detect_background(image) == name for image, name in zip(images, backgrounds, strict=True)]))


def _compute_mean_difference(images: NDArray[np.uint8], other_images: NDArray[np.uint8]) -> float:
    """The mean absolute difference of two arrays of images, 0 … 255."""
    return float(np.abs(images.astype(np.float32) - other_images).mean())
