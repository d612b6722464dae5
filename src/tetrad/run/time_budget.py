"""How many images may be generated to score a run: all together take at most a share of the time of its steps."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from typing import Any

from tetrad.judging.image_judge import Counts

MAX_SHARE = 0.25  # of the time of the steps until now
_PREVIEWS_SHARE = MAX_SHARE / 2  # before the end, so that as much is left for it
_MOST, _LEAST = 12, 4  # images with the trigger word, and as many without it
_MOST_AT_END = 64  # without it
_SANITY = 3  # one image of a sanity prompt for so many others
_PREDICTIONS_PER_SAMPLE = 3  # a training sample takes about as long as so many predictions for images
_PREDICTIONS_PER_LOOK = 2
_CAUTION = 1.5  # while no image was generated yet: looking at it takes time too


@dataclass
class TimeBudget:
    """The time that steps and images took until now; a resume point keeps it.

    `predictions` are those of one image, and `samples` those of one step: what an image is expected to take before the
    first one was generated, if no preview was either.
    """

    predictions: int
    samples: int
    steps: int = 0
    step_seconds: float = 0.0
    images: int = 0
    image_seconds: float = 0.0
    base: Counts = Counts(0, 0)  # the base model's images that are there already
    prediction_seconds: float = 0.0  # by the last previews

    @contextmanager
    def spend(self) -> Iterator[None]:
        """A context whose time counts as that of images."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.image_seconds += time.monotonic() - start

    @contextmanager
    def time_previews(self, predictions: int) -> Iterator[None]:
        """A context in which so many predictions are made for previews."""
        start = time.monotonic()
        yield
        self.prediction_seconds = (time.monotonic() - start) / predictions

    def add_steps(self, count: int, seconds: float) -> None:
        self.steps, self.step_seconds = self.steps + count, self.step_seconds + seconds

    def note_base(self, counts: Counts) -> None:
        """So many of the base model's images are there now, and those that were there before."""
        self.base = Counts(*map(max, astuple(self.base), astuple(counts)))

    def count_affordable(self, is_end: bool) -> int:
        """How many images may be generated now."""
        left = (MAX_SHARE if is_end else _PREVIEWS_SHARE) * self.step_seconds - self.image_seconds
        return max(0, int(left / self._image_seconds())) if self.steps else 0

    def count_as_images(self, looks: int) -> int:
        """How many images take as long as looking at so many others: encoding each, and one prediction for it."""
        return -(-_PREDICTIONS_PER_LOOK * looks // self.predictions)

    def _image_seconds(self) -> float:
        if self.images:
            return self.image_seconds / self.images
        by_steps = self.step_seconds / max(1, self.steps) / (_PREDICTIONS_PER_SAMPLE * self.samples)
        return max(1e-6, _CAUTION * self.predictions * (self.prediction_seconds or by_steps))

    def as_values(self) -> list[float]:
        return [
            self.steps, self.step_seconds, self.images, self.image_seconds, *astuple(self.base), self.prediction_seconds
        ]  # fmt: skip

    def restore(self, values: Any) -> None:
        """The times as they were in a resume point."""
        self.steps, self.step_seconds, self.images, self.image_seconds, *base = values[:7]
        self.base = Counts(*base)
        [self.prediction_seconds] = values[7:] or [0.0]  # older resume points have none


def count_predictions(steps: int, cfg_scale: float) -> int:
    """Of one image: guidance needs a second one at each step."""
    return steps * (1 if cfg_scale == 1 else 2)


def choose_counts(affordable: int, base: Counts, has_sanity: bool, is_end: bool) -> Counts | None:
    """The most images of each kind that can be afforded, none where they are too few to say anything.

    Each is generated twice, with the training and by the base model, unless it is among `base`, which are there.
    """

    def cost(counts: Counts) -> int:
        pairs = zip(astuple(counts), astuple(base), strict=True)
        missing: int = sum(max(0, wanted - there) for wanted, there in pairs)
        return counts.total + missing

    for number in range(_MOST, _LEAST - 1, -1):
        counts = Counts(number, number, number // _SANITY if has_sanity else 0)
        if cost(counts) > affordable:
            continue
        while is_end and counts.without_word < _MOST_AT_END:
            more = replace(counts, without_word=counts.without_word + 1)
            if cost(more) > affordable:
                break
            counts = more
        return counts
    return None
