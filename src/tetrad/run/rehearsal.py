"""The first steps of a run in a temporary folder, to measure how long a step and a preview take, and the memory."""

import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from tetrad.data.buckets import bucket_of
from tetrad.data.dataset import has_own_text
from tetrad.models.device import measure_peak_memory
from tetrad.run.dataset import DatasetSample
from tetrad.run.events import Event, Phase, Sampled, Trained
from tetrad.run.plan import Plan
from tetrad.run.planned_run import PlannedRun
from tetrad.run.train import train
from tetrad.settings import Data, Recipe
from tetrad.settings.field import replace

_WARM_UP_STEPS, _TIMED_STEPS = 1, 2


@dataclass(frozen=True)
class Rehearsal:
    """What the first steps of a run took."""

    step_seconds: float
    preview_seconds: float  # of one image; 0 where the run makes none
    peak_memory: int  # bytes

    def estimate_seconds(self, planned: PlannedRun) -> float:
        """The time of the whole run, with its previews and the class images that are missing."""
        images = planned.count_preview_images(self.step_seconds) + planned.missing_class_images
        return self.step_seconds * planned.new_steps + self.preview_seconds * images


def rehearse(recipe: Recipe, planned: PlannedRun) -> Rehearsal:
    """Train three steps as the recipe says, and make one preview; nothing of it stays.

    The first step, in which a device warms up, is not timed.
    """
    with TemporaryDirectory(prefix="tetrad-plan-") as folder:
        short = _shorten(recipe, planned, Path(folder))
        if planned.sample:
            short = replace(
                short, data=_copy_images(planned.sample, recipe.data, planned.plan, Path(folder) / "images")
            )
        with closing(cast(Generator[Event, None, None], train(short))) as events:  # its end closes the folder's files
            return _measure(events)


def _shorten(recipe: Recipe, planned: PlannedRun, folder: Path) -> Recipe:
    """The recipe with three steps and at most one preview, which writes into another folder."""
    before = planned.plan.train.steps_before
    steps = before + _WARM_UP_STEPS + _TIMED_STEPS + 1  # the run is left before its last step, which saves
    sample = {"every": steps + 1, "before_training": True, "overfit_prompts": ()}
    prompts = planned.plan.sample.prompts[:1]
    return replace(
        recipe,
        train=replace(recipe.train, steps=steps, epochs=0),
        sample=replace(recipe.sample, prompts=prompts, **(sample if planned.count_previews() else {"every": -1})),
        save=replace(recipe.save, out=str(folder), every=0),
    )


def _copy_images(sample: DatasetSample, data: Data, plan: Plan, folder: Path) -> Data:
    """As many images of the most frequent size as the steps need, in a folder of their own with their captions."""
    sizes = [bucket_of(photo, plan.data.resolution) for photo in sample.photos]
    usual = Counter(sizes).most_common(1)[0][0]
    photos = [photo for photo, size in zip(sample.photos, sizes, strict=True) if size == usual]
    folder.mkdir()
    for number in range(plan.train.batch_size * plan.train.gradient_accumulation):
        photo = photos[number % len(photos)]
        (folder / f"{number}{photo.path.suffix}").write_bytes(photo.path.read_bytes())
        if has_own_text(photo):
            (folder / f"{number}.txt").write_text(photo.captions.raw_text, "utf-8")
    return replace(data, images=str(folder), trigger_word=plan.data.trigger_word, masks="")


def _measure(events: Iterator[Event]) -> Rehearsal:
    """Times between the events of a short run."""
    preview_seconds, times = 0.0, []
    phase_began = time.monotonic()
    for event in events:
        if isinstance(event, Phase):
            phase_began = time.monotonic()
        elif isinstance(event, Sampled) and not preview_seconds:
            preview_seconds = time.monotonic() - phase_began
        elif isinstance(event, Trained):
            times.append(time.monotonic())
            if len(times) > _TIMED_STEPS:
                break
    return Rehearsal((times[-1] - times[0]) / (len(times) - 1), preview_seconds, measure_peak_memory())
