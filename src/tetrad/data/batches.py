"""The images and captions of each training step, as a function of the seed and the step number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice, pairwise
from typing import Self

import torch
from torch import Tensor

from tetrad.data.captions.captions import Captions, TrainingProgress
from tetrad.data.dataset import Photo
from tetrad.data.latent_cache import Latents
from tetrad.diffusion.randomness import generator
from tetrad.images.load import compute_micro_conditioning

# SDXL's micro-conditioning: original height, width, crop top, left, target height, width.
_SizeConditioning = tuple[int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """The latents of one image (upright, or upright and mirrored) and its captions."""

    distributions: tuple[Latents, ...]
    captions: Captions
    weight: float = 1.0
    is_class_image: bool = False  # for prior preservation
    micro_conditioning: _SizeConditioning | None = None
    repeats: int = 1  # uses per epoch
    masks: tuple[Tensor, ...] = ()  # (1, h, w) of each view: the loss weight of each position

    @classmethod
    def from_photo(
        cls,
        photo: Photo,
        distributions: tuple[Latents, ...],
        size: tuple[int, int],
        prior_loss_weight: float = 1.0,
        masks: tuple[Tensor, ...] = (),
    ) -> Self:
        """A photo encoded at `size` (width, height), with weight and repeats of its subset."""
        subset = photo.subset
        return cls(
            distributions,
            photo.captions,
            weight=subset.weight * (prior_loss_weight if subset.is_class_images else 1.0),
            is_class_image=subset.is_class_images,
            micro_conditioning=compute_micro_conditioning((photo.width, photo.height), size),
            repeats=subset.repeats,
            masks=masks,
        )

    @property
    def shape(self) -> torch.Size:
        """(C, h, w) of its latents."""
        return self.distributions[0].shape


@dataclass(frozen=True)
class Batch:
    """The samples of one forward pass: subject images, then class images."""

    latents: Tensor  # (B, C, h, w)
    captions: tuple[str, ...]
    weight: Tensor  # (B,)
    micro_conditioning: Tensor | None = None  # (B, 6)
    mask: Tensor | None = None  # (B, 1, h, w)
    class_image_count: int = 0  # at the end of the batch

    @property
    def subject_count(self) -> int:
        """The number of samples that the summed loss of an update is divided by.

        Class images are not counted. There are as many as subject images, so that with their weight w the loss is
        mean(subjects) + w · mean(class images).
        """
        return len(self.captions) - self.class_image_count

    def take(self, part: slice) -> "Batch":
        """Some of the samples."""
        begin, end, _step = part.indices(len(self.captions))
        return Batch(
            latents=self.latents[part],
            captions=self.captions[part],
            weight=self.weight[part],
            micro_conditioning=None if self.micro_conditioning is None else self.micro_conditioning[part],
            mask=None if self.mask is None else self.mask[part],
            class_image_count=max(0, end - max(begin, self.subject_count)),
        )

    def join(self, other: "Batch") -> "Batch":
        """Both in one batch; the samples of `other` count as class images."""
        return Batch(
            latents=torch.cat([self.latents, other.latents]),
            captions=self.captions + other.captions,
            weight=torch.cat([self.weight, other.weight]),
            micro_conditioning=_join(self.micro_conditioning, other.micro_conditioning),
            mask=_join(self.mask, other.mask),
            class_image_count=self.class_image_count + len(other.captions),
        )

    def to(self, device: torch.device) -> "Batch":
        """Copy the tensors to a device without waiting."""

        def to_device(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        micro_conditioning = None if self.micro_conditioning is None else to_device(self.micro_conditioning)
        mask = None if self.mask is None else to_device(self.mask)
        return replace(
            self,
            latents=to_device(self.latents),
            weight=to_device(self.weight),
            micro_conditioning=micro_conditioning,
            mask=mask,
        )


class Batches:
    """Endless batches, each a pure function of (seed, batch number), so that a resumed run continues exactly.

    An epoch uses every subject image once per repeat. All images of a batch have the same shape, so some batches are
    not full; the images of a shape are spread evenly over as few batches as possible, because the loss is the mean over
    the batch and images in small batches have more weight. With class images, each batch has as many of them as
    subject images, taken in turn. `total_batches` is the length of the run, for captions that depend on the progress.
    """

    def __init__(self, samples: Sequence[TrainingSample], batch_size: int, seed: int, total_batches: int = 0) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.total_batches = total_batches
        self._subject_buckets = _group_into_buckets(samples, class_images=False)
        self._class_image_buckets = _group_into_buckets(samples, class_images=True)
        assert self._subject_buckets and batch_size >= 1, (len(samples), batch_size)
        self._shuffled_epochs: dict[str, tuple[int, list[list[int]]]] = {}

    def __len__(self) -> int:
        """The number of batches per epoch."""
        return self._count_batches(self._subject_buckets)

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate_from(0)

    def iterate_from(self, batch_number: int) -> Iterator[Batch]:
        """The batches of subject images from `batch_number` on, endlessly."""
        while True:
            yield self.get_batch(batch_number)
            batch_number += 1

    def get_update_batches(self, update_number: int, accumulation: int = 1) -> list[Batch]:
        """The batches of an update (from 0): `accumulation` batches of subject images with their class images.

        Class images are in the same batch if they have its shape, and otherwise in a batch of their own.
        """
        first = update_number * accumulation
        return [batch for micro in range(first, first + accumulation) for batch in self._add_class_images(micro)]

    def count_samples_before(self, update_number: int, accumulation: int = 1) -> int:
        """The number of samples, class images included, in all updates before this one."""
        epochs, batches = divmod(update_number * accumulation, len(self))
        in_current_epoch = sum(len(self.get_subject_indices(epochs * len(self) + index)) for index in range(batches))
        subject_count = epochs * sum(map(len, self._subject_buckets)) + in_current_epoch
        return 2 * subject_count if self._class_image_buckets else subject_count

    def get_batch(self, batch_number: int) -> Batch:
        """A batch of subject images only; 0 is the first batch of the first epoch."""
        return self._sample_batch(self.get_subject_indices(batch_number), batch_number, "")

    def get_subject_indices(self, batch_number: int) -> list[int]:
        """The indices of the subject images in a batch."""
        return self._get_indices("order", batch_number, self._subject_buckets)

    def get_class_image_indices(self, batch_number: int) -> list[int]:
        """The indices of the class images of a batch: as many as it has subject images, all of one shape."""
        if not self._class_image_buckets:
            return []
        # "prior " is part of the seed here and below: another word would change every run with class images.
        return self._get_indices("prior order", batch_number, self._class_image_buckets)[
            : len(self.get_subject_indices(batch_number))
        ]

    def _add_class_images(self, batch_number: int) -> list[Batch]:
        subjects, class_images = self.get_subject_indices(batch_number), self.get_class_image_indices(batch_number)
        if class_images and self.samples[class_images[0]].shape == self.samples[subjects[0]].shape:
            return [self._sample_batch(subjects + class_images, batch_number, "")]
        return [
            self._sample_batch(subjects, batch_number, ""),
            *([self._sample_batch(class_images, batch_number, "prior ")] if class_images else []),
        ]

    def _sample_batch(self, indices: list[int], batch_number: int, purpose: str) -> Batch:
        """The batch of these samples, with newly sampled latents, flips and captions."""
        samples = [self.samples[index] for index in indices]
        rng = generator(self.seed, batch_number, f"{purpose}latents")
        flips = torch.rand(len(samples), generator=generator(self.seed, batch_number, f"{purpose}flip")).tolist()
        views = [int(flip * len(sample.distributions)) for flip, sample in zip(flips, samples, strict=True)]
        caption_rngs = [
            generator(self.seed, batch_number, f"{purpose}caption {index}") for index in range(len(samples))
        ]
        progress = TrainingProgress(batch_number // len(self) + 1, batch_number, self.total_batches)
        return Batch(
            latents=torch.stack([s.distributions[view].sample(rng) for s, view in zip(samples, views, strict=True)]),
            captions=tuple(
                sample.captions.sample(caption_rng, progress)
                for sample, caption_rng in zip(samples, caption_rngs, strict=True)
            ),
            weight=torch.tensor([sample.weight for sample in samples]),
            micro_conditioning=_stack_micro_conditioning(samples),
            mask=_stack_masks(samples, views),
            class_image_count=sum(sample.is_class_image for sample in samples),
        )

    def _get_indices(self, purpose: str, batch_number: int, buckets: list[list[int]]) -> list[int]:
        """The indices of a batch in the endless sequence of shuffled epochs."""
        epoch, index = divmod(batch_number, self._count_batches(buckets))
        if self._shuffled_epochs.get(purpose, (-1,))[0] != epoch:
            self._shuffled_epochs[purpose] = (epoch, self._shuffle_epoch(purpose, epoch, buckets))
        return list(self._shuffled_epochs[purpose][1][index])

    def _count_batches(self, buckets: list[list[int]]) -> int:
        return sum(-(-len(bucket) // self.batch_size) for bucket in buckets)

    def _shuffle_epoch(self, purpose: str, epoch: int, buckets: list[list[int]]) -> list[list[int]]:
        """One epoch: shuffle each bucket, cut it into batches, shuffle the batches.

        Batches of class images are always full, so that there are enough for any subject batch: the first images of the
        shuffled bucket are used again.
        """
        rng = generator(self.seed, epoch, purpose)
        batches: list[list[int]] = []
        for bucket in buckets:
            shuffled = [bucket[i] for i in torch.randperm(len(bucket), generator=rng).tolist()]
            parts = -(-len(shuffled) // self.batch_size)
            if buckets is self._class_image_buckets:
                shuffled = list(islice(cycle(shuffled), parts * self.batch_size))
            bounds = [len(shuffled) * part // parts for part in range(parts + 1)]
            batches += [shuffled[begin:end] for begin, end in pairwise(bounds)]
        return [batches[i] for i in torch.randperm(len(batches), generator=rng).tolist()]


def make_fixed_batch(samples: Sequence[TrainingSample]) -> Batch:
    """Samples of one shape as a batch without anything random: upright, mean latents, and the default captions."""
    return Batch(
        latents=torch.stack([sample.distributions[0].mean for sample in samples]),
        captions=tuple(sample.captions.default_caption for sample in samples),
        weight=torch.ones(len(samples)),
        micro_conditioning=_stack_micro_conditioning(samples),
        mask=_stack_masks(samples, [0] * len(samples)),
    )


def _group_into_buckets(samples: Sequence[TrainingSample], class_images: bool = False) -> list[list[int]]:
    """The indices of the subject or class images of each latent shape; an image with repeats appears repeatedly."""
    groups: dict[torch.Size, list[int]] = {}
    for index, sample in enumerate(samples):
        if sample.is_class_image == class_images:
            groups.setdefault(sample.shape, []).extend([index] * sample.repeats)
    return list(groups.values())


def _join(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else torch.cat([first, second])


def _stack_micro_conditioning(samples: Sequence[TrainingSample]) -> Tensor | None:
    """The micro-conditioning of all samples, (B, 6); None if a sample has none."""
    rows = [sample.micro_conditioning for sample in samples if sample.micro_conditioning is not None]
    return torch.tensor(rows, dtype=torch.float32) if len(rows) == len(samples) else None


def _stack_masks(samples: Sequence[TrainingSample], views: Sequence[int]) -> Tensor | None:
    """The masks of the views in use, (B, 1, h, w), all ones for samples without a mask; None if no sample has one."""
    if not any(sample.masks for sample in samples):
        return None
    return torch.stack(
        [
            sample.masks[view] if sample.masks else torch.ones(1, *sample.shape[1:])
            for sample, view in zip(samples, views, strict=True)
        ]
    )
