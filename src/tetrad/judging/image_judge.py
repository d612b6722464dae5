"""Judges a trained file by what the model generates with it, beside what the untouched model generates."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from tetrad import library
from tetrad.data.captions.captions import replace_word
from tetrad.generation.generate import generate_images
from tetrad.generation.pipeline import Pipeline
from tetrad.generation.request import Request
from tetrad.images.tensors import to_image, to_tensor
from tetrad.judging import image_scores, obedience
from tetrad.judging.base_images import BaseImages
from tetrad.judging.copying import CopyReferences
from tetrad.judging.eyes import Eye, TextEye, UnetMapEye
from tetrad.judging.prompts import AttributePrompt, JudgePrompts
from tetrad.judging.scores import Score
from tetrad.models.base import Model

_BATCH_SIZE = 8
_MAX_REFERENCES = 48  # training images that are looked at; evenly spread over a larger data set
_LIKENESS_BLOCK, _LIKENESS_TIME = -1, 300  # up3: docs/judging.md has what other maps reached
_COPY_BLOCK, _COPY_TIME = -2, 150  # up2


@dataclass(frozen=True)
class TrainedFile:
    """A file that was trained: its type, "lora", and whether it is a whole model."""

    path: Path
    type: str
    is_full_model: bool = False
    own_word: str = ""  # the word that stands for it in prompts in place of the trigger word: an embedding's name


@dataclass(frozen=True)
class Sampling:
    """How images are generated, and how many."""

    request: Request  # everything but the prompt; its seed is that of the first image
    with_word: int = 12
    without_word: int = 12
    without_word_at_end: int = 64  # for the checkpoint that is chosen


@dataclass(frozen=True)
class ImageSet:
    """Generated images in the order of their requests."""

    with_word: tuple[Image.Image, ...]
    without_word: tuple[Image.Image, ...]

    @cached_property
    def word_tensors(self) -> list[Tensor]:
        return [to_tensor(image) for image in self.with_word]

    @cached_property
    def other_tensors(self) -> list[Tensor]:
        return [to_tensor(image) for image in self.without_word]


@dataclass
class ImageJudge:
    """The base model, the training images, and the prompts; what the eyes see of them is kept.

    `eye` is one from a folder, beside the model's own maps. `on_image` is called for each image that is generated.
    """

    pipeline: Pipeline
    references: Sequence[Tensor]  # training images (3, H, W) in [0, 1]
    prompts: JudgePrompts
    word: str
    sampling: Sampling
    cache: BaseImages
    eye: Eye | None = None
    on_image: Callable[[], None] = lambda: None
    _features: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        step = -(-len(self.references) // _MAX_REFERENCES) or 1
        self.references = self.references[::step]

    @property
    def model(self) -> Model:
        return self.pipeline.model

    @cached_property
    def base(self) -> ImageSet:
        """What the untouched model generates."""
        word_requests, other_requests = self._list_requests(self.sampling.without_word_at_end)
        return ImageSet(tuple(self._generate_base(word_requests)), tuple(self._generate_base(other_requests)))

    @cached_property
    def copies(self) -> CopyReferences | None:
        return CopyReferences.take(self._copy_eye, self.references, self.model.resolution)

    @cached_property
    def own_likeness(self) -> float | None:
        """The likeness of the training images to each other."""
        eye = self._map_eye
        seen, base = self._see(eye, "references"), self._see(eye, "base, with word")
        return image_scores.measure_own_likeness(seen, base, eye.measure)

    def generate(self, file: TrainedFile, strength: float, only_without: int = 0) -> ImageSet:
        """The images of a trained file at a strength; with `only_without` so many without the trigger word alone."""
        word_requests, other_requests = self._list_requests(only_without)
        if only_without:
            word_requests = []
        if file.own_word and self.word:
            word_requests = [
                replace(each, prompt=replace_word(each.prompt, self.word, file.own_word)) for each in word_requests
            ]
        with _use(self.pipeline, file, strength) as model:
            return ImageSet(*(tuple(self._generate(model, each)) for each in (word_requests, other_requests)))

    def score(self, images: ImageSet) -> dict[str, Score]:
        """Every score that the images give; those that cannot be had are left out."""
        scores = dict(self._score_by(self._map_eye, "", images))
        if self.eye:
            scores |= self._score_by(self.eye, "_eye", images)
        if images.without_word:
            base = torch.stack(self.base.other_tensors[: len(images.without_word)])
            scores["leak"] = image_scores.measure_leak(torch.stack(images.other_tensors), base)
        asked = self._list_asked()
        if images.with_word:
            scores["obedience"] = obedience.score_by_likelihood(self.model, images.word_tensors, asked)
            if isinstance(self.eye, TextEye):
                scores["obedience_eye"] = obedience.score_by_eye(self.eye, images.word_tensors, asked)
        if images.with_word and self.copies and self.copies.can_tell:
            scores["copying"] = self.copies.score(self._copy_eye.look(images.word_tensors))
        return scores

    def score_base(self) -> dict[str, Score]:
        """The scores of the untouched model: what there is without a training."""
        return self.score(self.base)

    def _score_by(self, eye: Eye, suffix: str, images: ImageSet) -> Iterator[tuple[str, Score]]:
        """The scores that any eye gives, under their names with a suffix."""
        references = self._see(eye, "references")
        if images.with_word:
            seen = eye.look(images.word_tensors)
            base = self._see(eye, "base, with word")
            yield f"likeness{suffix}", image_scores.measure_likeness(seen, base, references, eye.measure)
            if not suffix and (spread := image_scores.measure_spread(seen, references, eye.measure)):
                yield "spread", spread
        if images.without_word:
            seen, base = (
                eye.look(images.other_tensors),
                self._see(eye, "base, without word")[: len(images.without_word)],
            )
            yield f"kept{suffix}", image_scores.measure_kept(seen, base, eye.measure)
            yield f"pull{suffix}", image_scores.measure_likeness(seen, base, references, eye.measure)

    def _see(self, eye: Eye, what: str) -> Tensor:
        """What an eye sees of the training images or of the base model's images; looked at once."""
        if (eye.name, what) not in self._features:
            sources: dict[str, Callable[[], Sequence[Tensor]]] = {
                "references": lambda: self.references,
                "base, with word": lambda: self.base.word_tensors,
                "base, without word": lambda: self.base.other_tensors,
            }
            self._features[eye.name, what] = eye.look(sources[what]())
        return self._features[eye.name, what]

    @cached_property
    def _map_eye(self) -> Eye:
        return UnetMapEye(self.model, _LIKENESS_BLOCK, _LIKENESS_TIME, by_patch=True)

    @cached_property
    def _copy_eye(self) -> Eye:
        return UnetMapEye(self.model, _COPY_BLOCK, _COPY_TIME)

    def _list_requests(self, without_word: int = 0) -> tuple[list[Request], list[Request]]:
        """The requests with the trigger word and without; every one has a seed of its own."""
        others = self.prompts.without_word[: without_word or self.sampling.without_word]
        first = self.sampling.request
        return tuple(  # type: ignore[return-value]
            [replace(first, prompt=prompt, seed=first.seed + number) for number, prompt in enumerate(prompts)]
            for prompts in ([each.prompt for each in self._list_asked()], others)
        )

    def _list_asked(self) -> list[AttributePrompt]:
        """The prompts with the trigger word, each as often as its turn comes."""
        return [self.prompts.with_word[n % len(self.prompts.with_word)] for n in range(self.sampling.with_word)]

    def _generate_base(self, requests: Sequence[Request]) -> Iterator[Image.Image]:
        """The base model's images, from the cache where it has them."""
        missing = [request for request in requests if not self.cache.has(request)]
        for request, image in zip(missing, self._generate(self.model, missing), strict=True):
            self.cache.save(request, image)
        yield from (self.cache.load(request) for request in requests)

    def _generate(self, model: Model, requests: Sequence[Request]) -> Iterator[Image.Image]:
        for image in generate_images(model, requests, _BATCH_SIZE, self.pipeline.decode):
            self.on_image()
            yield to_image(image)


@contextmanager
def _use(pipeline: Pipeline, file: TrainedFile, strength: float) -> Iterator[Model]:
    """The base model with a file attached, or the file's own model."""
    if file.is_full_model:
        yield Pipeline(file.path, pipeline.folders, str(next(pipeline.model.vae.network.parameters()).device)).model
        return
    adapter = library.attach_weights(file.path, pipeline.model, strength, file.type)
    try:
        yield pipeline.model
    finally:
        adapter.detach()
