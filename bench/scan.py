"""Measure what looking at photos adds to decoding and encoding them: `python -m bench.scan --suffix .heic`.

The photos are made: 4032 × 3024 pixels (12 megapixels), random squares and noise. The scan and the encoding of a run
are compared with decoding whole, resizing and encoding alone, one photo after the other, with the built-in VAE. They
take turns, so that other programs slow down all of them.
`--without-vae` measures all but the encoding, as where a fast GPU encodes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tetrad import library
from tetrad.builtin import MODEL_PATH
from tetrad.data.buckets import bucket_of
from tetrad.data.dataset import inspect_photos
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.encoding import EncodingJob, encode_photos
from tetrad.data.latent_cache import LatentCache
from tetrad.images.decoders import list_formats
from tetrad.images.load import fit_to_size, load_image
from tetrad.images.tensors import to_tensor

SIZE = (4032, 3024)


def make_photos(folder: Path, count: int) -> None:
    """Photos of about 3 MB."""
    rng = np.random.default_rng(0)
    noise = rng.integers(-8, 9, (SIZE[1] + 64, SIZE[0] + 64, 3), dtype=np.int16)
    for number in range(count):
        image = Image.new("RGB", SIZE, "grey")
        for _square in range(300):
            side, left, top = (int(rng.integers(each)) for each in (600, *SIZE))
            image.paste(tuple(map(int, rng.integers(256, size=3))), (left, top, left + side, top + side))
        down, right = rng.integers(64, size=2)
        levels = np.asarray(image, dtype=np.int16) + noise[down : down + SIZE[1], right : right + SIZE[0]]
        Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:04}.jpg", quality=90)


def read_cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def convert_photos(folder: Path, suffix: str) -> None:
    """The photos in another format, of about the quality that telephones store."""
    for path in sorted(folder.glob("*.jpg")):
        with Image.open(path) as image:
            image.save(path.with_suffix(suffix), quality=60)
        path.unlink()


def encode_nothing(images: Tensor) -> tuple[Tensor, Tensor]:
    """In the place of a VAE that takes no time."""
    return torch.zeros(len(images), 4, 8, 8), torch.ones(len(images), 4, 8, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--suffix", choices=(".jpg", ".heic", ".webp", ".png"), default=".jpg")
    parser.add_argument("--without-vae", action="store_true")
    options = parser.parse_args()
    list_formats()
    encode = encode_nothing if options.without_vae else library.load_model(str(MODEL_PATH)).vae.encode
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photos"
        folder.mkdir()
        make_photos(folder, options.photos)
        if options.suffix != ".jpg":
            convert_photos(folder, options.suffix)
        listing = list_dataset(folder)

        def scan(cache: LatentCache) -> list[EncodingJob]:
            photos = [photo for photo, _problems in inspect_photos(listing, cache, lambda: options.resolution) if photo]
            return [EncodingJob(photo, bucket_of(photo, options.resolution)) for photo in photos]

        def encode_alone() -> None:
            for job in jobs:
                encode(to_tensor(fit_to_size(load_image(job.photo.path), job.size))[None])

        jobs = scan(LatentCache(None))
        rounds = []
        for number in range(options.rounds):
            cache = LatentCache(Path(place) / f"cache-{number}")
            works: tuple[Callable[[], object], ...] = (
                encode_alone,
                lambda cache=cache: scan(cache),
                lambda cache=cache: list(encode_photos(jobs, encode, "vae", cache)),
                lambda cache=cache: scan(cache),
            )
            rounds.append([read_cpu_seconds(work) for work in works])
    names = ("decode whole and encode, alone", "scan, cold", "decode and encode in a run", "scan, warm")
    for name, values in zip(names, zip(*rounds, strict=True), strict=True):
        print(f"{name:32} {1000 * median(values) / options.photos:6.0f} CPU ms each")
    ratio = median((cold + encoded) / alone for alone, cold, encoded, _warm in rounds)
    print(f"scan and encoding ÷ decoding whole and encoding alone, CPU: {ratio:.2f}")


if __name__ == "__main__":
    main()
