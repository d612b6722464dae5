"""Find the caption settings that change a caption, by making the captions of a run with and without each of them."""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Generator

from tetrad.data.captions.caption_files import RawCaption, read_caption
from tetrad.data.captions.captions import Captions, TrainingProgress
from tetrad.data.dataset import Photo, has_own_text
from tetrad.data.discover.subsets import Subset, get_caption_suffixes
from tetrad.settings.captions import CaptionSettings
from tetrad.settings.field import replace

_DEFAULTS = CaptionSettings()
_SEEDS = 4  # random captions at each of several batches; that two settings never differ in all of them is improbable


@dataclass(frozen=True)
class BatchRange:
    """The batches of a run, counted from 0 at the start of training."""

    first: int
    end: int  # after the last
    per_epoch: int

    def reaches_epoch(self, every: int) -> bool:
        """Whether an epoch whose number is a multiple of `every` begins before the end."""
        return bool(every) and self._next_epoch(every) < self.end

    def sample_progress(self, every: int) -> list[TrainingProgress]:
        """Batches from the whole range: the first, some between, the last, and one of an `every`-th epoch if any."""
        between = (self.first + (self.end - self.first) * part // 4 for part in range(4))
        batches = {*between, self.first + self.per_epoch, self.end - 1, *([self._next_epoch(every)] if every else ())}
        return [
            TrainingProgress(batch // self.per_epoch + 1, batch, self.end)
            for batch in sorted(batches)
            if self.first <= batch < self.end
        ]

    def _next_epoch(self, every: int) -> int:
        """The first batch of an epoch whose number is a multiple of `every`, or the first of all if it is in one."""
        epoch = -(-(self.first // self.per_epoch + 1) // every) * every
        return max(self.first, (epoch - 1) * self.per_epoch)


def find_settings_that_change_captions(
    photos: Sequence[Photo], settings: CaptionSettings, batches: BatchRange
) -> set[str]:
    """The names of the settings, among those that differ from their default, without which a caption is different.

    `settings` are the run's. Those that a data set gives itself are used, but are no settings of the run.
    """
    names = [field.name for field in dataclasses.fields(CaptionSettings)]
    given = [name for name in names if getattr(settings, name) != getattr(_DEFAULTS, name)]
    return {
        name
        for name in given
        if any(_differ(name, *pair, batches) for pair in _captions_with_and_without(name, photos, settings))
    }


def is_left_open(subset: Subset, name: str, settings: CaptionSettings) -> bool:
    """Whether a subset uses the run's value of a caption setting."""
    is_own = f"data.captions.{name}" in subset.own_settings
    return not is_own and getattr(subset.caption_settings, name) == getattr(settings, name)


def _captions_with_and_without(
    name: str, photos: Sequence[Photo], settings: CaptionSettings
) -> Collection[tuple[Captions, Captions]]:
    """The captions of each photo with the run's value of a setting and with its default, without repetitions."""

    @cache
    def without(subset: Subset) -> Subset:
        own = replace(subset.caption_settings, **{name: getattr(_DEFAULTS, name)})
        return dataclasses.replace(subset, caption_settings=own)

    return {
        (_make_captions(photo, photo.subset), _make_captions(photo, without(photo.subset))): None
        for photo in photos
        if is_left_open(photo.subset, name, settings)
    }


def _make_captions(photo: Photo, subset: Subset) -> Captions:
    """The captions that a photo would have in another subset."""
    raw_caption = RawCaption(photo.captions.raw_text, photo.caption_source) if has_own_text(photo) else RawCaption()
    extension = subset.caption_settings.extension
    if extension != photo.subset.caption_settings.extension:
        in_file = read_caption(photo.path, get_caption_suffixes(extension), photo.guessed_encoding)
        was_in_file = photo.caption_source.startswith(".")
        raw_caption = in_file if in_file.text or was_in_file else raw_caption
    return subset.build_captions(photo.path, raw_caption)[0]


def _differ(name: str, captions: Captions, others: Captions, batches: BatchRange) -> bool:
    """Whether some use of an image has another caption without the setting."""
    if captions.templates != others.templates:
        return True
    progress = batches.sample_progress(captions.settings.dropout_epochs)
    return any(
        one.sample(_generator(seed), when) != other.sample(_generator(seed), when)
        for one, other in zip(_variants(name, captions), _variants(name, others), strict=False)
        for when in progress
        for seed in range(_SEEDS)
    )


def _generator(seed: int) -> Generator:
    generator = Generator()
    generator.manual_seed(seed)
    return generator


def _variants(name: str, captions: Captions) -> Iterator[Captions]:
    """The captions for each text that may be picked at random, with chances at which a difference is seen."""
    chosen = next((line for line in captions.templates if "[filewords]" in line.lower()), captions.templates[0])
    own, changes = captions.settings, {}
    if 0 < own.dropout < 1:
        changes["dropout"] = 0.5 if name == "dropout" else 0.0
    if 0 < own.tag_dropout < 1:
        changes["tag_dropout"] = 0.5
    fields: dict[str, Any] = {"templates": (chosen,), "settings": replace(own, **changes)}
    captions = dataclasses.replace(captions, **fields)
    yield captions
    if own.wildcards:
        for line in captions.raw_text.splitlines():
            yield dataclasses.replace(captions, raw_text=line)
