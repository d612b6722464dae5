"""The previews of a run: the same prompts with the same seed each time, and one contact sheet of all of them."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from tetrad.data.captions.captions import contains_word
from tetrad.errors import TetradError
from tetrad.generation.generate import generate_images, with_size
from tetrad.generation.infotext import format_request
from tetrad.generation.prompt_networks import extract_networks
from tetrad.generation.prompt_parser import escape_brackets
from tetrad.generation.request import Request
from tetrad.images import contact_sheet, png
from tetrad.images.diagnosis import BadImage
from tetrad.images.fonts import label_text
from tetrad.images.load import load_image
from tetrad.images.tensors import to_image
from tetrad.locales import Message, _
from tetrad.methods.people import are_of_person, is_person
from tetrad.models.base import Model
from tetrad.run.dataset import Dataset
from tetrad.run.events import Event, Note, Phase, Progress, Sampled
from tetrad.run.folder import RunFolder
from tetrad.run.full_disk import NO_WAITING, DiskGuard
from tetrad.run.minutes import MinuteTimer
from tetrad.run.plan import Plan, SamplePlan
from tetrad.run.watch import Stop, StoppedWhileGenerating, never_stop, stop_between_steps
from tetrad.settings import Sample

_COLOURS = (
    *("red", "green", "blue", "yellow", "purple", "orange", "pink", "white", "black"),
    *("turquoise", "silver", "golden", "brown", "gray", "beige"),
)
_HAIR_COLOURS = ("red", "blue", "green", "pink", "purple", "white", "silver", "orange", "black", "blond", "brown")
_HAIR = re.compile(r"\b(?!(?:with|has|her|his|the|of|and|no|their|my)\b)\w+(?=[ -]hair(?:ed)?\b)", re.IGNORECASE)
_OTHER_OBJECTS = ("a snail", "a teapot", "a bicycle", "a castle", "a cactus")
_ARTICLE = re.compile(rf"\ban? ({'|'.join(_COLOURS)})\b")
_BACKGROUND = re.compile(r"\bon an? (\w+) background\b", re.I)
MAX_SHEET_COLUMNS = 8


@dataclass(frozen=True)
class PreviewPrompts:
    """The prompts of previews, and those that check for overfitting."""

    prompts: tuple[str, ...]
    overfit_prompts: tuple[str, ...]


def default_prompts(sample: Sample, dataset: Dataset, shows_person: bool = False) -> PreviewPrompts:
    """The prompts of the recipe, or else prompts made from the captions, so that they are worded as the training is: a
    caption as it is, the trigger word in a new place, no trigger word, and something that is in no image.

    Raises E3158 where a prompt of the recipe uses a network, E3202 where it cannot be parsed.
    """
    for prompt in (*sample.prompts, *sample.overfit_prompts):
        if networks := extract_networks(prompt).networks:
            raise TetradError(
                "E3158",
                _(
                    "the sample prompt '{prompt}' uses the network {network}, but previews cannot use other networks;"
                    " remove the <…> from the prompt"
                ),
                prompt=prompt,
                network=networks[0].name,
            )
    if sample.prompts:
        return PreviewPrompts(sample.prompts, sample.overfit_prompts)
    captions = [escape_brackets(caption) for caption in dataset.captions]
    word, class_word = dataset.trigger_word, dataset.class_word
    subject = " ".join(filter(None, [word, class_word]))
    own = next((caption for caption in captions if contains_word(caption, word)), captions[0])
    prompts = dict.fromkeys([own, _change_background(own, subject, captions), _replace_subject(own, word, class_word)])
    overfit = sample.overfit_prompts or make_overfit_prompts(dataset.captions, word, class_word, shows_person)
    return PreviewPrompts(tuple(prompts), overfit)


def make_overfit_prompts(
    captions: Sequence[str], word: str, class_word: str, shows_person: bool = False
) -> tuple[str, ...]:
    """The prompts that check for overfitting; none without a trigger word."""
    shows_person = shows_person or is_person(class_word) or are_of_person(captions)
    captions = [escape_brackets(caption) for caption in captions]
    own = next((caption for caption in captions if contains_word(caption, word)), captions[0])
    return (_make_overfit_prompt(own, word, captions, shows_person),) if word else ()


def _change_background(caption: str, subject: str, captions: Sequence[str]) -> str:
    """The caption with a background colour that is in no caption, or the subject on a beach."""
    if match := _BACKGROUND.search(caption):
        colour = _first_unused(_COLOURS, captions)
        start, end = match.span()
        return f"{caption[:start]}on {_with_article(colour)} background{caption[end:]}"
    return f"a photo of {subject or caption.split(',')[0]} on a beach"


def _replace_subject(caption: str, word: str, class_word: str) -> str:
    """The caption without the trigger word: with the class word in its place, or with a cat, or without the style."""
    segments = caption.split(",")
    index = next((n for n, segment in enumerate(segments) if word and contains_word(segment, word)), None)
    if index:  # the trigger word is a tag behind the subject, as a style is
        return ",".join(segments[:index] + segments[index + 1 :])
    other = f"a photo of {_with_article(class_word)}" if class_word else "a cat"
    if index is None or len(segments) == 1:
        return other if class_word else f"a photo of {other}"
    return ",".join([_with_article(class_word) if class_word else other, *segments[1:]])


def _make_overfit_prompt(caption: str, word: str, captions: Sequence[str], shows_person: bool) -> str:
    """The trigger word with something that is in no caption: a person with hair of another colour, an object in
    another colour, or another object in a style.

    If this preview looks like the training images all the same, the model is overfitted.
    """
    segments = caption.split(",")
    if len(segments) > 1 and not contains_word(segments[0], word):
        return ",".join([_first_unused(_OTHER_OBJECTS, captions), *segments[1:]])
    if shows_person:
        return _change_hair(segments, _first_unused(_HAIR_COLOURS, captions))
    colour = _first_unused(_COLOURS, captions)
    own_colour = rf"(?:(?:{'|'.join(_COLOURS)}) )?"
    first = re.sub(rf"(?<!\w){own_colour}{re.escape(word)}", f"{colour} {word}", segments[0], count=1)
    return ",".join([_ARTICLE.sub(lambda match: _with_article(match[1]), first), *segments[1:]])


def _change_hair(segments: Sequence[str], colour: str) -> str:
    """The caption of a person with hair of this colour: in place of the colour it names, or in addition."""
    if any(map(_HAIR.search, segments)):
        return ",".join(_HAIR.sub(colour, segment) for segment in segments)
    return ",".join([f"{segments[0]} with {colour} hair", *segments[1:]])


def _first_unused(words: Sequence[str], captions: Sequence[str]) -> str:
    """The first of the words that is in no caption."""
    text = " ".join(captions).lower()
    return next((word for word in words if not contains_word(text, word.split()[-1])), words[-1])


def _with_article(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"


def describe_purpose(prompt: str, plan: Plan, captions: Sequence[str]) -> Message:
    """What the preview of a prompt is for."""
    if prompt in plan.sample.overfit_prompts:
        return Message(_("overfitting check (not in your images)"))
    if not contains_word(prompt, plan.data.trigger_word):
        return Message(_("without the trigger word"))
    return Message(_("one of your captions") if prompt in map(escape_brackets, captions) else _("somewhere new"))


def is_planned(step: int, last: int, sample: SamplePlan) -> bool:
    """Whether previews are generated after a step however long the run takes."""
    return sample.makes_previews and (step == last or (sample.every > 0 and step % sample.every == 0))


def list_preview_steps(plan: Plan) -> list[int]:
    """The steps of the run after which previews are generated, without those of sample.every_minutes."""
    sample, before, last = plan.sample, plan.train.steps_before, plan.train.steps
    first = [before] if sample.makes_previews and sample.before_training else []
    return [*first, *(step for step in range(before + 1, last + 1) if is_planned(step, last, sample))]


class PreviewFiles:
    """Writes previews; where that is impossible, training goes on without them, and W4205 says so once."""

    def __init__(self, folder: RunFolder, disk: DiskGuard) -> None:
        self.folder, self.disk, self.has_failed = folder, disk, False

    def save(self, path: Path, image: Image.Image, infotext: str = "") -> Iterator[Event]:
        size = image.width * image.height * len(image.getbands())
        try:
            yield from self.disk.write(path, size, lambda: self._write(path, image, infotext))
        except (OSError, TetradError) as error:
            if not self.has_failed:
                reason = error.sentence if isinstance(error, TetradError) else error.strerror
                template = _("a preview cannot be saved, and training goes on without it: {reason}")
                yield Note(Message(template, reason=reason), "W4205")
            self.has_failed = True

    def _write(self, path: Path, image: Image.Image, infotext: str) -> None:
        self.folder.restore()
        png.save_png(path, image, infotext)


class Previews:
    """Generates the previews of a run, and keeps them for the contact sheet."""

    def __init__(
        self,
        plan: Plan,
        captions: Sequence[str],
        folder: RunFolder,
        clip_skip: int = 0,
        stop: Stop = never_stop,
        disk: DiskGuard = NO_WAITING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stop, self.files = stop, PreviewFiles(folder, disk)
        self.sample, self.folder, self.name = plan.sample, folder, folder.name
        self.prompts = (*self.sample.prompts, *self.sample.overfit_prompts)
        self.labels = [describe_purpose(prompt, plan, captions) for prompt in self.prompts]
        self.clip_skip, self.first = clip_skip, plan.train.steps_before
        self.timer = MinuteTimer(self.sample.every_minutes, clock)
        self.columns: dict[int, list[Image.Image]] = {}  # by the step after which they were generated

    @property
    def wanted_before(self) -> bool:
        """Whether previews are generated before the first step."""
        return self.sample.makes_previews and self.sample.before_training

    def is_due(self, step: int, last: int) -> bool:
        """Whether previews are generated after a step; always after the last one."""
        return self.timer.is_over() or self.is_planned(step, last)

    def is_planned(self, step: int, last: int) -> bool:
        """The same without those that are due because minutes have passed.

        A continued run may begin just before such a step; then its previews from before training show the same.
        """
        shows_the_same = self.wanted_before and 10 * (step - self.first) < self.sample.every
        return is_planned(step, last, self.sample) and (step == last or not shows_the_same)

    def generate(self, model: Model, step: int) -> Iterator[Event]:
        """The previews after a step; then the minutes until the next ones begin, whatever has become of these."""
        try:
            yield from self._generate(model, step)
        finally:
            self.timer.restart()

    def _generate(self, model: Model, step: int) -> Iterator[Event]:
        """Generate an image for each prompt, then the contact sheet with all steps until now.

        A preview that cannot be written is left out, with one warning (W4205); nothing more is generated once the run
        is told to stop.
        """
        if not self.prompts:
            return
        requests = [self.make_request(prompt, number) for number, prompt in enumerate(self.prompts)]
        column = []
        yield Phase(Message(_("generating previews")), len(requests))
        try:
            for number, image in enumerate(
                generate_images(model, requests, on_step=partial(stop_between_steps, self.stop))
            ):
                column.append(to_image(image))
                path = self.folder.sample_path(step, number)
                request = with_size(requests[number], model)
                yield from self.files.save(path, column[-1], format_request(request, request.prompt, model.name))
                if path.exists():
                    yield Sampled(step, request.prompt, path, self.labels[number])
                yield Progress(number + 1)
        except StoppedWhileGenerating:
            return
        self.columns[step] = column
        path = self.folder.sheet_path(step)
        yield from self.files.save(path, self.make_sheet(step))
        if path.exists():
            yield Sampled(step, "", path, Message(_("sheet")))

    def reload(self, step: int) -> None:
        """Take up the previews that an interrupted run generated until `step`, for the contact sheet."""
        for number in self.folder.list_sample_steps():
            paths = [self.folder.sample_path(number, index) for index in range(len(self.prompts))]
            if number <= step:
                with suppress(BadImage, OSError):  # the sheet goes without it
                    self.columns[number] = [load_image(path) for path in paths]

    def make_request(self, prompt: str, number: int = 0) -> Request:
        """The request for a prompt, whose number counts from 0."""
        sample = self.sample
        seed = sample.seed + number * sample.next_seeds
        settings = (sample.negative_prompt, seed, sample.steps, sample.cfg_scale, sample.sampler)
        return Request(prompt, *settings, width=sample.width, height=sample.height, clip_skip=self.clip_skip)

    def make_sheet(self, step: int) -> Image.Image:
        """The contact sheet: a row for each prompt, a column for each of the last MAX_SHEET_COLUMNS steps."""
        steps = list(self.columns)[-MAX_SHEET_COLUMNS:]
        rows = [[self.columns[column][row] for column in steps] for row in range(len(self.prompts))]
        labels = [
            label_text(Message(_("{purpose}: {prompt}"), purpose=purpose, prompt=prompt))
            for purpose, prompt in zip(self.labels, self.prompts, strict=True)
        ]
        headings = [
            label_text(Message(_("step {step}"), step=number) if number else Message(_("before"))) for number in steps
        ]
        title = Message(_("{name}, step {step}, seed {seed}"), name=self.name, step=step, seed=self.sample.seed)
        return contact_sheet.make_contact_sheet(rows, labels, headings, label_text(title))
