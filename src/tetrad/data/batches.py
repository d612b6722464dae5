"""Which pictures are learned from together at each step, and in which words, as a function of the step's number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice, pairwise
from typing import Self

import torch
from torch import Tensor

from tetrad.data.cache import Distribution
from tetrad.data.captions import Captions, Moment
from tetrad.data.folder import Photo
from tetrad.data.images import framing
from tetrad.diffusion.randomness import generator

Framing = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Sample:
    """One picture in its views (upright, or upright and mirrored), all of one shape, with what it may be called."""

    distributions: tuple[Distribution, ...]
    captions: Captions
    weight: float = 1.0
    prior: bool = False  # it shows what the model knew before, not what it shall learn
    framing: Framing | None = None  # original height, width, crop top, left, target height, width: what SDXL reads
    repeats: int = 1  # how often an epoch shows it
    masks: tuple[Tensor, ...] = ()  # (1, h, w) of each view: how much each place counts

    @classmethod
    def of(
        cls,
        photo: Photo,
        distributions: tuple[Distribution, ...],
        size: tuple[int, int],
        prior_weight: float = 1.0,
        masks: tuple[Tensor, ...] = (),
    ) -> Self:
        """A photo that was encoded at `size` (width, height); its subset says how it counts."""
        subset = photo.subset
        return cls(
            distributions,
            photo.captions,
            weight=prior_weight if subset.prior else 1.0,
            prior=subset.prior,
            framing=framing((photo.width, photo.height), size),
            repeats=subset.repeats,
            masks=masks,
        )

    @property
    def shape(self) -> torch.Size:
        """(C, h, w) of its latents."""
        return self.distributions[0].mean.shape


@dataclass(frozen=True)
class Batch:
    """What a model learns from at once: subjects, and priors after them."""

    latents: Tensor  # (B, C, h, w)
    captions: tuple[str, ...]
    weight: Tensor  # (B,)
    framing: Tensor | None = None  # (B, 6)
    mask: Tensor | None = None  # (B, 1, h, w)
    priors: int = 0  # how many of them are prior pictures

    @property
    def subjects(self) -> int:
        """How many samples an update's summed loss is divided by.

        Priors are not counted: with as many of them, their weight w makes the sum over this number
        mean(subjects) + w · mean(priors).
        """
        return len(self.captions) - self.priors

    def to(self, place: torch.device) -> "Batch":
        """On a device, without waiting for it."""

        def there(tensor: Tensor) -> Tensor:
            return tensor.to(place, non_blocking=True)

        framing = None if self.framing is None else there(self.framing)
        mask = None if self.mask is None else there(self.mask)
        return replace(self, latents=there(self.latents), weight=there(self.weight), framing=framing, mask=mask)


class Batches:
    """Endless batches, each a pure function of (seed, number), so that a resumed run sees what an unbroken one does.

    An epoch shows every subject once for each of its repeats. A batch holds one shape only, so not all can be full; the
    pictures of a shape are spread evenly over as few as hold them, since a step is the mean of its batch and pictures
    in a small one count for more. Where there are priors each batch has as many of them beside it, taken in turn.
    `total` is how many batches the run has, for captions that change on the way.
    """

    def __init__(self, samples: Sequence[Sample], batch_size: int, seed: int, total: int = 0) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.total = total
        self._subjects = buckets(samples, prior=False)
        self._priors = buckets(samples, prior=True)
        assert self._subjects and batch_size >= 1, (len(samples), batch_size)
        self._orders: dict[str, tuple[int, list[list[int]]]] = {}

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return self._cuts(self._subjects)

    def __iter__(self) -> Iterator[Batch]:
        return self.starting(0)

    def starting(self, number: int) -> Iterator[Batch]:
        """Batch `number` of the subjects and all after it, without end."""
        while True:
            yield self.batch(number)
            number += 1

    def update(self, number: int, accumulation: int = 1) -> list[Batch]:
        """What update `number`, 0 being the first, learns from: `accumulation` batches, each with its priors.

        Priors share their subjects' batch where they have its shape, and else come in one of their own.
        """
        first = number * accumulation
        return [batch for micro in range(first, first + accumulation) for batch in self._with_priors(micro)]

    def samples_before(self, number: int, accumulation: int = 1) -> int:
        """How many samples, priors too, the updates before `number` hold."""
        epochs, batches = divmod(number * accumulation, len(self))
        begun = sum(len(self.plan(epochs * len(self) + place)) for place in range(batches))
        shown = epochs * sum(map(len, self._subjects)) + begun
        return 2 * shown if self._priors else shown

    def batch(self, number: int) -> Batch:
        """Batch `number` of the subjects alone, 0 being the first of all epochs."""
        return self._drawn(self.plan(number), number, "")

    def plan(self, number: int) -> list[int]:
        """Which subjects batch `number` holds, by their indices."""
        return self._cut("order", number, self._subjects)

    def prior_plan(self, number: int) -> list[int]:
        """Which priors stand beside batch `number`: as many as it has subjects, all of one shape."""
        if not self._priors:
            return []
        return self._cut("prior order", number, self._priors)[: len(self.plan(number))]

    def _with_priors(self, number: int) -> list[Batch]:
        plan, priors = self.plan(number), self.prior_plan(number)
        if priors and self.samples[priors[0]].shape == self.samples[plan[0]].shape:
            return [self._drawn(plan + priors, number, "")]
        return [self._drawn(plan, number, ""), *([self._drawn(priors, number, "prior ")] if priors else [])]

    def _drawn(self, plan: list[int], number: int, purpose: str) -> Batch:
        """The samples of a plan: each latent drawn anew from its distribution, each caption worded anew."""
        chosen = [self.samples[index] for index in plan]
        rng = generator(self.seed, number, f"{purpose}latents")
        flips = torch.rand(len(chosen), generator=generator(self.seed, number, f"{purpose}flip")).tolist()
        views = [int(flip * len(sample.distributions)) for flip, sample in zip(flips, chosen, strict=True)]
        words = [generator(self.seed, number, f"{purpose}caption {place}") for place in range(len(chosen))]
        moment = Moment(number // len(self) + 1, number, self.total)
        return Batch(
            latents=torch.stack([s.distributions[view].draw(rng) for s, view in zip(chosen, views, strict=True)]),
            captions=tuple(sample.captions.draw(words, moment) for sample, words in zip(chosen, words, strict=True)),
            weight=torch.tensor([sample.weight for sample in chosen]),
            framing=framings(chosen),
            mask=masks(chosen, views),
            priors=sum(sample.prior for sample in chosen),
        )

    def _cut(self, purpose: str, number: int, pools: list[list[int]]) -> list[int]:
        """Cut `number` of the endless shuffled epochs of pools."""
        epoch, place = divmod(number, self._cuts(pools))
        if self._orders.get(purpose, (-1,))[0] != epoch:
            self._orders[purpose] = (epoch, self._order(purpose, epoch, pools))
        return list(self._orders[purpose][1][place])

    def _cuts(self, pools: list[list[int]]) -> int:
        return sum(-(-len(pool) // self.batch_size) for pool in pools)

    def _order(self, purpose: str, epoch: int, pools: list[list[int]]) -> list[list[int]]:
        """An epoch: each pool shuffled and cut into batches, then the batches shuffled.

        Each batch of priors is full, so that there are enough for any of subjects: the pool's beginning is taken twice.
        """
        rng = generator(self.seed, epoch, purpose)
        cut: list[list[int]] = []
        for pool in pools:
            shuffled = [pool[i] for i in torch.randperm(len(pool), generator=rng).tolist()]
            parts = -(-len(shuffled) // self.batch_size)
            if pools is self._priors:
                shuffled = list(islice(cycle(shuffled), parts * self.batch_size))
            bounds = [len(shuffled) * part // parts for part in range(parts + 1)]
            cut += [shuffled[begin:end] for begin, end in pairwise(bounds)]
        return [cut[i] for i in torch.randperm(len(cut), generator=rng).tolist()]


def buckets(samples: Sequence[Sample], prior: bool = False) -> list[list[int]]:
    """The indices of the subjects, or the priors, of each latent shape; a repeated one stands there repeatedly."""
    found: dict[torch.Size, list[int]] = {}
    for index, sample in enumerate(samples):
        if sample.prior == prior:
            found.setdefault(sample.shape, []).extend([index] * sample.repeats)
    return list(found.values())


def framings(samples: Sequence[Sample]) -> Tensor | None:
    """Their framings, (B, 6), where every one has its own."""
    known = [sample.framing for sample in samples if sample.framing is not None]
    return torch.tensor(known, dtype=torch.float32) if len(known) == len(samples) else None


def masks(samples: Sequence[Sample], views: Sequence[int]) -> Tensor | None:
    """The masks of the views shown, (B, 1, h, w), ones for who has none; None where nobody has one."""
    if not any(sample.masks for sample in samples):
        return None
    return torch.stack(
        [
            sample.masks[view] if sample.masks else torch.ones(1, *sample.shape[1:])
            for sample, view in zip(samples, views, strict=True)
        ]
    )
