"""Which pictures are learned from together at each step, as a function of the step's number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tetrad.data.cache import Distribution
from tetrad.diffusion.randomness import generator


@dataclass(frozen=True)
class Sample:
    """One picture in its views (upright, or upright and mirrored), all of one shape, with its caption."""

    distributions: tuple[Distribution, ...]
    caption: str
    weight: float = 1.0

    @property
    def shape(self) -> torch.Size:
        """(C, h, w) of its latents."""
        return self.distributions[0].mean.shape


@dataclass(frozen=True)
class Batch:
    """What one training step learns from."""

    latents: Tensor  # (B, C, h, w)
    captions: tuple[str, ...]
    weight: Tensor  # (B,)
    framing: Tensor | None = None
    mask: Tensor | None = None


class Batches:
    """Endless batches, each a pure function of (seed, number), so that a resumed run sees what an unbroken one does.

    An epoch shows every sample once. A batch holds one shape only, so the last of each shape may be smaller.
    """

    def __init__(self, samples: Sequence[Sample], batch_size: int, seed: int) -> None:
        assert samples and batch_size >= 1, (len(samples), batch_size)
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self._buckets = buckets(samples)
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return sum(-(-len(bucket) // self.batch_size) for bucket in self._buckets)

    def __iter__(self) -> Iterator[Batch]:
        return self.starting(0)

    def starting(self, number: int) -> Iterator[Batch]:
        """Batch `number` and all after it, without end."""
        while True:
            yield self.batch(number)
            number += 1

    def batch(self, number: int) -> Batch:
        """Batch `number`, 0 being the first of all epochs, with each latent drawn anew from its distribution."""
        chosen = [self.samples[index] for index in self.plan(number)]
        rng = generator(self.seed, number, "latents")
        flips = torch.rand(len(chosen), generator=generator(self.seed, number, "flip")).tolist()
        views = [s.distributions[int(flip * len(s.distributions))] for s, flip in zip(chosen, flips, strict=True)]
        return Batch(
            latents=torch.stack([view.draw(rng) for view in views]),
            captions=tuple(sample.caption for sample in chosen),
            weight=torch.tensor([sample.weight for sample in chosen]),
        )

    def plan(self, number: int) -> list[int]:
        """Which samples batch `number` holds, by their indices."""
        epoch, place = divmod(number, len(self))
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._order(epoch))
        return list(self._epoch[1][place])

    def _order(self, epoch: int) -> list[list[int]]:
        """An epoch: each bucket shuffled and cut into batches, then the batches shuffled."""
        rng = generator(self.seed, epoch, "order")
        cut: list[list[int]] = []
        for bucket in self._buckets:
            shuffled = [bucket[i] for i in torch.randperm(len(bucket), generator=rng).tolist()]
            cut += [shuffled[i : i + self.batch_size] for i in range(0, len(shuffled), self.batch_size)]
        return [cut[i] for i in torch.randperm(len(cut), generator=rng).tolist()]


def buckets(samples: Sequence[Sample]) -> list[list[int]]:
    """The indices of the samples of each latent shape."""
    found: dict[torch.Size, list[int]] = {}
    for index, sample in enumerate(samples):
        found.setdefault(sample.shape, []).append(index)
    return list(found.values())
