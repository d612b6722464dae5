"""Judges a training by what the model generates after it, beside what the untouched model generates."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from tetrad.data.captions.captions import replace_word
from tetrad.generation.generate import StepCallback, generate_images, ignore_step
from tetrad.generation.request import Request
from tetrad.images.tensors import to_image, to_tensor
from tetrad.judging import image_scores, obedience
from tetrad.judging.base_images import BaseImages
from tetrad.judging.copying import CopyReferences
from tetrad.judging.eyes import DrawingEye, Eye, TextEye, UnetMapEye
from tetrad.judging.prompts import AttributePrompt, JudgePrompts
from tetrad.judging.scores import Score
from tetrad.models.base import Model

_BATCH_SIZE = 8
_MAX_REFERENCES = 48  # training images that are looked at; evenly spread over a larger data set
_LIKENESS_BLOCK, _LIKENESS_TIME = -1, 300  # up3: docs/judging.md has what other maps reached
_COPY_BLOCK, _COPY_TIME = -2, 150  # up2
T = TypeVar("T")


@dataclass(frozen=True)
class Counts:
    """How many images are generated: with the trigger word, without it, and of the sanity prompts."""

    with_word: int
    without_word: int
    sanity: int = 0

    @property
    def total(self) -> int:
        return self.with_word + self.without_word + self.sanity


@dataclass(frozen=True)
class ImageSet:
    """Generated images in the order of their requests."""

    with_word: tuple[Image.Image, ...]
    without_word: tuple[Image.Image, ...]
    sanity: tuple[Image.Image, ...] = ()

    @property
    def counts(self) -> Counts:
        return Counts(len(self.with_word), len(self.without_word), len(self.sanity))

    @cached_property
    def word_tensors(self) -> list[Tensor]:
        return [to_tensor(image) for image in self.with_word]

    @cached_property
    def other_tensors(self) -> list[Tensor]:
        return [to_tensor(image) for image in self.without_word]


@dataclass
class ImageJudge:
    """The base model, the training images, and the prompts; what the eyes see of them is kept.

    `request` is how images are generated: everything but the prompt, and the seed of the first image. `eye` is one
    from a folder, beside the model's own maps. `on_image` is called for each image that is generated, and `untouched`
    gives a context in which `model` is the base model, where it is another one outside.
    """

    model: Model
    references: Sequence[Tensor]  # training images (3, H, W) in [0, 1]
    prompts: JudgePrompts
    word: str
    request: Request
    cache: BaseImages
    eye: Eye | None = None
    decode: Callable[[Tensor], Tensor] | None = None  # in place of the model's VAE
    recognizes: bool = False  # whether the model's images show what `recognition` knows: the built-in model
    finds_copies: bool = True  # which takes long with many training images
    untouched: Callable[[], AbstractContextManager[None]] = nullcontext
    on_image: Callable[[], None] = lambda: None
    on_step: StepCallback = ignore_step
    _features: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    @cached_property
    def copies(self) -> CopyReferences | None:
        with self.untouched():
            return CopyReferences.take(self._copy_eye, self.references, self.model.resolution)

    def measure_own_likeness(self, base: ImageSet) -> float | None:
        """The likeness of the training images to each other."""
        eye = self._likeness_eye
        with self.untouched():
            references = self._see(eye, "references", self.references)
            untouched = self._see(eye, "base, with word", base.word_tensors)
        return image_scores.measure_own_likeness(references, untouched, eye.measure)

    def generate_base(self, counts: Counts) -> ImageSet:
        """What the untouched model generates; from the cache where it was generated before."""
        with self.untouched():
            return ImageSet(*(tuple(self._generate_base(part)) for part in self._list_requests(counts)))

    def generate(self, model: Model, counts: Counts, own_word: str = "") -> ImageSet:
        """The images of a model as it is now; `own_word` stands in prompts in place of the trigger word."""
        parts = self._list_requests(counts)
        if own_word and self.word:
            parts = tuple(
                [replace(each, prompt=replace_word(each.prompt, self.word, own_word)) for each in part]
                for part in parts
            )
        return ImageSet(*(tuple(self._generate(model, part)) for part in parts))

    def score(self, images: ImageSet) -> dict[str, Score]:
        """Every score that the images give, beside the base's; those that cannot be had are left out.

        The scores of the base model itself are those of its own images.
        """
        base, copies = self.generate_base(images.counts), self.copies if self.finds_copies else None
        with self.untouched():
            return self._score(images, base, copies)

    def _score(self, images: ImageSet, base: ImageSet, copies: CopyReferences | None) -> dict[str, Score]:
        scores = dict(self._score_by(self._likeness_eye, "", images, base))
        if images.with_word and (spread := self._measure_spread(images)):
            scores["spread"] = spread
        if self.eye:
            scores |= self._score_by(self.eye, "_eye", images, base)
        if images.without_word:
            scores["leak"] = image_scores.measure_leak(
                torch.stack(images.other_tensors), torch.stack(base.other_tensors)
            )
        asked = _take_in_turn(self.prompts.with_word, len(images.with_word))
        if images.with_word:
            scores["obedience"] = self._score_obedience(images.word_tensors, asked)
            if isinstance(self.eye, TextEye):
                scores["obedience_eye"] = obedience.score_by_eye(self.eye, images.word_tensors, asked)
        if images.sanity:
            tensors = [to_tensor(image) for image in images.sanity]
            scores["sanity"] = self._score_obedience(tensors, _take_in_turn(self.prompts.sanity, len(tensors)))
        if images.with_word and copies and copies.can_tell:
            scores["copying"] = copies.score(self._copy_eye.look(images.word_tensors))
        return scores

    def _score_obedience(self, images: Sequence[Tensor], asked: Sequence[AttributePrompt]) -> Score:
        """Measured where the asked attribute can be recognized, or else by the base model's likelihood."""
        recognized = obedience.score_by_recognition(images, asked) if self.recognizes else None
        return recognized or obedience.score_by_likelihood(self.model, images, asked)

    def _score_by(self, eye: Eye, suffix: str, images: ImageSet, base: ImageSet) -> Iterator[tuple[str, Score]]:
        """The scores that any eye gives, under their names with a suffix."""
        references = self._see(eye, "references", self.references)
        if images.with_word:
            seen, untouched = eye.look(images.word_tensors), self._see(eye, "base, with word", base.word_tensors)
            yield f"likeness{suffix}", image_scores.measure_likeness(seen, untouched, references, eye.measure)
        if images.without_word:
            seen, untouched = eye.look(images.other_tensors), self._see(eye, "base, without word", base.other_tensors)
            yield f"kept{suffix}", image_scores.measure_kept(seen, untouched, eye.measure)
            yield f"pull{suffix}", image_scores.measure_likeness(seen, untouched, references, eye.measure)

    def _measure_spread(self, images: ImageSet) -> Score | None:
        """By whole images, also where the likeness is that of the drawings alone."""
        eye = self._map_eye
        references = self._see(eye, "references", self.references)
        return image_scores.measure_spread(eye.look(images.word_tensors), references, eye.measure)

    def _see(self, eye: Eye, what: str, images: Sequence[Tensor]) -> Tensor:
        """What an eye sees of images that are the same each time, as far as there are some; each is looked at once."""
        known = self._features.get((eye.name, what))
        missing = images[0 if known is None else len(known) :]
        if missing:
            seen = eye.look(missing)
            known = seen if known is None else torch.cat([known, seen])
            self._features[eye.name, what] = known
        assert known is not None
        return known[: len(images)]

    @cached_property
    def _likeness_eye(self) -> Eye:
        return DrawingEye() if self.recognizes else self._map_eye

    @cached_property
    def _map_eye(self) -> Eye:
        return UnetMapEye(self.model, _LIKENESS_BLOCK, _LIKENESS_TIME, by_patch=True)

    @cached_property
    def _copy_eye(self) -> Eye:
        return UnetMapEye(self.model, _COPY_BLOCK, _COPY_TIME)

    def _list_requests(self, counts: Counts) -> tuple[list[Request], ...]:
        """The requests with the trigger word, without it, and of sanity prompts; every one has a seed of its own."""
        prompts = (
            [each.prompt for each in _take_in_turn(self.prompts.with_word, counts.with_word)],
            self.prompts.without_word[: counts.without_word],
            [each.prompt for each in _take_in_turn(self.prompts.sanity, counts.sanity)],
        )
        first = self.request
        return tuple(
            [replace(first, prompt=prompt, seed=first.seed + number) for number, prompt in enumerate(part)]
            for part in prompts
        )

    def _generate_base(self, requests: Sequence[Request]) -> Iterator[Image.Image]:
        """The base model's images, from the cache where it has them."""
        missing = [request for request in requests if not self.cache.has(request)]
        for request, image in zip(missing, self._generate(self.model, missing), strict=True):
            self.cache.save(request, image)
        yield from (self.cache.load(request) for request in requests)

    def _generate(self, model: Model, requests: Sequence[Request]) -> Iterator[Image.Image]:
        for image in generate_images(model, requests, _BATCH_SIZE, self.decode, self.on_step):
            self.on_image()
            yield to_image(image)


def choose_references(images: Sequence[T]) -> Sequence[T]:
    """Those of the training images that are looked at."""
    return images[:: -(-len(images) // _MAX_REFERENCES) or 1]


def _take_in_turn(prompts: Sequence[AttributePrompt], count: int) -> list[AttributePrompt]:
    """So many prompts, each as often as its turn comes; none where there are none."""
    return [prompts[number % len(prompts)] for number in range(count)] if prompts else []
