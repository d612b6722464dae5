"""Runs on the built-in model that go right, or wrong in a known way, for `bench.judging`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops

from tetrad.builtin import resolve_images_path
from tetrad.demo import DEMO_TASKS
from tetrad.methods.settings import MethodSettings
from tetrad.settings import Recipe
from tetrad.settings.field import replace
from tetrad.settings.judge import Judge
from tetrad.settings.learning_rate import parse_learning_rate
from tetrad.settings.schedulers import Scheduler

SAVES = 6  # files of each run
Images = list[tuple[Image.Image, str]]  # each with its caption


@dataclass(frozen=True)
class Planted:
    """A run: a demo task, how its data, its length and its learning rate differ, and what becomes of it.

    `expected` is the verdict where the plan decides it; "" where only the images that are generated afterwards do.
    """

    name: str
    method: str
    steps: float = 1.0  # times the demo's
    rate: float = 1.0  # times the demo's
    rates: str = ""  # the learning rates by step, instead of the demo's
    scheduler: Scheduler = "cosine"  # the demo's
    change: Callable[[Images], Images] = lambda images: images
    expected: str = ""
    held_out: int = 1

    def method_settings(self) -> MethodSettings:
        return DEMO_TASKS[self.method].method

    def recipe(self, work: Path, seed: int, stop: str = "off") -> Recipe:
        """The recipe of this run; its data are made in the work folder."""
        task = DEMO_TASKS[self.method]
        recipe = task.recipe(str(work))
        steps = max(SAVES, round(task.steps * self.steps))
        rate = parse_learning_rate(self.rates or str(task.learning_rate)).multiply(self.rate)
        return replace(
            recipe,
            data=replace(recipe.data, images=str(self.make_data(work / "data" / self.name))),
            train=replace(recipe.train, steps=steps, learning_rate=rate, scheduler=self.scheduler, seed=seed),
            save=replace(recipe.save, name=self.name, every=0 if stop == "auto" else -(-steps // SAVES)),
            judge=Judge(scores="on", held_out=self.held_out, stop=stop),  # type: ignore[arg-type]
        )

    def make_data(self, folder: Path) -> Path:
        """The images and captions of the run, made once."""
        source = resolve_images_path(f"builtin:{DEMO_TASKS[self.method].task.name}")
        if not folder.exists():
            paths = sorted(source.glob("*.png"))
            images: Images = [(Image.open(path), path.with_suffix(".txt").read_text("utf-8").strip()) for path in paths]
            folder.mkdir(parents=True)
            for number, (image, caption) in enumerate(self.change(images)):
                image.save(folder / f"{number:02d}.png")
                (folder / f"{number:02d}.txt").write_text(caption, "utf-8")
        return folder


def take(count: int) -> Callable[[Images], Images]:
    """Only the first images."""
    return lambda images: images[:count]


def repeat_first(images: Images) -> Images:
    """Half of the images are the first one."""
    return [images[0]] * (len(images) // 2) + images[len(images) // 2 :]


def make_alike(images: Images) -> Images:
    """Six images of the first drawing on one background, at other places; no caption names the background."""
    image, caption = images[0]
    moves = [(0, 0), (8, 4), (-8, 4), (6, -6), (-5, -7), (3, 8)]
    moved = [ImageChops.offset(image.convert("RGB"), *move) for move in moves]
    return [(each, caption.split(", on ")[0]) for each in moved]


def shift_captions(images: Images) -> Images:
    """Each image with the caption of the next."""
    return [(image, images[(number + 1) % len(images)][1]) for number, (image, _caption) in enumerate(images)]


def remove_word(images: Images) -> Images:
    """Captions without the trigger word, which the recipe asks for all the same."""
    return [(image, caption.replace("zkr", "thing")) for image, caption in images]


PLANTED = (
    Planted("lora", "lora"),
    Planted("lora-short", "lora", steps=0.2),
    Planted("lora-long", "lora", steps=4),
    Planted("lora-few-long", "lora", steps=4, change=take(5)),
    Planted("lora-constant", "lora", steps=2, rate=3, scheduler="constant"),
    Planted("lora-late", "lora", steps=2 / 3, rates="5e-4:72, 1e-2", scheduler="constant"),
    Planted("lora-rate20-long", "lora", steps=2, rate=20, change=take(5)),
    Planted("lora-nothing", "lora", steps=0.2, rate=1e-5, expected="changed nothing"),
    Planted("lora-captions", "lora", steps=2, change=shift_captions),
    Planted("lora-duplicates", "lora", steps=4, change=repeat_first),
    Planted("lora-no-word", "lora", change=remove_word),
    Planted("lora-alike", "lora", steps=2, change=make_alike),
    Planted("dreambooth", "dreambooth"),
    Planted("dreambooth-constant", "dreambooth", rate=5, scheduler="constant", change=take(5)),
    Planted("dreambooth-late", "dreambooth", steps=2 / 3, rates="7e-5:72, 2e-3", scheduler="constant"),
    Planted("textual-inversion", "textual-inversion"),
    Planted("textual-inversion-rate20", "textual-inversion", rate=20),
    Planted("textual-inversion-long", "textual-inversion", steps=4, change=take(5)),
    Planted("textual-inversion-late", "textual-inversion", steps=0.5, rates="0.1:90, 1", scheduler="constant"),
    Planted("hypernetwork", "hypernetwork"),
    Planted("hypernetwork-few", "hypernetwork", steps=2, change=take(5)),
    Planted("hypernetwork-constant", "hypernetwork", rate=3, scheduler="constant"),
    Planted("hypernetwork-late", "hypernetwork", steps=0.5, rates="2.5e-4:120, 5e-3", scheduler="constant"),
    Planted("hypernetwork-captions", "hypernetwork", steps=0.5, change=shift_captions),
)
SHORT = ("lora-short", "lora-nothing", "lora-late")
