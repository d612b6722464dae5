"""Measure what looking at photos adds to decoding and encoding them: `python -m bench.scan --photos 300`.

The photos are made: 4032 × 3024 pixels (12 megapixels), random squares and noise, JPEG of quality 90. The scan and the
encoding of a run are compared with decoding, resizing and encoding alone, one photo after the other, with the built-in
VAE.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tetrad import library
from tetrad.builtin import MODEL_PATH
from tetrad.data.buckets import bucket_of
from tetrad.data.dataset import inspect_photos
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.encoding import EncodingJob, encode_photos
from tetrad.data.latent_cache import LatentCache
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


def measure(name: str, count: int, work: Callable[[], object]) -> tuple[float, float]:
    """Print and return the wall and CPU seconds of some work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:36} {wall:7.1f} s  {cpu:7.1f} CPU s  {1000 * cpu / count:6.0f} CPU ms each", flush=True)
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--resolution", type=int, default=512)
    options = parser.parse_args()
    vae = library.load_model(str(MODEL_PATH)).vae
    with tempfile.TemporaryDirectory() as place:
        folder, cache = Path(place) / "photos", LatentCache(Path(place) / "cache")
        folder.mkdir()
        make_photos(folder, options.photos)
        listing = list_dataset(folder)

        def encode_alone() -> None:
            for entry in listing.entries:
                vae.encode(to_tensor(fit_to_size(load_image(entry.path), size))[None])

        def scan() -> list[EncodingJob]:
            photos = [photo for photo, _problems in inspect_photos(listing, cache) if photo]
            return [EncodingJob(photo, bucket_of(photo, options.resolution)) for photo in photos]

        size = scan()[0].size
        cache = LatentCache(Path(place) / "new")
        alone = measure("decode and encode alone", options.photos, encode_alone)
        scanned = measure("scan, cold", options.photos, scan)
        jobs = scan()
        encoded = measure(
            "decode and encode in a run", options.photos, lambda: list(encode_photos(jobs, vae.encode, "vae", cache))
        )
        measure("scan, warm", options.photos, scan)
        for index, unit in enumerate(("wall", "CPU")):
            ratio = (scanned[index] + encoded[index]) / alone[index]
            print(f"scan and encoding ÷ decoding and encoding alone, {unit}: {ratio:.2f}")


if __name__ == "__main__":
    main()
