"""A few images of a large data set, for a plan that does not decode every image."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from tetrad.builtin import resolve_images_path
from tetrad.data.buckets import bucket_of
from tetrad.data.dataset import Photo
from tetrad.data.discover.layouts import Listing
from tetrad.data.parallel import map_ahead
from tetrad.data.shards.list_shards import estimate_shards, find_shards
from tetrad.images.bands import decode_image, fit_on_white
from tetrad.images.examine import examine_image
from tetrad.images.tensors import to_tensor
from tetrad.locales import Message, _
from tetrad.run.dataset import Dataset, DatasetSample, find_images, make_subset
from tetrad.run.events import Note
from tetrad.settings import Data

FEW_IMAGES = 2_000  # up to which a plan looks at all of them
_SAMPLE, _TIMED = 64, 16
# Bytes of memory that a run takes for an image, and for a letter of its caption: `python -m bench.large_data`.
_IMAGE_BYTES, _LETTER_BYTES = 1_600, 2


@dataclass
class SampleFinder:
    """Lists the images that settings name, or only some of them where they are many."""

    total: int = 0  # images of the whole data set, where only some are listed
    is_counted: bool = True

    def find(self, data: Data, trigger_word: str, requires_trigger_word: bool) -> Listing:
        """In the place of `find_images`."""
        path = resolve_images_path(data.images)
        if not data.metadata and (shards := find_shards(path)):
            subset = make_subset(data, trigger_word, requires_trigger_word)
            listing, total, self.is_counted = estimate_shards(path, shards, subset)
            if total <= FEW_IMAGES and not self.is_counted:
                listing, self.is_counted = find_images(data, trigger_word, requires_trigger_word), True
                total = len(listing)
        else:
            listing = find_images(data, trigger_word, requires_trigger_word)
            total = len(listing)
        if total <= FEW_IMAGES:
            return listing
        self.total = total
        chosen = (listing.entries[number * len(listing) // _SAMPLE] for number in range(_SAMPLE))
        return replace(listing, entries=tuple(chosen))

    def enlarge(self, dataset: Dataset, resolution: int) -> Dataset:
        """The data set of the listed images, as large as all; the resolution is that of the run."""
        photos = dataset.photos
        if not self.total:
            return dataset
        letters = sum(len(photo.captions.raw_text) for photo in photos) / len(photos)
        memory = round(self.total * (_IMAGE_BYTES + _LETTER_BYTES * letters))
        sample = DatasetSample(photos, self.total, self.is_counted, _time_images(photos, resolution), memory)
        template = _("the plan is estimated from {sample} of {total:,} images")
        if not self.is_counted:
            template = _("the plan is estimated from {sample} of about {total:,} images")
        note = Note(Message(template, sample=len(photos), total=self.total))
        notes = [note, *(each for each in dataset.notes if each.code)]
        return replace(dataset, photos=sample.repeat(), sample=sample, notes=notes)


def _time_images(photos: Sequence[Photo], resolution: int) -> float:
    """The seconds that an image takes until it can be encoded: to look at it, and to decode it again and resize it."""
    timed = photos[:: max(1, len(photos) // _TIMED)]
    began = time.perf_counter()
    for _pixels in map_ahead(partial(_look_and_fit, resolution=resolution), timed):
        pass
    return (time.perf_counter() - began) / len(timed)


def _look_and_fit(photo: Photo, resolution: int) -> object:
    examine_image(photo.path)
    size = bucket_of(photo, resolution)
    return to_tensor(fit_on_white(decode_image(photo.path, size), size))
