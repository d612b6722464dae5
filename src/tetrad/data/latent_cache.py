"""Latent distributions and loss masks, and the cache that keeps them on disk for the next run."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, Tensor

from tetrad.data.cache_folder import CacheFolder
from tetrad.locales import Message, _


@dataclass(frozen=True)
class LatentDistribution:
    """The VAE encoder's output for one image: a Gaussian over latents."""

    mean: Tensor  # (C, h, w)
    std: Tensor  # (C, h, w)

    def sample(self, rng: Generator) -> Tensor:
        """mean + std · ε, shape (C, h, w)."""
        return self.mean + self.std * torch.randn(self.mean.shape, generator=rng)


class LatentCache(CacheFolder):
    """Latents and masks on disk, one safetensors file each, besides what a CacheFolder holds.

    Damaged files are made again, with a message in `warnings`.
    """

    def get_latents(self, key: str) -> LatentDistribution | None:
        """The latents stored under a key, or None."""
        tensors = self.get_tensors("latents", key)
        return LatentDistribution(tensors["mean"], tensors["std"]) if tensors else None

    def put_latents(self, key: str, distribution: LatentDistribution) -> None:
        self.put_tensors("latents", key, {"mean": distribution.mean, "std": distribution.std})

    def get_tensors(self, subfolder: str, key: str) -> dict[str, Tensor] | None:
        """The tensors stored under a key, or None if there are none, or if they are damaged or those of another key."""
        if self.folder is None:
            return None
        path = self.folder / subfolder / f"{key}.safetensors"
        try:
            with safe_open(str(path), framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                is_intact = (file.metadata() or {}).get("sha256") == _compute_checksum(key, tensors)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            is_intact = False
        if is_intact:
            return tensors
        self.warnings.append(Message(_("the cache file {path} was damaged and is made again"), path=path))
        return None

    def put_tensors(self, subfolder: str, key: str, tensors: dict[str, Tensor]) -> None:
        self._write(f"{subfolder}/{key}.safetensors", save(tensors, {"sha256": _compute_checksum(key, tensors)}))


def _compute_checksum(key: str, tensors: Mapping[str, Tensor]) -> str:
    """sha256 of the tensors and of the key that they belong to, so that exchanged files are not used."""
    parts = (tensors[name].contiguous().numpy().tobytes() for name in sorted(tensors))
    return hashlib.sha256(b"".join([key.encode(), *parts])).hexdigest()
