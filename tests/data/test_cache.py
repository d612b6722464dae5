"""A picture is encoded once for everything that made its latents, and no state of the cache stops a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Generator, Tensor

from tetrad.data.cache import Cache, Distribution, default_folder, encode_photos
from tetrad.data.folder import photos
from tetrad.data.images import to_image
from tetrad.errors import TetradError


class Encoder:
    """Averages 8 × 8 pixels; the std is a tenth of that. Counts the pictures."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        self.count += len(pictures)
        mean = torch.nn.functional.avg_pool2d(pictures, 8)
        return mean, mean / 10


def folder(path: Path, count: int = 3) -> Path:
    path.mkdir()
    for seed in range(count):
        pixels = torch.rand(3, 32, 48, generator=Generator().manual_seed(seed))
        to_image(pixels).save(path / f"{seed}.png")
    return path


def encode(
    path: Path,
    cache: Cache,
    encoder: Encoder,
    size: tuple[int, int] = (24, 16),
    identity: str = "a",
    flip: bool = False,
) -> list[tuple[Distribution, ...]]:
    found, _ = photos(path)
    results = list(encode_photos(found, [size] * len(found), encoder, identity, cache, flip))
    assert [place for place, _ in results] == list(range(len(found)))
    return [distributions for _, distributions in results]


def same(one: list[tuple[Distribution, ...]], other: list[tuple[Distribution, ...]]) -> bool:
    pairs = [pair for a, b in zip(one, other, strict=True) for pair in zip(a, b, strict=True)]
    return all(torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std) for a, b in pairs)


def test_what_is_cached_is_exactly_what_was_encoded(tmp_path: Path) -> None:
    path, first, second = folder(tmp_path / "set"), Encoder(), Encoder()
    fresh = encode(path, Cache(tmp_path / "cache"), first)
    cached = encode(path, Cache(tmp_path / "cache"), second)
    assert (first.count, second.count) == (3, 0)
    assert same(fresh, cached)
    assert fresh[0][0].mean.shape == (3, 2, 3) and fresh[0][0].mean.dtype == torch.float32


def turn(path: Path) -> None:
    with Image.open(path / "1.png") as opened:
        turned = opened.rotate(180)
    turned.save(path / "1.png")


@pytest.mark.parametrize("change,expected", [
    ({}, 0), ({"size": (16, 24)}, 3), ({"identity": "b"}, 3), ({"flip": True}, 3), ({"edit": turn}, 1),
])  # fmt: skip
def test_whatever_changes_the_latents_encodes_again_and_nothing_else_does(
    tmp_path: Path, change: dict[str, Any], expected: int
) -> None:
    path, encoder = folder(tmp_path / "set"), Encoder()
    encode(path, Cache(tmp_path / "cache"), Encoder())
    if edit := change.pop("edit", None):
        edit(path)
    encode(path, Cache(tmp_path / "cache"), encoder, **change)
    assert encoder.count == expected


def test_other_code_encodes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, encoder = folder(tmp_path / "set"), Encoder()
    encode(path, Cache(tmp_path / "cache"), Encoder())
    Cache(tmp_path / "cache").mark("ab", (48, 32), b"look")
    monkeypatch.setattr("tetrad.data.cache.CODE_VERSION", 10_000)
    encode(path, Cache(tmp_path / "cache"), encoder)
    assert encoder.count == 3
    assert Cache(tmp_path / "cache").seen("ab") is None


def test_a_moved_and_renamed_picture_is_the_same_picture(tmp_path: Path) -> None:
    path, encoder = folder(tmp_path / "set"), Encoder()
    encode(path, Cache(tmp_path / "cache"), Encoder())
    (path / "0.png").rename(path / "z.png")
    encode(path.rename(tmp_path / "elsewhere"), Cache(tmp_path / "cache"), encoder)
    assert encoder.count == 0


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_second_view_is_the_mirrored_picture(tmp_path: Path, symmetric: bool) -> None:
    path = folder(tmp_path / "set")
    if symmetric:
        Image.new("RGB", (48, 32), "red").save(path / "0.png")
    for upright, mirrored in encode(path, Cache(None), Encoder(), flip=True):
        torch.testing.assert_close(mirrored.mean, upright.mean.flip(2), atol=1e-6, rtol=0)  # order of summing


def test_without_a_folder_all_is_encoded_and_nothing_kept(tmp_path: Path) -> None:
    path, encoder, cache = folder(tmp_path / "set"), Encoder(), Cache(None)
    assert same(encode(path, cache, encoder), encode(path, cache, encoder))
    assert (encoder.count, cache.warnings) == (6, [])


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def altered(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [cut, altered, lambda _: b"", lambda _: b"text", lambda c: c + b"more"])
def test_a_damaged_cache_file_is_said_and_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path, encoder, cache = folder(tmp_path / "set"), Encoder(), Cache(tmp_path / "cache")
    fresh = encode(path, Cache(tmp_path / "cache"), Encoder())
    file = sorted((tmp_path / "cache" / "latents").iterdir())[0]
    file.write_bytes(damage(file.read_bytes()))
    assert same(encode(path, cache, encoder), fresh)
    assert encoder.count == 1 and len(cache.warnings) == 1 and str(file) in cache.warnings[0]
    assert same(encode(path, cache, encoder), fresh)
    assert encoder.count == 1


def test_a_cache_that_cannot_be_written_warns_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path, encoder, cache = folder(tmp_path / "set"), Encoder(), Cache(tmp_path / "file" / "cache")
    cache.mark("0" * 64, (5, 7), b"")
    assert len(encode(path, cache, encoder)) == encoder.count == 3
    assert len(cache.warnings) == 1 and str(tmp_path / "file") in cache.warnings[0]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path, cache = folder(tmp_path / "set"), Cache(tmp_path / "cache")
    monkeypatch.setattr("tetrad.data.cache.os.replace", full)
    assert len(encode(path, cache, Encoder())) == 3
    assert list((tmp_path / "cache" / "latents").iterdir()) == []
    assert "No space left" in cache.warnings[0]


def test_a_seen_picture_keeps_its_size_and_a_damaged_note_is_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert cache.seen("ab") is None
    cache.mark("ab", (640, 480), b"look")
    assert Cache(tmp_path).seen("ab") == ((640, 480), b"look")
    for note in (tmp_path / "pictures").iterdir():
        note.write_bytes(b"\xff")
    assert Cache(tmp_path).seen("ab") is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_numbers_name_the_picture_and_are_not_kept(tmp_path: Path, value: float) -> None:
    path = folder(tmp_path / "set")
    found, _ = photos(path)
    broken = encode_photos(found, [(24, 16)] * 3, lambda x: (x * value, x), "a", Cache(tmp_path / "cache"))
    with pytest.raises(TetradError, match=r"E4160 .*0\.png"):
        next(broken)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("change", [turn, lambda p: (p / "1.png").unlink(), lambda p: (p / "1.png").write_bytes(b"")])
def test_a_picture_that_changes_during_the_run_never_gets_into_the_cache(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    path = folder(tmp_path / "set")
    found, _ = photos(path)
    encoding = encode_photos(found, [(24, 16)] * 3, Encoder(), lambda: "a", Cache(tmp_path / "cache"))
    next(encoding)
    change(path)
    with pytest.raises(TetradError, match=r"E4161 .*1\.png"):
        next(encoding)
    assert len(list((tmp_path / "cache" / "latents").iterdir())) == 1


def test_a_distribution_is_drawn_with_its_mean_and_std() -> None:
    distribution = Distribution(torch.full((4, 64, 64), 3.0), torch.full((4, 64, 64), 0.5))
    drawn = distribution.draw(Generator().manual_seed(0))
    assert abs(drawn.mean() - 3) < 0.02 and abs(drawn.std() - 0.5) < 0.02  # 16384 draws: 5 standard errors
    assert torch.equal(drawn, distribution.draw(Generator().manual_seed(0)))


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("TETRAD_CACHE", raising=False)
    assert default_folder() == Path("/home/x/.cache/tetrad")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert default_folder() == Path("/caches/tetrad")
    monkeypatch.setenv("TETRAD_CACHE", "/mine")
    assert default_folder() == Path("/mine")
