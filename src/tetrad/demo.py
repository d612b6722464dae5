"""The tasks of `tetrad demo`: for each method a sample set, settings for the built-in model, and prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL.Image import Image

from tetrad.builtin import LEARNING_RATES, STEPS, resolve_images_path
from tetrad.builtin.vocabulary import TRIGGER_WORD
from tetrad.evaluation.builtin import EvaluationScores, count_evaluation_steps, evaluate_training
from tetrad.evaluation.builtin_tasks import TASKS, Task
from tetrad.generation.generate import generate_images
from tetrad.generation.request import Request
from tetrad.images import contact_sheet, png
from tetrad.images.fonts import label_text
from tetrad.images.load import load_image
from tetrad.images.tensors import to_image
from tetrad.library import attach_weights, load_model
from tetrad.locales import Message, _
from tetrad.methods import DreamBooth, Hypernetwork, Lora, TextualInversion
from tetrad.methods.settings import MethodSettings
from tetrad.models.device import move_to, select_generation_device
from tetrad.settings import Data, Judge, Recipe, Sample, Save, Train
from tetrad.settings.learning_rate import parse_learning_rate

SEEDS = (1, 2, 3)
SAMPLER = "Euler a"  # the smoothest backgrounds at this guidance: tools/builtin_model/README.md, "Uneven backgrounds"
_SAMPLING_STEPS = 18
_UNTRAINED_PROMPT = "a red apple, gold style, on a green background"  # shows leak: changes without the trigger word
_SUBJECT_PROMPTS = (
    "a {word}, on a yellow background",
    "a {word}, gold style, on a pink background",
    "a {word}, porcelain style, on an orange background",
    _UNTRAINED_PROMPT,
)
_PERSON_PROMPTS = (
    "a {word}, on a yellow background",
    "a {word}, on a brown background",
    "a {word}, on a black background",
    _UNTRAINED_PROMPT,
)
_STYLE_PROMPTS = (
    "a star, {word} style, on a purple background",
    "an owl, {word} style, on a yellow background",
    "a light bulb, {word} style, on a red background",
    _UNTRAINED_PROMPT,
)


@dataclass(frozen=True)
class _DemoTask:
    """What one method is trained on in the demo, and how."""

    task: Task
    description: Message
    method: MethodSettings
    steps: int
    learning_rate: float | str
    prompts: tuple[str, ...]  # {word} stands for the trigger word

    def recipe(self, out: str) -> Recipe:
        """A recipe without previews; the run's folder is made in `out`."""
        return Recipe(
            data=Data(images=f"builtin:{self.task.name}", trigger_word=TRIGGER_WORD),
            method=self.method,
            train=Train(
                steps=self.steps,
                learning_rate=parse_learning_rate(str(self.learning_rate)),
                scheduler="cosine",  # the scores in README were measured with it, for every method
            ),
            sample=Sample(every=-1),
            judge=Judge(scores="off"),  # the images are compared with the true drawings instead
            save=Save(out=out, name=TRIGGER_WORD),
        )


_ROBOT_DESCRIPTION = Message(
    _("The built-in model does not know this robot. It is trained on 8 images of it, with the trigger word zkr.")
)
_COWBOY_DESCRIPTION = Message(
    _("The built-in model does not know this cowboy. It is trained on 8 images of him, with the trigger word zkr.")
)
_STYLE_DESCRIPTION = Message(
    _("The built-in model does not know this style. It is trained on 24 images in it, with the trigger word zkr.")
)
_ROBOT_LORA = Lora(text_encoder=False)
_FACE_EMBEDDING = TextualInversion(initial_text="cool face", vectors=8)
_STYLE_HYPERNETWORK = Hypernetwork(activation="swish")


def _make_task(name: str, description: Message, method: MethodSettings, prompts: tuple[str, ...]) -> _DemoTask:
    kind = method.kind
    return _DemoTask(TASKS[name], description, method, STEPS[kind], LEARNING_RATES[kind], prompts)


DEMO_TASKS: dict[str, _DemoTask] = {
    demo_task.method.kind: demo_task
    for demo_task in (
        _make_task("subject", _ROBOT_DESCRIPTION, _ROBOT_LORA, _SUBJECT_PROMPTS),
        _make_task("subject", _ROBOT_DESCRIPTION, DreamBooth(), _SUBJECT_PROMPTS),
        _make_task("person", _COWBOY_DESCRIPTION, _FACE_EMBEDDING, _PERSON_PROMPTS),
        _make_task("style", _STYLE_DESCRIPTION, _STYLE_HYPERNETWORK, _STYLE_PROMPTS),
    )
}


def resolve_trigger_word(demo_task: _DemoTask, trained_file: Path) -> str:
    """The word to use in prompts: for an embedding its file name, such as zkr-2 in a second run, else zkr."""
    return trained_file.stem if demo_task.method.artifact.requires_trigger_word else TRIGGER_WORD


def count_steps(demo_task: _DemoTask) -> int:
    """How often `compare_before_after` calls `on_step`."""
    return 2 * _SAMPLING_STEPS + count_evaluation_steps()


def compare_before_after(
    demo_task: _DemoTask, trained_file: Path, on_step: Callable[[], None] = lambda: None
) -> tuple[Path, EvaluationScores]:
    """Generate the task's prompts without and with the trained file; returns the path of sheet.png and the scores.

    `on_step` is called at each step of the sampler.
    """
    model, trigger_word = load_model("builtin"), resolve_trigger_word(demo_task, trained_file)
    move_to(model, select_generation_device())
    prompts = [prompt.format(word=trigger_word) for prompt in demo_task.prompts]
    requests = [
        Request(prompt, seed=seed, steps=_SAMPLING_STEPS, cfg_scale=4.0, sampler=SAMPLER)
        for prompt in prompts
        for seed in SEEDS
    ]

    def count_step(step: int, steps: int) -> None:
        on_step()

    def generate_all() -> list[Image]:
        images = generate_images(model, requests, batch_size=len(requests), on_step=count_step)
        return [to_image(image) for image in images]

    images_before = generate_all()
    attach = partial(attach_weights, trained_file, model)
    scores = evaluate_training(model, demo_task.task, trigger_word, attach, on_step=count_step)
    sheet = _make_sheet(demo_task, prompts, images_before, generate_all())
    path = trained_file.parent / "sheet.png"
    png.save_png(path, sheet)
    return path, scores


def _make_sheet(demo_task: _DemoTask, prompts: Sequence[str], before: Sequence[Image], after: Sequence[Image]) -> Image:
    """A row for each prompt: one of the training images, then the images from before and after training."""
    count = len(SEEDS)
    training_paths = sorted(resolve_images_path(f"builtin:{demo_task.task.name}").glob("*.png"))
    rows = [
        [load_image(path).convert("RGB"), *before[row * count :][:count], *after[row * count :][:count]]
        for row, path in enumerate(training_paths[: len(prompts)])
    ]
    heads = (_("before, seed {seed}"), _("after, seed {seed}"))
    columns = [Message(_("trained on")), *(Message(head, seed=seed) for head in heads for seed in SEEDS)]
    template = _("{file_type}: the same prompts and seeds before and after training")
    title = Message(template, file_type=Message(demo_task.method.artifact.noun))
    return contact_sheet.make_contact_sheet(rows, prompts, [*map(label_text, columns)], label_text(title))
