"""Latent distributions and loss masks, and the cache that keeps them on disk for the next run."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Generator, Tensor

from tetrad.data.cache_folder import CacheFolder
from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.locales import Message, _

_DOUBT = "records/damaged"  # a file that is there while damage is known


@dataclass(frozen=True)
class LatentDistribution:
    """The VAE encoder's output for one image: a Gaussian over latents."""

    mean: Tensor  # (C, h, w)
    std: Tensor  # (C, h, w)

    @property
    def shape(self) -> torch.Size:
        """(C, h, w)."""
        return self.mean.shape

    def sample(self, rng: Generator) -> Tensor:
        """mean + std · ε, shape (C, h, w)."""
        return self.mean + self.std * torch.randn(self.mean.shape, generator=rng)


@dataclass(frozen=True, slots=True)
class StoredLatents:
    """The latents of one image in the cache, read when they are used.  E4163 if they are damaged or gone by then."""

    cache: "LatentCache"
    key: bytes
    shape: torch.Size  # (C, h, w)

    @property
    def mean(self) -> Tensor:
        return self._read().mean

    def sample(self, rng: Generator) -> Tensor:
        """mean + std · ε, shape (C, h, w)."""
        return self._read().sample(rng)

    def _read(self) -> LatentDistribution:
        latents = self.cache.get_latents(self.key.hex())
        if latents is None:
            self.cache.begin_doubt()
            template = _(
                "the latents of an image in the cache folder {folder} are damaged or gone; resume the run, and they are"
                " made again"
            )
            raise TetradError("E4163", template, folder=self.cache.folder)
        return latents


Latents = LatentDistribution | StoredLatents


class LatentCache(CacheFolder):
    """Latents and masks on disk, one safetensors file each, besides what a CacheFolder holds.

    Damaged files are made again, with a message in `warnings`.
    """

    def __init__(self, folder: Path | None) -> None:
        super().__init__(folder)
        self._shapes: dict[tuple[int, int], torch.Size] = {}  # of the latents of an image of each size
        self._doubt = folder / _DOUBT if folder else None

    def get_latents(self, key: str) -> LatentDistribution | None:
        """The latents stored under a key, or None."""
        tensors = self.get_tensors("latents", key)
        return LatentDistribution(tensors["mean"], tensors["std"]) if tensors else None

    def find_latents(self, key: str, size: tuple[int, int]) -> Latents | None:
        """The latents of an image of a size under a key, or None; of a large data set they stay in the cache."""
        if self.records is None:
            return self.get_latents(key)
        if size not in self._shapes or not self.has_latents(key):
            latents = self.get_latents(key)
            if latents is None:
                return None
            self._shapes[size] = latents.shape
        return StoredLatents(self, bytes.fromhex(key), self._shapes[size])

    def has_latents(self, key: str) -> bool:
        """Whether there are latents under a key in a large data set's records, read only after damage was found."""
        if self.records is None or _get_name("latents", key) not in self.records:
            return False
        return not (self._doubt and self._doubt.exists()) or self.get_latents(key) is not None

    def begin_doubt(self) -> None:
        """Have all latents of the next run read before it trains, because some were damaged."""
        if self._doubt:
            with suppress(OSError):
                self._doubt.touch()

    def end_doubt(self) -> None:
        """All latents of a run are there and whole."""
        if self._doubt:
            with suppress(OSError):
                self._doubt.unlink(missing_ok=True)

    def put_latents(self, key: str, distribution: LatentDistribution) -> None:
        self.put_tensors("latents", key, {"mean": distribution.mean, "std": distribution.std})

    def get_tensors(self, subfolder: str, key: str) -> dict[str, Tensor] | None:
        """The tensors stored under a key, or None if there are none, or if they are damaged or those of another key."""
        if self.folder is None:
            return None
        name = _get_name(subfolder, key)
        try:
            return _parse_tensors(key, self._read(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (SafetensorError, OSError, ValueError):
            path = self.folder / name
            self.warnings.append(Message(_("the cache file {path} was damaged and is made again"), path=path))
        return None

    def put_tensors(self, subfolder: str, key: str, tensors: dict[str, Tensor]) -> None:
        self._write(
            _get_name(subfolder, key), safetensors.torch.save(tensors, {"sha256": _compute_checksum(key, tensors)})
        )


def _get_name(subfolder: str, key: str) -> str:
    return f"{subfolder}/{key}.safetensors"


def _parse_tensors(key: str, content: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file.  ValueError or SafetensorError if it is damaged, or that of another key."""
    tensors: dict[str, Tensor] = safetensors.torch.load(content)
    length = int.from_bytes(content[:8], "little")
    metadata = parse_json(content[8 : 8 + length].decode()).get("__metadata__", {})
    if metadata.get("sha256") != _compute_checksum(key, tensors):
        raise ValueError(key)
    return tensors


def _compute_checksum(key: str, tensors: Mapping[str, Tensor]) -> str:
    """sha256 of the tensors and of the key that they belong to, so that exchanged files are not used."""
    parts = (tensors[name].contiguous().numpy().tobytes() for name in sorted(tensors))
    return hashlib.sha256(b"".join([key.encode(), *parts])).hexdigest()
