"""What preservation without class images does on the built-in tasks: docs/preservation.md.

    python -m bench.preservation --work FOLDER --seeds 0     trains and scores what FOLDER lacks, and prints a line each

Each row is compared with the row of the same learning rate and steps without preservation, question by question.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tetrad.builtin.recognition import compute_distances
from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    STYLE_WORDS,
    TRAINED_SUBJECTS,
    TRIGGER_WORD,
    SubjectStylePair,
    get_subject_words,
    make_caption,
)
from tetrad.demo import DEMO_TASKS
from tetrad.evaluation.builtin import generate_arrays, measure_likeness
from tetrad.evaluation.builtin_tasks import EvaluationPrompt, make_prompts_without_trigger_word
from tetrad.library import attach_weights, load_model
from tetrad.models.base import Model
from tetrad.run.events import Finished, Trained
from tetrad.run.train import train
from tetrad.settings.learning_rate import parse_learning_rate
from tetrad.settings.preserve import PreserveSettings
from tetrad.settings.recipe import Recipe

_PLAIN_COUNT = 16
_TIMED_FROM = 10  # the first steps also encode captions
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """A way to train a demo task: learning rates as in the demo, times a factor, with or without preservation."""

    name: str
    method: str
    rate_factor: float
    preserve: Mapping[str, Any] | None = None

    def recipe(self, out: Path, seed: int) -> Recipe:
        recipe = DEMO_TASKS[self.method].recipe(str(out))
        rate = recipe.train.learning_rate or parse_learning_rate("0")
        preserve = PreserveSettings()
        if self.preserve is None:
            rate = rate.multiply(self.rate_factor)
        else:
            given = {"learning_rate_factor": self.rate_factor, **self.preserve}
            preserve = PreserveSettings(captions=make_generic_captions(), **given)
        return replace(
            recipe,
            data=replace(recipe.data, preserve=preserve),
            train=replace(recipe.train, seed=seed, learning_rate=rate),
        )


ROWS = tuple(
    row
    for method in ("lora", "hypernetwork", "dreambooth")
    for row in (
        Row(f"{method}, rate x 1", method, 1.0),
        Row(f"{method}, rate x 3", method, 3.0),
        Row(f"{method}, preserved, rate x 3", method, 3.0, {"samples": 1}),
    )
)


def make_generic_captions() -> tuple[str, ...]:
    """32 captions that the built-in model knows; none has a subject of the prompts that measure the leak."""
    styles, backgrounds = list(STYLE_WORDS.values()), list(BACKGROUNDS)
    subjects = [subject for subject in TRAINED_SUBJECTS if subject not in TRAINED_SUBJECTS[::9][:_PLAIN_COUNT]][::4]
    return tuple(
        make_caption(get_subject_words(subject), styles[number % len(styles)], backgrounds[number % len(backgrounds)])
        for number, subject in enumerate(subjects[:32])
    )


def train_row(row: Row, seed: int, work: Path) -> tuple[Path, float]:
    """The trained file, and the CPU seconds of a step."""
    done = work / f"{row.name} {seed}.json"
    if not done.exists():
        times: list[float] = []
        for event in train(row.recipe(work / f"{row.name} {seed}", seed)):
            if isinstance(event, Trained):
                times.append(time.process_time())
            if isinstance(event, Finished):
                path = str(event.path.resolve())
        step = (times[-1] - times[_TIMED_FROM]) / (len(times) - 1 - _TIMED_FROM)
        done.write_text(json.dumps({"path": path, "step": step}), "utf-8")
    found = json.loads(done.read_text("utf-8"))
    return Path(found["path"]), found["step"]


def draw(name: str, model: Model, prompts: list[str], work: Path, first_seed: int = 0) -> Images:
    """Images of the prompts, from the work folder if it has them."""
    path = work / f"{name}.npy"
    if not path.exists():
        np.save(path, generate_arrays(model, prompts, first_seed))
    images: Images = np.load(path)
    return images


def score_row(row: Row, seed: int, work: Path) -> dict[str, Any]:
    """Likeness, margins by question, leak, and how many plain images are still nearest to their own drawing."""
    path, step = train_row(row, seed, work)
    task, plain = DEMO_TASKS[row.method].task, list(make_prompts_without_trigger_word())
    questions = task.make_prompts(TRIGGER_WORD)
    model = load_model("builtin")
    plain_before = draw("base plain", model, plain, work)
    other_seeds = draw("base plain other seeds", model, plain, work, first_seed=1000)
    attach_weights(path, model)
    images = draw(f"{row.name} {seed}", model, [each.prompt for each in questions], work)
    plain_after = draw(f"{row.name} {seed} plain", model, plain, work)
    return {
        "likeness": measure_likeness(questions, images),
        "margins": measure_margins(questions, images),
        "leak": mean_difference(plain_before, plain_after) / mean_difference(plain_before, other_seeds),
        "kept": count_kept(plain_after),
        "kept by the base": count_kept(plain_before),
        "step": step,
    }


def measure_margins(questions: Sequence[EvaluationPrompt], images: Images) -> list[float]:
    """For each question, how much nearer the image is to the nearest correct drawing than to the nearest wrong one."""
    margins = []
    for question, image in zip(questions, images, strict=True):
        distances = compute_distances(image, question.candidates, question.background)
        right = np.array([pair in question.correct for pair in question.candidates])
        margins.append(float(distances[~right].min() - distances[right].min()))
    return margins


def mean_difference(one: Images, other: Images) -> float:
    return float(np.abs(one.astype(np.float32) - other).mean())


def count_kept(images: Images) -> int:
    """How many plain images are nearest to the drawing that they asked for, among all subjects in its style."""
    sets, backgrounds = list(STYLE_WORDS), list(BACKGROUNDS)
    kept = 0
    for number, (subject, image) in enumerate(zip(TRAINED_SUBJECTS[::9], images, strict=False)):
        pairs = [SubjectStylePair(other, sets[number % len(sets)]) for other in TRAINED_SUBJECTS]
        distances = compute_distances(image, pairs, backgrounds[number % len(backgrounds)])
        kept += pairs[int(distances.argmin())].subject == subject
    return kept


def list_scores(rows: list[Row], seeds: list[int], work: Path) -> Iterator[tuple[Row, int, dict[str, Any]]]:
    for seed in seeds:
        for row in rows:
            path = work / f"score {row.name} {seed}.json"
            if not path.exists():
                path.write_text(json.dumps(score_row(row, seed, work)), "utf-8")
            yield row, seed, json.loads(path.read_text("utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/preservation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", default=[row.name for row in ROWS], help="names of rows")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    controls: dict[tuple[str, float, int], dict[str, Any]] = {}
    chosen = [row for row in ROWS if row.name in arguments.rows]
    for row, seed, score in list_scores(chosen, arguments.seeds, arguments.work):
        key = (row.method, row.rate_factor, seed)
        line = f"{row.name}, seed {seed}: likeness {score['likeness']:.0%}, margin {np.mean(score['margins']):+.3f}, "
        line += f"leak {score['leak']:.2f}, kept {score['kept']} of {_PLAIN_COUNT} (base {score['kept by the base']}), "
        line += f"step {score['step']:.3f} CPU s"
        if row.preserve is None:
            controls[key] = score
        elif control := controls.get(key):
            paired = np.array(score["margins"]) - control["margins"]
            error = paired.std(ddof=1) / len(paired) ** 0.5
            line += f"; against without: margin {paired.mean():+.3f} ± {error:.3f}, leak x "
            line += f"{score['leak'] / control['leak']:.2f}, step x {score['step'] / control['step']:.2f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
