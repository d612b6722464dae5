"""The order, the list of images and the cache of a large data set, at full length: `python -m bench.large_data`.

No image is decoded: a million rows with captions, sizes and places in the cache, as a run keeps them, are put in the
order of two epochs, and each epoch is checked: every row once, and in the same updates for 1, 2 and 4 processes. Then
a million small records are written to the cache's files and found again. `--images` sets the number.
"""

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from tetrad.data.batches import Batches, TrainingSample
from tetrad.data.buckets import bucket_of
from tetrad.data.captions.captions import Captions
from tetrad.data.dataset import Photo
from tetrad.data.discover.subsets import Subset
from tetrad.data.latent_cache import LatentCache, StoredLatents
from tetrad.data.record_shards import RecordShards
from tetrad.data.shards.member_path import MemberPath
from tetrad.images.examine import ImageInfo
from tetrad.images.measure import Measures
from tetrad.training.shared_gradients import divide

SIZES = ((1024, 768), (768, 1024), (1000, 1000), (1920, 1080), (640, 480))
CAPTION = "zkr, photo number {number:07} of a cat that sits on a chair in a garden, a sunny day"
PER_SHARD = 10_000


class Rows(tuple[int, ...]):
    """The rows of an update, divided among processes as their images are."""

    def take(self, begin: int, end: int) -> "Rows":
        return Rows(self[begin:end])


@dataclass
class Meter:
    """CPU time and memory since the last look."""

    cpu: float = 0.0
    memory: int = 0

    def read(self) -> tuple[float, int]:
        gc.collect()
        before = self.cpu, self.memory
        self.cpu, self.memory = time.process_time(), psutil.Process().memory_info().rss
        return self.cpu - before[0], self.memory - before[1]


def make_rows(count: int, cache: LatentCache, resolution: int = 512) -> tuple[list[Photo], list[TrainingSample]]:
    """What a run keeps of `count` images in shards."""
    photos: list[Photo] = []
    subset = Subset(trigger_word="zkr")
    samples: list[TrainingSample] = []
    for number in range(count):
        path = MemberPath(f"/data/shards/shard-{number // PER_SHARD:05}.tar/{number:08}.jpg")
        text = CAPTION.format(number=number)
        captions = Captions(text, ("[filewords]",), "zkr", "", subset.caption_settings)
        measures = Measures(*(number / count + part for part in (0.1, 0.2, 0.3)))
        info = ImageInfo(*SIZES[number % len(SIZES)], os.urandom(192), measures)
        photo = Photo(path, os.urandom(32).hex(), captions, ".txt", subset, info)
        width, height = size = bucket_of(photo, resolution)
        shape = torch.Size((4, height // 8, width // 8))
        samples.append(TrainingSample.from_photo(photo, (StoredLatents(cache, os.urandom(32), shape),), size))
        photos.append(photo)
    return photos, samples


def iterate_updates(batches: Batches, epoch: int, processes: int) -> Iterator[list[Rows]]:
    """The rows of each process in each update of an epoch."""
    for number in range(epoch * len(batches), (epoch + 1) * len(batches)):
        yield divide([Rows(batches.get_subject_indices(number))], processes)  # type: ignore[list-item, misc]


def check_epoch(
    samples: Sequence[TrainingSample], batch_size: int, seed: int, epoch: int, others: Sequence[int] = (2, 4)
) -> NDArray[np.int64]:
    """The rows in the order of an epoch.  AssertionError unless each is there once, alike for so many processes."""
    orders = []
    for processes in (1, *others):
        batches = Batches(samples, batch_size, seed)
        shares = iterate_updates(batches, epoch, processes)
        order = np.fromiter((row for update in shares for share in update for rows in share for row in rows), np.int64)
        assert len(order) == len(samples) and (np.bincount(order, minlength=len(samples)) == 1).all()
        orders.append(order)
    assert all((order == orders[0]).all() for order in orders)
    return orders[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--batch-size", type=int, default=4)
    options = parser.parse_args()
    count, meter = options.images, Meter()
    meter.read()

    def report(what: str) -> None:
        cpu, memory = meter.read()
        print(f"{what}: {cpu:.1f} CPU s, {memory / 1e6:.0f} MB, {memory / count:.0f} bytes an image", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        _photos, samples = make_rows(count, LatentCache(Path(folder)))
        report("the list of the images")
        batches = Batches(samples, options.batch_size, 0)
        batches.get_subject_indices(0)
        report("the order of the first epoch")
        batches.get_subject_indices(len(batches))
        report("the order of another epoch")
        batches.count_samples_before(len(batches) + len(batches) // 2)
        report("resuming in the middle of an epoch")
        del batches
        for epoch in (0, 1):
            check_epoch(samples, options.batch_size, 0, epoch)
        report("two epochs checked for 1, 2 and 4 processes")
        records = RecordShards(Path(folder))
        for number in range(count):
            records.put(f"latents/{number}", b"latents")
        report("writing records")
        assert all(f"latents/{number}" in records for number in range(0, count, 7))
        report("looking for a seventh of them")
        del records
        meter.read()
        found = RecordShards(Path(folder))
        report("finding all of them again, as another process")
        assert f"latents/{count - 1}" in found and found.get("latents/0") == b"latents"


if __name__ == "__main__":
    main()
