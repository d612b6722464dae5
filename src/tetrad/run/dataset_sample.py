"""A few images of a large data set, for a plan that does not decode every image."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

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
from tetrad.models.device import DeviceSpec
from tetrad.run.dataset import Dataset, DatasetSample, find_images, make_subset
from tetrad.run.events import Note
from tetrad.run.open_model import open_model
from tetrad.run.plan import DataPlan
from tetrad.settings import Data, Recipe

FEW_IMAGES = 2_000  # up to which a plan looks at all of them
_SAMPLE, _TIMED, _ENCODED = 64, 16, 3
# Bytes of memory that a run takes for an image, and for a letter of its caption: `python -m bench.large_data`.
_IMAGE_BYTES, _LETTER_BYTES = 1_600, 2


@dataclass(frozen=True)
class Preparation:
    """What a large data set takes before it is trained on, in one process; the cache keeps it."""

    decoding_seconds: float  # measured on some images
    encoding_seconds: float  # measured on one size
    memory_bytes: int  # of the computer, for the list of the images

    @property
    def seconds(self) -> float:
        """Images are decoded in other threads than that which encodes."""
        return max(self.decoding_seconds, self.encoding_seconds)


@dataclass
class SampleFinder:
    """Lists the images that settings name, or only some of them where they are many."""

    total: int = 0  # images of the whole data set, where only some are listed
    is_counted: bool = True

    def find(self, data: Data, trigger_word: str, requires_trigger_word: bool) -> Listing:
        """In the place of `find_images`."""
        path = resolve_images_path(data.images)
        if not data.metadata and not data.folders and (shards := find_shards(path)):
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


def prepare_sample(recipe: Recipe, device: DeviceSpec, data: DataPlan, sample: DatasetSample) -> Preparation:
    """What the whole data set of a sample takes; the model is loaded to encode an image of the most frequent size."""
    model, _start = open_model(recipe, device)
    sizes = Counter(bucket_of(photo, data.resolution) for photo in sample.photos)
    width, height = sizes.most_common(1)[0][0]
    seconds = []
    for _round in range(_ENCODED):
        began = time.perf_counter()
        mean, _std = model.vae.encode(torch.rand(1, 3, height, width))
        mean.cpu()
        seconds.append(time.perf_counter() - began)
    views = 2 if data.flip else 1
    return Preparation(sample.total * sample.seconds, sample.total * views * min(seconds), sample.memory_bytes)


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
