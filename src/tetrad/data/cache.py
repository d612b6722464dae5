"""Each picture becomes a latent distribution once, and stays one on disk for the next run."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, Tensor

from tetrad.data.folder import Photo
from tetrad.data.images import BadImage, fit, load, to_tensor
from tetrad.errors import TetradError
from tetrad.formats.files import replace_file

CODE_VERSION = 1  # one more whenever images.py gives other pixels for the same file

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]  # pictures (B, 3, H, W) in 0…1 → mean, std (B, C, h, w)


@dataclass(frozen=True)
class Distribution:
    """What the autoencoder says of one picture: a Gaussian over latents."""

    mean: Tensor  # (C, h, w)
    std: Tensor  # (C, h, w)

    def draw(self, rng: Generator) -> Tensor:
        """mean + std · ε, shape (C, h, w)."""
        return self.mean + self.std * torch.randn(self.mean.shape, generator=rng)


class Cache:
    """Distributions and masks on disk, a safetensors file each, and which pictures were once decoded to their end.

    Nothing that happens to its folder stops a run: what is damaged is made again, and where nothing can be written the
    run goes on without. `warnings` says so, for a person, once each.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        self._writable = folder is not None

    def get(self, key: str) -> Distribution | None:
        """What was put under a key, or None."""
        found = self.tensors("latents", key)
        return Distribution(found["mean"], found["std"]) if found else None

    def put(self, key: str, distribution: Distribution) -> None:
        self.keep("latents", key, {"mean": distribution.mean, "std": distribution.std})

    def tensors(self, kind: str, key: str) -> dict[str, Tensor] | None:
        """Tensors that were kept under a key, whole, or None."""
        if self.folder is None:
            return None
        path = self.folder / kind / f"{key}.safetensors"
        try:
            with safe_open(str(path), framework="pt") as opened:
                found = {name: opened.get_tensor(name) for name in opened.keys()}
                whole = (opened.metadata() or {}).get("sha256") == checksum(found)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            whole = False
        if whole:
            return found
        self.warnings.append(f"the cached {kind} in {path} were damaged and are made again")
        return None

    def keep(self, kind: str, key: str, tensors: dict[str, Tensor]) -> None:
        self._write(f"{kind}/{key}.safetensors", save(tensors, {"sha256": checksum(tensors)}))

    def seen(self, digest: str) -> tuple[tuple[int, int], bytes] | None:
        """The upright size and the look of a picture that an earlier run decoded to its end, or None."""
        if self.folder is None:
            return None
        try:
            width, height, look = self._marker(digest, self.folder).read_text(encoding="utf-8").split()
            return (int(width), int(height)), bytes.fromhex(look)
        except (OSError, ValueError):
            return None

    def mark(self, digest: str, size: tuple[int, int], look: bytes) -> None:
        if self.folder is not None:
            name = self._marker(digest, self.folder).relative_to(self.folder).as_posix()
            self._write(name, f"{size[0]} {size[1]} {look.hex()}\n".encode())

    def _marker(self, digest: str, folder: Path) -> Path:
        return folder / "pictures" / f"{digest}.{CODE_VERSION}.txt"

    def _write(self, name: str, content: bytes) -> None:
        """Atomically, so that a run beside this one never reads half a file."""
        if self.folder is None or not self._writable:
            return
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, content)
        except OSError as error:
            self._writable = False
            self.warnings.append(f"the cache {self.folder} cannot be written ({error.strerror}); nothing new is kept")


def default_folder() -> Path:
    """$TETRAD_CACHE, or `tetrad` in the folder where this system keeps what can be made again."""
    if chosen := os.environ.get("TETRAD_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tetrad"


def encode_photos(
    photos: Sequence[Photo],
    sizes_of: Sequence[tuple[int, int]],
    encode: Encode,
    encoder_identity: str | Callable[[], str],
    cache: Cache,
    flip: bool = False,
) -> Iterator[tuple[int, tuple[Distribution, ...]]]:
    """The place of each photo and its distributions at its size (width, height): upright and, with `flip`, mirrored.

    Each is encoded by itself, so that a cached latent never depends on what it shared a batch with. Raises E4160 where
    the encoder gives no numbers, E4161 where a file changed after it was listed.
    """
    identity = encoder_identity if isinstance(encoder_identity, str) else encoder_identity()
    for place, (photo, size) in enumerate(zip(photos, sizes_of, strict=True)):
        image = None
        distributions = []
        for flipped in (False, True) if flip else (False,):
            key = cache_key(photo.digest, size, flipped, identity)
            distribution = cache.get(key)
            if distribution is None:
                image = image or picture(photo, size)
                distribution = encoded(photo, ImageOps.mirror(image) if flipped else image, encode)
                cache.put(key, distribution)
            distributions.append(distribution)
        yield place, tuple(distributions)


def cache_key(digest: str, size: tuple[int, int], flipped: bool, encoder_identity: str) -> str:
    """sha256 of everything that a latent distribution depends on."""
    return hashlib.sha256(json.dumps([CODE_VERSION, digest, size, flipped, encoder_identity]).encode()).hexdigest()


def picture(photo: Photo, size: tuple[int, int]) -> Image.Image:
    """A photo at its bucket's size, if its file is still what it was."""
    try:
        image = load(photo.path)
        with photo.path.open("rb") as opened:
            same = hashlib.file_digest(opened, "sha256").hexdigest() == photo.digest
    except (BadImage, OSError) as error:
        raise TetradError("E4161", f"{photo.path} was a picture when it was listed, and now: {error}") from error
    if not same:
        raise TetradError("E4161", f"{photo.path} changed while it was being read; start again")
    return fit(image, size)


def encoded(photo: Photo, view: Image.Image, encode: Encode) -> Distribution:
    mean, std = (part[0].detach().float().cpu().contiguous() for part in encode(to_tensor(view)[None]))
    if not (mean.isfinite().all() and std.isfinite().all()):
        reason = "use the VAE in float32, or another VAE, or leave this picture out"
        raise TetradError("E4160", f"{photo.path} became latents that are not numbers; {reason}")
    return Distribution(mean, std)


def checksum(tensors: Mapping[str, Tensor]) -> str:
    parts = (tensors[name].contiguous().numpy().tobytes() for name in sorted(tensors))
    return hashlib.sha256(b"".join(parts)).hexdigest()
