"""Each image is encoded once per VAE, size and flip, and no error in the cache write_folder stops a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from photos import load_dataset
from PIL import Image
from torch import Generator, Tensor

from tetrad.cache_location import get_cache_folder
from tetrad.data.encoding import EncodingJob, encode_photos
from tetrad.data.latent_cache import LatentCache, LatentDistribution
from tetrad.errors import TetradError
from tetrad.images.examine import ImageInfo
from tetrad.images.measure import Measures
from tetrad.images.tensors import to_image

INFO = ImageInfo(640, 480, b"look", Measures(0.5, 0.2, 0.3), ("W4132",))


class Encoder:
    """The mean is the average of 8 × 8 pixels, the std a tenth of it. Counts the images."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.count += len(images)
        mean = torch.nn.functional.avg_pool2d(images, 8)
        return mean, mean / 10


def write_folder(path: Path, count: int = 3) -> Path:
    path.mkdir()
    for seed in range(count):
        pixels = torch.rand(3, 64, 96, generator=Generator().manual_seed(seed))
        to_image(pixels).save(path / f"{seed}.png")
    return path


def encode(
    path: Path,
    cache: LatentCache,
    encoder: Encoder,
    size: tuple[int, int] = (24, 16),
    identity: str = "a",
    flip: bool = False,
) -> list[tuple[LatentDistribution, ...]]:
    photos, _ = load_dataset(path)
    jobs = [EncodingJob(photo, size, flip) for photo in photos]
    return [encoded.distributions for encoded in encode_photos(jobs, encoder, identity, cache)]


def equal(one: list[tuple[LatentDistribution, ...]], other: list[tuple[LatentDistribution, ...]]) -> bool:
    pairs = [pair for a, b in zip(one, other, strict=True) for pair in zip(a, b, strict=True)]
    return all(torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std) for a, b in pairs)


def test_cached_latents_are_exactly_the_encoded_ones(tmp_path: Path) -> None:
    path, first, second = write_folder(tmp_path / "set"), Encoder(), Encoder()
    fresh = encode(path, LatentCache(tmp_path / "cache"), first)
    cached = encode(path, LatentCache(tmp_path / "cache"), second)
    assert (first.count, second.count) == (3, 0)
    assert equal(fresh, cached)
    assert fresh[0][0].mean.shape == (3, 2, 3) and fresh[0][0].mean.dtype == torch.float32


def rotate_image(path: Path, name: str = "1.png") -> None:
    with Image.open(path / name) as image:
        rotated = image.rotate(180)
    rotated.save(path / name)


@pytest.mark.parametrize("change,expected", [
    ({}, 0), ({"size": (16, 24)}, 3), ({"identity": "b"}, 3), ({"flip": True}, 3), ({"edit": rotate_image}, 1),
])  # fmt: skip
def test_images_are_encoded_again_only_if_their_latents_would_change(
    tmp_path: Path, change: dict[str, Any], expected: int
) -> None:
    path, encoder = write_folder(tmp_path / "set"), Encoder()
    encode(path, LatentCache(tmp_path / "cache"), Encoder())
    if edit := change.pop("edit", None):
        edit(path)
    encode(path, LatentCache(tmp_path / "cache"), encoder, **change)
    assert encoder.count == expected


def test_a_new_cache_version_encodes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, encoder = write_folder(tmp_path / "set"), Encoder()
    encode(path, LatentCache(tmp_path / "cache"), Encoder())
    LatentCache(tmp_path / "cache").put_image_info("ab", INFO)
    monkeypatch.setattr("tetrad.data.encoding.CACHE_VERSION", 10_000)
    monkeypatch.setattr("tetrad.data.cache_folder._INFO_VERSION", 10_000)
    encode(path, LatentCache(tmp_path / "cache"), encoder)
    assert encoder.count == 3
    assert LatentCache(tmp_path / "cache").get_image_info("ab") is None


def test_a_moved_or_renamed_image_is_not_encoded_again(tmp_path: Path) -> None:
    path, encoder = write_folder(tmp_path / "set"), Encoder()
    encode(path, LatentCache(tmp_path / "cache"), Encoder())
    (path / "0.png").rename(path / "z.png")
    encode(path.rename(tmp_path / "elsewhere"), LatentCache(tmp_path / "cache"), encoder)
    assert encoder.count == 0


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_second_view_is_the_mirrored_image(tmp_path: Path, symmetric: bool) -> None:
    path = write_folder(tmp_path / "set")
    if symmetric:
        Image.new("RGB", (96, 64), "red").save(path / "0.png")
    for upright, mirrored in encode(path, LatentCache(None), Encoder(), flip=True):
        torch.testing.assert_close(mirrored.mean, upright.mean.flip(2), atol=1e-6, rtol=0)  # order of summing


def test_without_a_cache_folder_everything_is_encoded(tmp_path: Path) -> None:
    path, encoder, cache = write_folder(tmp_path / "set"), Encoder(), LatentCache(None)
    assert equal(encode(path, cache, encoder), encode(path, cache, encoder))
    assert (encoder.count, cache.warnings) == (6, [])


def first_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_flipped_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize(
    "damage", [first_half, with_flipped_bit, lambda _: b"", lambda _: b"text", lambda c: c + b"more"]
)
def test_a_damaged_cache_file_is_reported_and_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path, encoder, cache = write_folder(tmp_path / "set"), Encoder(), LatentCache(tmp_path / "cache")
    fresh = encode(path, LatentCache(tmp_path / "cache"), Encoder())
    file = sorted((tmp_path / "cache" / "latents").iterdir())[0]
    file.write_bytes(damage(file.read_bytes()))
    assert equal(encode(path, cache, encoder), fresh)
    assert encoder.count == 1 and len(cache.warnings) == 1 and cache.warnings[0].values["path"] == file
    assert equal(encode(path, cache, encoder), fresh)
    assert encoder.count == 1


def test_a_cache_that_cannot_be_written_warns_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path, encoder, cache = write_folder(tmp_path / "set"), Encoder(), LatentCache(tmp_path / "file" / "cache")
    cache.put_image_info("0" * 64, INFO)
    assert len(encode(path, cache, encoder)) == encoder.count == 3
    assert len(cache.warnings) == 1 and cache.warnings[0].values["folder"] == tmp_path / "file" / "cache"


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path, cache = write_folder(tmp_path / "set"), LatentCache(tmp_path / "cache")
    monkeypatch.setattr("tetrad.formats.atomic_write.os.replace", raise_disk_full)
    assert len(encode(path, cache, Encoder())) == 3
    assert list((tmp_path / "cache" / "latents").iterdir()) == []
    assert "No space left" in str(cache.warnings[0])


def test_image_info_is_kept_and_a_damaged_entry_is_ignored(tmp_path: Path) -> None:
    cache = LatentCache(tmp_path)
    assert cache.get_image_info("ab") is None
    cache.put_image_info("ab", INFO)
    assert LatentCache(tmp_path).get_image_info("ab") == INFO
    [entry] = (tmp_path / "pictures").iterdir()
    content = entry.read_bytes()
    for bad in (b"\xff", b"[]", b"{}", content.replace(b"640", b"0"), content.replace(b"640", b'"a"')):
        entry.write_bytes(bad)
        assert LatentCache(tmp_path).get_image_info("ab") is None


def test_an_entry_that_belongs_to_another_image_is_not_used(tmp_path: Path) -> None:
    path, encoder, cache = write_folder(tmp_path / "set"), Encoder(), LatentCache(tmp_path / "cache")
    fresh = encode(path, LatentCache(tmp_path / "cache"), Encoder())
    one, other, _third = sorted((tmp_path / "cache" / "latents").iterdir())
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert equal(encode(path, cache, encoder), fresh) and encoder.count == 2
    for name in ("ab", "cd"):
        cache.put_image_info(name, INFO)
    [one, other] = (tmp_path / "cache" / "pictures").iterdir()
    other.write_bytes(one.read_bytes())
    assert sorted(cache.get_image_info(name) is None for name in ("ab", "cd")) == [False, True]


def test_latents_of_another_image_are_not_taken_for_its_own(tmp_path: Path) -> None:
    """Two files of the cache were exchanged: each has a right checksum, but not under this name."""
    path, encoder, cache = write_folder(tmp_path / "set"), Encoder(), LatentCache(tmp_path / "cache")
    fresh = encode(path, cache, Encoder())
    first, second, _third = sorted((tmp_path / "cache" / "latents").iterdir())
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    assert equal(encode(path, cache, encoder), fresh)
    assert encoder.count == 2 and len(cache.warnings) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_or_inf_latents_are_an_error_that_names_the_image_and_are_not_cached(tmp_path: Path, value: float) -> None:
    path = write_folder(tmp_path / "set")
    photos, _ = load_dataset(path)
    broken = encode_photos(
        [EncodingJob(photo, (24, 16)) for photo in photos],
        lambda x: (x * value, x),
        "a",
        LatentCache(tmp_path / "cache"),
    )
    with pytest.raises(TetradError, match=r"E4160 .*0\.png"):
        next(broken)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "change",
    [lambda p: rotate_image(p, "9.png"), lambda p: (p / "9.png").unlink(), lambda p: (p / "9.png").write_bytes(b"")],
)
def test_an_image_that_changes_during_the_run_is_never_cached(tmp_path: Path, change: Callable[[Path], object]) -> None:
    path = write_folder(tmp_path / "set", count=30)  # more than are decoded ahead
    photos, _ = load_dataset(path)
    jobs = [EncodingJob(photo, (24, 16)) for photo in photos]
    encoding = encode_photos(jobs, Encoder(), lambda: "a", LatentCache(tmp_path / "cache"))
    next(encoding)
    change(path)
    with pytest.raises(TetradError, match=r"E4161 .*9\.png"):
        list(encoding)
    assert len(list((tmp_path / "cache" / "latents").iterdir())) == 29


def test_samples_have_the_mean_and_std_of_their_distribution() -> None:
    distribution = LatentDistribution(torch.full((4, 64, 64), 3.0), torch.full((4, 64, 64), 0.5))
    latents = distribution.sample(Generator().manual_seed(0))
    assert abs(latents.mean() - 3) < 0.02 and abs(latents.std() - 0.5) < 0.02  # 16384 samples: 5 standard errors
    assert torch.equal(latents, distribution.sample(Generator().manual_seed(0)))


def test_environment_variables_set_the_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("TETRAD_CACHE", raising=False)
    assert get_cache_folder() == Path("/home/x/.cache/tetrad")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert get_cache_folder() == Path("/caches/tetrad")
    monkeypatch.setenv("TETRAD_CACHE", "/mine")
    assert get_cache_folder() == Path("/mine")
