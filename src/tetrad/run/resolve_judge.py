"""Decides how a run is judged: which images are held out, how often it is measured, and how thoroughly."""

from collections import Counter
from collections.abc import Sequence

from tetrad.data.dataset import Photo, group_similar
from tetrad.diffusion.randomness import derive_seed
from tetrad.run.plan import JudgePlan
from tetrad.settings import Recipe

MAX_TIME_SHARE = 0.05  # of the run's time, for all measurements together
_PREDICTIONS_PER_SAMPLE = 1.7  # a training sample takes as long as so many predictions, measured on a CPU
_MIN_PREDICTIONS, _MAX_PREDICTIONS = 12, 48  # of a measurement
_MEASUREMENTS = 4  # where fewer files are saved
_MEASUREMENTS_TO_STOP = 16  # so that what is trained too long is at most a fraction of the run
_SHARE, _MAX_AUTOMATIC = 10, 3  # one image of ten is held out, and at most so many
_MIN_IMAGES_TO_STOP = 4  # that one of them is held out for --stop auto
OFF = JudgePlan(0, 0, (), False)


def resolve_judge(recipe: Recipe, photos: Sequence[Photo], steps: int, step_samples: int) -> JudgePlan:
    """The plan for a run of so many steps from now on, each of so many samples; `photos` are without class images."""
    judge = recipe.judge
    if judge.scores == "off" or (judge.scores == "auto" and not judge.stops and not judge.uses_images):
        return OFF
    saves = _count_saves(recipe, len(photos), steps, step_samples)
    wanted = 0 if judge.stops and saves else _MEASUREMENTS_TO_STOP if judge.stops else _MEASUREMENTS
    every = max(1, -(-steps // wanted)) if wanted else 0
    measurements = max(saves, steps // every if every else 0) + 2  # with those before training and at its end
    affordable = int(MAX_TIME_SHARE * _PREDICTIONS_PER_SAMPLE * steps * step_samples / measurements)
    predictions = min(max(affordable, _MIN_PREDICTIONS), _MAX_PREDICTIONS)
    held_out = choose_held_out(photos, _count_held_out(recipe, len(photos)), recipe.train.seed)
    return JudgePlan(predictions, every, held_out, judge.stops, judge.images)


def _count_saves(recipe: Recipe, images: int, steps: int, step_samples: int) -> int:
    """About how many files are saved before the end."""
    save = recipe.save
    by_steps = steps // save.every if save.every else 0
    epochs = steps * step_samples / max(1, images * recipe.data.repeats)
    return by_steps + (int(epochs / save.every_epochs) if save.every_epochs else 0)


def _count_held_out(recipe: Recipe, images: int) -> int:
    if recipe.judge.held_out >= 0:
        return recipe.judge.held_out
    least = 1 if recipe.judge.stops and images >= _MIN_IMAGES_TO_STOP else 0
    return max(least, min(images // _SHARE, _MAX_AUTOMATIC))


def choose_held_out(photos: Sequence[Photo], count: int, seed: int) -> tuple[str, ...]:
    """The hashes of up to `count` images to hold out, always the same for a seed and these images.

    Never an image that another one is nearly the same as, which would be trained on in its place, and never the only
    image of a subset; at least half of all images are trained on.
    """
    if not count:
        return ()
    similar = {photo.file_hash for group in group_similar(photos) for photo in group}
    sizes = Counter(photo.subset for photo in photos)
    candidates = {photo.file_hash for photo in photos if photo.file_hash not in similar and sizes[photo.subset] > 1}
    ordered = sorted(candidates, key=lambda file_hash: derive_seed(seed, 0, f"held out {file_hash}"))
    return tuple(ordered[: min(count, len(photos) // 2)])
