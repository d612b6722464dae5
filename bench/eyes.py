"""Which eyes agree with the truth on the built-in model, on tasks that are more like photos than its own.

    python -m bench.eyes --work FOLDER             trains and generates what FOLDER lacks, then prints three tables
    python -m bench.eyes --work FOLDER --short     one task and few images, for a look in minutes

Each task shows one thing, or one style, in several drawings, sizes and places. The truth is recognition by drawing
(`tetrad.builtin.recognition`), which no eye sees. The tables: how the likeness of each eye ranks the checkpoints, how
surely each eye finds planted copies, and how surely the model's likelihood finds the background that was asked for.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tetrad.builtin import BACKGROUNDS, TRIGGER_WORD, compute_distances, detect_background
from tetrad.builtin.drawings import Placement, compose_image, load_atlas, random_placement
from tetrad.builtin.vocabulary import (
    SAMPLE_OBJECT,
    SAMPLE_PERSON,
    SAMPLE_STYLE_SET,
    SubjectStylePair,
    get_restyled_pairs,
    get_subject_words,
    make_caption,
)
from tetrad.evaluation.builtin import generate_arrays
from tetrad.evaluation.builtin_tasks import (
    PERSON_TRAINING_BACKGROUNDS,
    STYLE_TRAINING_SUBJECTS,
    SUBJECT_TRAINING_BACKGROUNDS,
    TASKS,
    EvaluationPrompt,
)
from tetrad.judging.copying import CopyReferences, compute_auroc
from tetrad.judging.eyes import Eye, LatentMapEye, UnetMapEye, measure_distances, measure_patch_distances
from tetrad.judging.obedience import measure_gains
from tetrad.judging.prompts import AttributePrompt
from tetrad.library import attach_weights, load_model
from tetrad.methods import Lora
from tetrad.models.base import Model
from tetrad.run.events import Saved
from tetrad.run.train import train
from tetrad.settings import Data, Recipe, Sample, Save, Train
from tetrad.settings.learning_rate import parse_learning_rate

_SEED = 5
_TIMES = (150, 300)
_DISTANCES = {"by place": measure_distances, "by patch": measure_patch_distances}
_UP_BLOCKS = {"up2": -2, "up3": -1}


@dataclass(frozen=True)
class Drawing:
    """A training image: a drawing, its background, and its caption."""

    pair: SubjectStylePair
    background: str
    caption: str


@dataclass(frozen=True)
class Run:
    """A task trained at a learning rate; the steps whose files are judged."""

    task: str
    rate: str
    steps: tuple[int, ...]
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.task}-{self.rate}-{self.seed}"


RUNS = (
    Run("subject", "5e-4", (30, 90, 180)),
    Run("person", "5e-4", (30, 90)),
    Run("style", "5e-4", (30, 90)),
    *(Run(task, "2e-3", (30, 60)) for task in TASKS),
)


def list_drawings(task: str) -> list[Drawing]:
    """A subject or person in five drawings on eight backgrounds, or 24 subjects in the sample style."""
    if task == "style":
        return [
            Drawing(
                SubjectStylePair(subject, SAMPLE_STYLE_SET),
                background,
                make_caption(get_subject_words(subject), TRIGGER_WORD, background),
            )
            for subject, background in STYLE_TRAINING_SUBJECTS.items()
        ]
    subject, backgrounds = {
        "subject": (SAMPLE_OBJECT, SUBJECT_TRAINING_BACKGROUNDS),
        "person": (SAMPLE_PERSON, PERSON_TRAINING_BACKGROUNDS),
    }[task]
    pairs = {"": SubjectStylePair(subject, "twemoji"), **get_restyled_pairs(subject)}
    every_pair = [(style, pair) for style, pair in pairs.items()]
    return [
        Drawing(pair, background, make_caption(TRIGGER_WORD, style or None, background))
        for number, background in enumerate(backgrounds * 3)
        for style, pair in [every_pair[number % len(every_pair)]]
    ]


def write_images(task: str, folder: Path) -> list[Image.Image]:
    """The training images of a task with their captions, each drawing at a random size and place."""
    rng = np.random.default_rng(_SEED)
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number, drawing in enumerate(list_drawings(task)):
        placement = random_placement(rng, smallest=0.5, largest=0.95)
        array = compose_image(load_atlas()[drawing.pair], BACKGROUNDS[drawing.background], placement)
        images.append(Image.fromarray(array))
        images[-1].save(folder / f"{number:02}.png")
        (folder / f"{number:02}.txt").write_text(drawing.caption, "utf-8")
    return images


def train_run(run: Run, work: Path) -> dict[int, Path]:
    """The files of a run by step; it is trained where the work folder does not have it."""
    folder, images = work / run.name, work / "images" / run.task
    if not (folder / "done").exists():
        write_images(run.task, images)
        recipe = Recipe(
            data=Data(images=str(images), trigger_word=TRIGGER_WORD),
            method=Lora(text_encoder=False),
            train=Train(
                steps=run.steps[-1],
                learning_rate=parse_learning_rate(run.rate),
                scheduler="cosine",
                seed=run.seed,
            ),
            sample=Sample(every=-1),
            save=Save(out=str(folder), name=TRIGGER_WORD, every=30),
        )
        for event in train(recipe):
            if isinstance(event, Saved):
                print(f"  {run.name}: step {event.step}", flush=True)
        (folder / "done").touch()
    files = {}
    for step in run.steps:
        name = TRIGGER_WORD if step == run.steps[-1] else f"{TRIGGER_WORD}-step{step:08d}"
        [files[step]] = folder.rglob(f"{name}.safetensors")
    return files


def generate_cached(path: Path, model: Model, file: Path | None, prompts: Sequence[str]) -> NDArray[np.uint8]:
    """The images of the prompts, (N, H, W, 3), with the trained file or without one."""
    if path.exists() and len(stored := np.load(path)) == len(prompts):
        return stored  # type: ignore[no-any-return]
    adapter = attach_weights(file, model) if file else None
    images = generate_arrays(model, prompts)
    if adapter:
        adapter.detach()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, images)
    return images


def measure_truth(prompts: Sequence[EvaluationPrompt], images: NDArray[np.uint8]) -> tuple[float, float]:
    """The share of images that are recognized, and the mean margin by which the right drawing is nearer."""
    margins = []
    for each, image in zip(prompts, images, strict=True):
        distances = compute_distances(image, each.candidates, each.background)
        is_right = np.array([pair in each.correct for pair in each.candidates])
        margins.append(float(distances[~is_right].min() - distances[is_right].min()))
    return float(np.mean(np.array(margins) > 0)), float(np.mean(margins))


def as_tensors(images: NDArray[np.uint8]) -> list[Tensor]:
    """Arrays (N, H, W, 3) in 0…255 as images (3, H, W) in [0, 1]."""
    return list(torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() / 255)


def list_eyes(model: Model) -> dict[str, Eye]:
    """Every eye that is compared, by the name in the table."""
    eyes: dict[str, Eye] = {"VAE latent": LatentMapEye(model)}
    for (name, block), time in product(_UP_BLOCKS.items(), _TIMES):
        eyes[f"{name}, t {time}"] = UnetMapEye(model, block, time)
    return eyes


def compute_rank_correlation(values: Sequence[float], others: Sequence[float]) -> float:
    """Spearman's correlation of values without ties."""
    first, second = (np.argsort(np.argsort(each)).astype(np.float64) for each in (values, others))
    return float(np.corrcoef(first, second)[0, 1])


def print_likeness(work: Path, model: Model, runs: Sequence[Run], count: int) -> None:
    """How each eye ranks the checkpoints of each task, by nearness to the training images."""
    truths: dict[str, list[float]] = {}
    scores: dict[tuple[str, str], dict[str, list[float]]] = {}
    for task in dict.fromkeys(run.task for run in runs):
        path = work / f"{task}-{count}.json"
        if not path.exists():
            own = [run for run in runs if run.task == task]
            path.write_text(json.dumps(measure_task(work, model, task, own, count)), "utf-8")
        found = json.loads(path.read_text("utf-8"))
        truths[task] = found["truth"]
        for name, kind, values in found["scores"]:
            scores.setdefault((name, kind), {})[task] = values
    print_correlations(truths, scores)


def measure_task(work: Path, model: Model, task: str, runs: Sequence[Run], count: int) -> dict[str, Any]:
    """The truth of the base model and of each checkpoint of a task, and their likeness as each eye sees it."""
    prompts = TASKS[task].make_prompts(TRIGGER_WORD)[:count]
    texts = [each.prompt for each in prompts]
    arrays = [generate_cached(work / f"{task}-base-{count}.npy", model, None, texts)]
    labels = ["base"]
    for run in runs:
        for step, file in train_run(run, work).items():
            arrays.append(generate_cached(work / f"{run.name}-{step}-{count}.npy", model, file, texts))
            labels.append(f"{run.rate}, {step} steps")
    truth = [measure_truth(prompts, each) for each in arrays]
    for label, (share, margin) in zip(labels, truth, strict=True):
        print(f"  {task}, {label}: recognized {share:.0%}, margin {margin:+.3f}", flush=True)
    references = [Image.open(path) for path in sorted((work / "images" / task).glob("*.png"))]
    reference_tensors = as_tensors(np.stack([np.asarray(each) for each in references]))
    scores = []
    for name, eye in list_eyes(model).items():
        seen = eye.look(reference_tensors)
        features = [eye.look(as_tensors(each)) for each in arrays]
        for kind, measure in _DISTANCES.items():
            near = [measure(each, seen).min(1).values.mean().item() for each in features]
            scores.append([name, kind, [1 - each / near[0] for each in near]])
    return {"truth": [margin for _share, margin in truth], "scores": scores}


def print_correlations(
    truths: Mapping[str, Sequence[float]], scores: Mapping[tuple[str, str], Mapping[str, Sequence[float]]]
) -> None:
    """The table of rank correlations: for each task, and pooled after ranking within each task."""
    tasks = list(truths)
    print(f"\n| eye | score | {' | '.join(tasks)} | pooled |")
    print("| --- | --- |" + " --- |" * (len(tasks) + 1))
    for (name, kind), by_task in scores.items():
        own = [compute_rank_correlation(by_task[task], truths[task]) for task in tasks]
        pooled = compute_pooled_correlation(truths, by_task)
        print(f"| {name} | {kind} | {' | '.join(f'{each:.2f}' for each in own)} | {pooled:.2f} |")


def compute_pooled_correlation(truths: Mapping[str, Sequence[float]], scores: Mapping[str, Sequence[float]]) -> float:
    """The correlation of ranks in 0…1 within each task, over all tasks together."""

    def rank(values: Sequence[float]) -> NDArray[np.float64]:
        ranks: NDArray[np.float64] = np.argsort(np.argsort(values)).astype(np.float64) / (len(values) - 1)
        return ranks

    first, second = (np.concatenate([rank(each[task]) for task in truths]) for each in (truths, scores))
    return float(np.corrcoef(first, second)[0, 1])


def plant_copies(task: str, kind: str, rng: np.random.Generator) -> list[Image.Image]:
    """Twelve training images of a built-in task as copies: mirrored, recoloured, cropped, or all three."""
    paths = sorted((Path(__file__).parents[1] / "src" / "tetrad" / "builtin" / task).glob("*.png"))
    copies = []
    for number in range(12):
        image = Image.open(paths[number % len(paths)]).convert("RGB")
        if kind in ("cropped", "all three"):
            side = round(image.width * (1 - rng.uniform(0.05, 0.12)))
            left, top = rng.integers(0, image.width - side + 1, 2)
            cropped = image.crop((left, top, left + side, top + side))
            image = cropped.resize(image.size, Image.Resampling.LANCZOS)
        if kind in ("recoloured", "all three"):
            values = np.asarray(image).astype(np.float32) * rng.uniform(0.8, 1.2, 3) + rng.uniform(-15, 15, 3)
            image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
        if kind == "mirrored" or (kind == "all three" and number % 2):
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        copies.append(image)
    return copies


def redraw(model: Model, images: Sequence[Image.Image]) -> list[Tensor]:
    """The images through the VAE with a little latent noise, as if the model had drawn them."""
    pixels = torch.stack(as_tensors(np.stack([np.asarray(each) for each in images])))
    latents = model.vae.encode(pixels)[0]
    rng = torch.Generator().manual_seed(_SEED)
    return list(model.vae.decode(latents + 0.15 * torch.randn(latents.shape, generator=rng)))


def make_new_images(task: str, count: int = 16) -> list[Image.Image]:
    """True new images of what a task shows: the same thing on other backgrounds, or the style on other subjects."""
    rng = np.random.default_rng(_SEED + 1)
    images = []
    for each in TASKS[task].make_prompts(TRIGGER_WORD)[:count]:
        right = sorted(each.correct, key=str)
        pair = next((pair for pair in right if pair.drawing_set == "twemoji"), right[0])
        placement: Placement = random_placement(rng)
        images.append(Image.fromarray(compose_image(load_atlas()[pair], BACKGROUNDS[each.background], placement)))
    return images


def print_copying(model: Model, tasks: Sequence[str]) -> None:
    """How surely each eye tells planted copies from true new images (AUROC)."""
    kinds = ("mirrored", "recoloured", "cropped", "all three")
    print(f"\n| task | eye | {' | '.join(kinds)} | copies counted | new images counted | own check |")
    print("| --- | --- |" + " --- |" * (len(kinds) + 3))
    eyes: dict[str, Eye] = {
        "up2, t 150": UnetMapEye(model, -2, 150),
        "VAE latent, centred": LatentMapEye(model, True),
        "up3, t 150": UnetMapEye(model, -1, 150),
    }
    for (name, eye), task in product(eyes.items(), tasks):
        paths = sorted((Path(__file__).parents[1] / "src" / "tetrad" / "builtin" / task).glob("*.png"))
        originals = [Image.open(path).convert("RGB") for path in paths]
        tensors = as_tensors(np.stack([np.asarray(each) for each in originals]))
        references = CopyReferences.take(eye, tensors, model.resolution)
        assert references
        new = references.measure_nearness(eye.look(redraw(model, make_new_images(task))))
        copies = {
            kind: references.measure_nearness(
                eye.look(redraw(model, plant_copies(task, kind, np.random.default_rng(_SEED))))
            )
            for kind in kinds
        }
        values = " | ".join(f"{compute_auroc(-copies[kind], -new):.2f}" for kind in kinds)
        counted = f"{(torch.cat([*copies.values()]) < 1).float().mean():.0%} | {(new < 1).float().mean():.0%}"
        print(f"| {task} | {name} | {values} | {counted} | {references.separation:.2f} |", flush=True)


def print_obedience(work: Path, model: Model, runs: Sequence[Run], count: int) -> None:
    """How surely a gain in likelihood tells images with the background that was asked for from others (AUROC)."""
    gains, truths = [], []
    for task in dict.fromkeys(run.task for run in runs if run.task != "style"):
        prompts = TASKS[task].make_prompts(TRIGGER_WORD)[:count]
        asked = [AttributePrompt(each.prompt, f"on a {each.background} background", "") for each in prompts]
        for path in sorted(work.glob(f"{task}-*-{count}.npy")):
            images = np.load(path)
            gains.append(measure_gains(model, as_tensors(images), asked))
            truths += [detect_background(image) == each.background for image, each in zip(images, prompts, strict=True)]
    gain, truth = torch.cat(gains), torch.tensor(truths)
    print(f"\nObedience: {int(truth.sum())} of {len(truth)} images have the background that was asked for;")
    if 0 < int(truth.sum()) < len(truth):
        print(f"AUROC of the gain {compute_auroc(gain[truth], gain[~truth]):.2f}; gain above 0 in", end=" ")
        of_these, of_others = ((gain[each] > 0).float().mean().item() for each in (truth, ~truth))
        print(f"{of_these:.0%} of these and {of_others:.0%} of the others")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for images and trained files")
    parser.add_argument("--short", action="store_true", help="one task and few images")
    parser.add_argument(
        "--task", choices=tuple(TASKS), help="train, or generate and look at, only the runs of this task"
    )
    parser.add_argument("--only", choices=("train", "likeness", "copying", "obedience"), help="only this part")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs, count = (RUNS[:1], 8) if arguments.short else (RUNS, 24)
    if arguments.only == "train":
        for run in (each for each in runs if arguments.task in (None, each.task)):
            train_run(run, arguments.work)
        return
    model = load_model("builtin")
    if arguments.only in (None, "likeness"):
        own = [run for run in runs if arguments.task in (None, run.task)]
        print_likeness(arguments.work, model, own, count)
    if arguments.only in (None, "copying"):
        print_copying(model, ["style"] if arguments.short else ["style", "person", "subject"])
    if arguments.only in (None, "obedience"):
        print_obedience(arguments.work, model, runs, count)


if __name__ == "__main__":
    main()
