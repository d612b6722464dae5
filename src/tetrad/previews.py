"""What a run draws on its way: the same prompts at the same seed at every stop, and one sheet of them all."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from PIL import Image

from tetrad.data.captions import contains
from tetrad.data.images import to_image
from tetrad.errors import TetradError
from tetrad.generation import grids, png
from tetrad.generation.generate import pictures, with_size
from tetrad.generation.grammar import literal
from tetrad.generation.prompts import parsed
from tetrad.generation.request import Request
from tetrad.models.base import Model
from tetrad.recipe import Data, Recipe, Sample
from tetrad.training.events import Event, Sampled
from tetrad.training.folder import RunFolder

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "pink", "white", "black")
OTHERS = ("a snail", "a teapot", "a bicycle", "a castle", "a cactus")
PEOPLE = re.compile(
    r"\b(person|people|man|men|woman|women|boy|girl|child|kid|baby|face|character|actor|actress|guy|lady)s?\b", re.I
)
BACKGROUND = re.compile(r"\bon an? (\w+) background\b", re.I)


def chosen(sample: Sample, data: Data, captions: Sequence[str], face: bool = False) -> Sample:
    """The settings with the prompts they leave open made from the captions, so that they are in a language the model
    is being taught in: a caption as it is, the word in a new place, no word at all, and what was in no picture.

    Raises E3158 where a person's own prompts ask for networks, E3202 where they cannot be read."""
    for prompt in (*sample.prompts, *sample.sanity):
        if networks := parsed(prompt).networks:
            reason = f"asks for {networks[0].name}, and previews show what is being learned alone"
            raise TetradError("E3158", f"{prompt!r} in the sample prompts {reason}; leave the <…> out")
    if sample.prompts:
        return sample
    captions = [literal(caption) for caption in captions]
    subject = " ".join(filter(None, [data.word, data.class_word]))
    own = next((caption for caption in captions if contains(caption, data.word)), captions[0])
    prompts = dict.fromkeys([own, moved(own, subject, captions), without(own, data)])
    face = face or bool(PEOPLE.search(data.class_word))
    sanity = sample.sanity or ((unseen(own, data.word, captions, face),) if data.word else ())
    return replace(sample, prompts=tuple(prompts), sanity=sanity)


def moved(caption: str, subject: str, captions: Sequence[str]) -> str:
    """What a caption shows, somewhere it was never seen."""
    if found := BACKGROUND.search(caption):
        colour = fresh(COLOURS, captions)
        start, end = found.span()
        return f"{caption[:start]}on {with_article(colour)} background{caption[end:]}"
    return f"a photo of {subject or caption.split(',')[0]} on a beach"


def without(caption: str, data: Data) -> str:
    """A caption that asks for something else: the class word in the word's place, or another thing altogether."""
    segments = caption.split(",")
    place = next((n for n, segment in enumerate(segments) if data.word and contains(segment, data.word)), None)
    if place:  # the word stands among the marks behind the subject, as a style does
        return ",".join(segments[:place] + segments[place + 1 :])
    other = f"a photo of {with_article(data.class_word)}" if data.class_word else "a cat"
    if place is None or len(segments) == 1:
        return other if data.class_word else f"a photo of {other}"
    return ",".join([with_article(data.class_word) if data.class_word else other, *segments[1:]])


def unseen(caption: str, word: str, captions: Sequence[str], face: bool) -> str:
    """The word with what is in no picture: red hair on a person, a new colour on a thing, a new thing in a style.

    Where this comes out as the pictures were, the model has learned them by heart.
    """
    segments = caption.split(",")
    if len(segments) > 1 and not contains(segments[0], word):
        return ",".join([fresh(OTHERS, captions), *segments[1:]])
    if face:
        return ",".join([f"{segments[0]} with red hair", *segments[1:]])
    first = re.sub(rf"(?<!\w){re.escape(word)}", f"{fresh(COLOURS, captions)} {word}", segments[0], count=1)
    return ",".join([re.sub(r"\ban?(?= [aeiou])", "an", first), *segments[1:]])


def fresh(words: Sequence[str], captions: Sequence[str]) -> str:
    """The first of some words that is in no caption."""
    text = " ".join(captions).lower()
    return next((word for word in words if not contains(text, word.split()[-1])), words[-1])


def with_article(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"


def label(prompt: str, recipe: Recipe, captions: Sequence[str]) -> str:
    """What a prompt is there to show."""
    if prompt in recipe.sample.sanity:
        return "sanity: in no picture"
    if not contains(prompt, recipe.data.word):
        return "without the word"
    return "a caption of yours" if prompt in map(literal, captions) else "somewhere new"


class Previews:
    """The pictures of a run so far, by the step they were drawn at."""

    def __init__(self, recipe: Recipe, captions: Sequence[str], folder: RunFolder) -> None:
        self.sample, self.folder, self.name = recipe.sample, folder, folder.name
        self.prompts = (*self.sample.prompts, *self.sample.sanity)
        self.labels = [label(prompt, recipe, captions) for prompt in self.prompts]
        self.seed, self.clip_skip = recipe.train.seed, recipe.text.clip_skip
        self.columns: dict[int, list[Image.Image]] = {}

    @property
    def first(self) -> bool:
        """Whether the model is to be seen before it learns anything."""
        return self.sample.every > 0 and self.sample.first

    def due(self, step: int, last: int) -> bool:
        """Whether the recipe asks for pictures after a step; what came out in the end is always to be seen."""
        return self.sample.every > 0 and (step % self.sample.every == 0 or step == last)

    def draw(self, model: Model, step: int) -> Iterator[Event]:
        """Draw every prompt and the sheet of all steps until now."""
        if not self.prompts:
            return
        asked = [self.request(prompt) for prompt in self.prompts]
        column = []
        for number, (request, picture) in enumerate(zip(asked, pictures(model, asked), strict=True)):
            column.append(to_image(picture))
            path = self.folder.sample(step, number)
            png.save(path, column[-1], png.infotext(with_size(request, model), request.prompt, model.name))
            yield Sampled(step, request.prompt, path, self.labels[number])
        self.columns[step] = column
        path = self.folder.sheet(step)
        png.save(path, self.sheet(step))
        yield Sampled(step, "", path, "sheet")

    def request(self, prompt: str) -> Request:
        sample, clip_skip = self.sample, self.clip_skip
        how = (sample.negative, self.seed, sample.steps, sample.cfg_scale, sample.sampler)
        return Request(prompt, *how, clip_skip=clip_skip)

    def sheet(self, step: int) -> Image.Image:
        """A row for each prompt, a column for each step, the last eight of them."""
        steps = list(self.columns)[-8:]
        rows = [[self.columns[column][row] for column in steps] for row in range(len(self.prompts))]
        words = [f"{told}: {prompt}" for told, prompt in zip(self.labels, self.prompts, strict=True)]
        heads = [f"step {number}" if number else "before" for number in steps]
        return grids.sheet(rows, words, heads, f"{self.name}, step {step}, seed {self.seed}")
