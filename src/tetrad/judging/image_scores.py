"""The scores that generated images give, each beside the untouched base model's images at the same prompts and seeds.

All take the features of one eye (N, …) and how it measures distances, so that the same functions serve every eye.
"""

import torch
from torch import Tensor

from tetrad.judging.eyes.eye import Distances, measure_distances
from tetrad.judging.scores import Score


def measure_likeness(
    generated: Tensor, base: Tensor, references: Tensor, measure: Distances = measure_distances
) -> Score:
    """1 - r / b: how much nearer the images are to the nearest training image (r) than the base model's are (b).

    0: no nearer than the base's at the same seeds; 1: equal to a training image; negative: further away. Row n of
    `generated` and of `base` have the same prompt and seed, so the error is that of a ratio of paired means.
    """
    nearest = measure(generated, references).min(1).values
    base_nearest = measure(base, references).min(1).values
    return _complement(_divide_means(nearest, base_nearest))


def measure_own_likeness(references: Tensor, base: Tensor, measure: Distances = measure_distances) -> float | None:
    """The likeness of the training images to each other, each compared with the others; None for a single one."""
    if len(references) < 2:
        return None
    distances = measure(references, references).fill_diagonal_(torch.inf)
    base_nearest = measure(base, references).min(1).values
    return 1 - (distances.min(1).values.mean() / base_nearest.mean()).item()


def measure_kept(generated: Tensor, base: Tensor, measure: Distances = measure_distances) -> Score:
    """The share of images without the trigger word whose own image of the base model is the nearest of all of them."""
    is_kept = measure(generated, base).argmin(1) == torch.arange(len(base))
    return estimate_share(is_kept)


def measure_leak(generated: Tensor, base: Tensor) -> Score:
    """Mean pixel difference to the base model's image, as a share of that between its images of different prompts.

    Takes images (N, 3, H, W) instead of features. It grows with the strength, roughly linearly. 1 would be another
    prompt's image; edges moved by a few pixels give 0.1 to 0.2, so a small leak is no change of content.
    """
    others = [(base[n] - base[m]).abs().mean() for n in range(len(base)) for m in range(n)]
    scale = torch.stack(others).mean().clamp_min(1e-6) if others else torch.tensor(1.0)
    changes = (generated - base).abs().flatten(1).mean(1) / scale
    return _estimate_mean(changes)


def measure_spread(generated: Tensor, references: Tensor, measure: Distances = measure_distances) -> Score | None:
    """How different the generated images are from each other, as a share of the training images' own difference.

    Means over all pairs; the error is a jackknife's over images. None with fewer than two of either, or where all
    training images are equal.
    """
    own = _mean_of_pairs(measure(references, references)) if len(references) > 1 else 0.0
    if len(generated) < 2 or not own:
        return None
    distances = measure(generated, generated)
    count = len(generated)
    if count < 3:
        return Score(_mean_of_pairs(distances) / own)
    without_one = torch.tensor([_mean_of_pairs(_leave_out(distances, each)) for each in range(count)]) / own
    error = ((count - 1) / count * (without_one - without_one.mean()).square().sum()).sqrt().item()
    return Score(_mean_of_pairs(distances) / own, error)


def estimate_share(hits: Tensor) -> Score:
    """A share with its standard error, which is not 0 for all or none of few.  [Agresti & Coull 1998]"""
    count, found = len(hits), int(hits.sum())
    adjusted = (found + 2) / (count + 4)
    return Score(found / count, (adjusted * (1 - adjusted) / (count + 4)) ** 0.5)


def _estimate_mean(values: Tensor) -> Score:
    error = (values.std() / len(values) ** 0.5).item() if len(values) > 1 else None
    return Score(values.mean().item(), error)


def _divide_means(values: Tensor, others: Tensor) -> Score:
    """The ratio of two paired means, with the standard error of a ratio estimator.  [Cochran 1977, eq. 6.13]"""
    scale = others.mean().clamp_min(1e-9)
    ratio = values.mean() / scale
    if len(values) < 2:
        return Score(ratio.item())
    residuals = values - ratio * others
    error = residuals.square().sum().div(len(values) - 1).sqrt() / (scale * len(values) ** 0.5)
    return Score(ratio.item(), error.item())


def _complement(score: Score) -> Score:
    return Score(1 - score.value, score.error)


def _mean_of_pairs(distances: Tensor) -> float:
    """The mean of a square matrix without its diagonal."""
    count = len(distances)
    return ((distances.sum() - distances.diagonal().sum()) / (count * (count - 1))).item()


def _leave_out(distances: Tensor, index: int) -> Tensor:
    kept = torch.arange(len(distances)) != index
    return distances[kept][:, kept]
