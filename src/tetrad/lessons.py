"""What each method is shown by: a sample set it is good at, settings for the built-in model, prompts for the eye."""

from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from tetrad.builtin.tasks import TASKS, Task
from tetrad.builtin.vocabulary import TRIGGER
from tetrad.data.images import to_image
from tetrad.generation import grids, png
from tetrad.generation.generate import pictures
from tetrad.generation.learning import Figures, learned
from tetrad.generation.request import Request
from tetrad.kinds import KINDS
from tetrad.library import attach, load_model
from tetrad.methods.base import Method
from tetrad.methods.dreambooth import DreamBooth
from tetrad.methods.hypernetwork import Hypernetwork
from tetrad.methods.lora import Lora
from tetrad.methods.textual_inversion import TextualInversion
from tetrad.recipe import Data, Recipe, Sample, Save, Train
from tetrad.training.device import for_drawing, settle

SEEDS = (1, 2, 3)
UNTAUGHT = "a red apple, gold style, on a green background"  # shows what leaked
SUBJECT_PROMPTS = (
    "a {word}, on a yellow background",
    "a {word}, gold style, on a pink background",
    "a {word}, porcelain style, on an orange background",
    UNTAUGHT,
)
PERSON_PROMPTS = (
    "a {word}, on a yellow background",
    "a {word}, on a brown background",
    "a {word}, on a black background",
    UNTAUGHT,
)
STYLE_PROMPTS = (
    "a star, {word} style, on a purple background",
    "an owl, {word} style, on a yellow background",
    "a light bulb, {word} style, on a red background",
    UNTAUGHT,
)


@dataclass(frozen=True)
class Lesson:
    """A method with something to learn from the sample pictures of a task."""

    task: Task
    says: str  # what is taught, to a person
    method: Method
    steps: int
    learning_rate: float | str
    prompts: tuple[str, ...]  # with {word} for the new one

    def recipe(self, out: str) -> Recipe:
        """The run, without previews, in a folder under `out`."""
        return Recipe(
            data=Data(images=f"builtin:{self.task.name}", word=TRIGGER),
            method=self.method,
            train=Train(steps=self.steps, learning_rate=self.learning_rate),
            sample=Sample(every=-1),
            save=Save(out=out, name=TRIGGER),
        )


ROBOT = "The built-in model has never seen a robot. Eight pictures will teach it one, under the name zkr."
COWBOY = "The built-in model has never seen a cowboy. Eight pictures will teach it one, under the name zkr."
STYLE = "The built-in model has never seen this way of drawing. 24 pictures will teach it, under the name zkr style."
WORD_OF_A_FACE = TextualInversion(initial_text="cool face", vectors=8)
STYLE_NETWORKS = Hypernetwork(activation="swish")
LESSONS: dict[str, Lesson] = {
    lesson.method.kind: lesson
    for lesson in (
        Lesson(TASKS["subject"], ROBOT, Lora(text_encoder=False), 180, 5e-4, SUBJECT_PROMPTS),
        Lesson(TASKS["subject"], ROBOT, DreamBooth(), 180, 7e-5, SUBJECT_PROMPTS),
        Lesson(TASKS["person"], COWBOY, WORD_OF_A_FACE, 300, "0.1:200, 0.02", PERSON_PROMPTS),
        Lesson(TASKS["style"], STYLE, STYLE_NETWORKS, 400, "2.5e-4:300, 1e-4", STYLE_PROMPTS),
    )
}


def word_of(lesson: Lesson, learned_file: Path) -> str:
    """What to call it in a prompt: an embedding's word is its file's name, zkr-2 in the second run's folder."""
    return learned_file.stem if KINDS[lesson.method.writes].needs_word else TRIGGER


def compared(lesson: Lesson, learned_file: Path) -> tuple[Path, Figures]:
    """Draw the lesson's prompts without and with what was learned, side by side, into sheet.png; and measure."""
    model, word = load_model("builtin"), word_of(lesson, learned_file)
    settle(model, for_drawing())
    prompts = [prompt.format(word=word) for prompt in lesson.prompts]
    requests = [Request(prompt, seed=seed, steps=25, cfg_scale=4.0) for prompt in prompts for seed in SEEDS]

    def drawn() -> list[Image]:
        return [to_image(picture) for picture in pictures(model, requests, batch_size=len(requests))]

    without = drawn()
    figures = learned(model, lesson.task, word, lambda: attach(learned_file, model))
    taught = drawn()
    many = len(SEEDS)
    rows = [without[first : first + many] + taught[first : first + many] for first in range(0, len(requests), many)]
    columns = [f"before, seed {seed}" for seed in SEEDS] + [f"after, seed {seed}" for seed in SEEDS]
    path = learned_file.parent / "sheet.png"
    title = f"Taught by {lesson.method.kind}: the same prompts and seeds, before and after"
    png.save(path, grids.sheet(rows, prompts, columns, title))
    return path, figures
