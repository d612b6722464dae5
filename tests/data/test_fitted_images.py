"""A large image that cannot be decoded at a fraction of its size is decoded once, and with the same latents."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageCms
from torch import Tensor

from tetrad.data import fitted_images
from tetrad.data.buckets import bucket_of
from tetrad.data.dataset import Photo, collect_photos, inspect_photos
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.encoding import EncodedPhoto, EncodingJob, encode_photos
from tetrad.data.latent_cache import LatentCache
from tetrad.images import decoders
from tetrad.images.bands import UprightImage, decode_image
from tetrad.images.tensors import to_image

SIDE = 64  # the resolution


def write_photo(path: Path, mode: str = "RGB", **options: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    pixels = torch.rand(3, 200, 304, generator=torch.Generator().manual_seed(len(path.name)))
    image = to_image(pixels).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    decoders.list_formats()  # loads the plugin that writes HEIC
    image.save(path, **options)
    return path


def encode(images: Tensor) -> tuple[Tensor, Tensor]:
    return images, images / 2


def load(folder: Path, cache: LatentCache, resolution: int) -> list[Photo]:
    listing = list_dataset(folder)
    return collect_photos(listing, inspect_photos(listing, cache, lambda: resolution))[0]


def encode_all(photos: list[Photo], cache: LatentCache, resolution: int = SIDE) -> list[EncodedPhoto]:
    jobs = [EncodingJob(photo, bucket_of(photo, resolution), flip=True, mask_size=(8, 8)) for photo in photos]
    return list(encode_photos(jobs, encode, "vae", cache))


def list_kept(cache: LatentCache) -> list[Path]:
    assert cache.fitted.folder is not None
    return sorted(cache.fitted.folder.iterdir()) if cache.fitted.folder.is_dir() else []


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that are decoded to be encoded."""
    names: list[str] = []

    def record(path: Path, size: tuple[int, int] | None = None) -> UprightImage:
        names.append(path.name)
        return decode_image(path, size)

    monkeypatch.setattr("tetrad.data.encoding.decode_image", record)
    return names


def make_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def make_orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def test_what_was_kept_gives_exactly_the_latents_and_masks_of_decoding_again(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for suffix in (".png", ".heic", ".avif", ".webp", ".tif", ".bmp", ".gif"):
        write_photo(folder / f"plain{suffix}")
    write_photo(folder / "alpha.png", "RGBA")
    write_photo(folder / "grey.png", "I;16")
    write_photo(folder / "turned.png", exif=make_orientation(6))
    write_photo(folder / "profile.png", icc_profile=make_profile())
    cache, empty = LatentCache(tmp_path / "cache"), LatentCache(None)
    photos = load(folder, cache, SIDE)
    assert len(photos) == len(list_kept(cache)) == 11
    for kept, again in zip(encode_all(photos, cache), encode_all(photos, empty), strict=True):
        for one, other in zip(kept.distributions, again.distributions, strict=True):
            assert torch.equal(one.mean, other.mean)
        assert len(kept.masks) == len(again.masks)
        assert all(map(torch.equal, kept.masks, again.masks))
    assert not list_kept(cache), "the latents are kept from now on"


def test_an_image_is_decoded_once_and_a_jpeg_at_a_fraction_twice(tmp_path: Path, decoded: list[str]) -> None:
    cache = LatentCache(tmp_path / "cache")
    write_photo(tmp_path / "set" / "a.png")
    write_photo(tmp_path / "set" / "b.jpg")
    photos = load(tmp_path / "set", cache, SIDE)
    list(encode_photos([EncodingJob(photo, bucket_of(photo, SIDE)) for photo in photos], encode, "vae", cache))
    assert decoded == ["b.jpg"]


@pytest.mark.parametrize("examined_for", [0, 128, 2 * SIDE], ids=["nothing", "nearly its size", "another"])
def test_another_resolution_than_the_images_were_kept_for_decodes_again(
    tmp_path: Path, decoded: list[str], examined_for: int
) -> None:
    cache = LatentCache(tmp_path / "cache")
    write_photo(tmp_path / "set" / "a.png")
    [encoded] = encode_all(load(tmp_path / "set", cache, examined_for), cache)
    assert decoded == ["a.png"]
    [again] = encode_all(load(tmp_path / "set", LatentCache(None), SIDE), LatentCache(None))
    assert torch.equal(encoded.distributions[0].mean, again.distributions[0].mean)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def exchange(path: Path) -> None:
    other = next(each for each in path.parent.iterdir() if each != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("damage", [cut, exchange, Path.unlink])
def test_a_damaged_exchanged_or_missing_file_is_not_used(
    tmp_path: Path, decoded: list[str], damage: Callable[[Path], object]
) -> None:
    cache = LatentCache(tmp_path / "cache")
    write_photo(tmp_path / "set" / "a.png")
    write_photo(tmp_path / "set" / "bb.png")
    photos = load(tmp_path / "set", cache, SIDE)
    [kept] = [path for path in list_kept(cache) if path.name.startswith(photos[0].file_hash)]
    damage(kept)
    encode_all(photos, cache)
    assert "a.png" in decoded and not cache.warnings


def test_no_more_is_kept_than_there_is_space_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        write_photo(tmp_path / "set" / f"{'a' * number}b.png")
    [(width, height)] = {bucket_of(photo, SIDE) for photo in load(tmp_path / "set", LatentCache(None), 0)}
    monkeypatch.setattr(fitted_images, "_MAX_BYTES", 8 * width * height)
    cache = LatentCache(tmp_path / "cache")
    load(tmp_path / "set", cache, SIDE)
    assert len(list_kept(cache)) == 2
    again = LatentCache(tmp_path / "cache")
    write_photo(tmp_path / "set" / "another.png")
    load(tmp_path / "set", again, SIDE)
    assert len(list_kept(again)) == 2, "what is there already counts"


def test_what_nobody_used_is_removed_after_a_week(tmp_path: Path) -> None:
    cache = LatentCache(tmp_path / "cache")
    write_photo(tmp_path / "set" / "a.png")
    load(tmp_path / "set", cache, SIDE)
    cache.fitted.remove_old()
    [kept] = list_kept(cache)
    week_ago = time.time() - 7.1 * 86_400
    os.utime(kept, (week_ago, week_ago))
    cache.fitted.remove_old()
    assert not list_kept(cache)
