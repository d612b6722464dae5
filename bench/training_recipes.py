"""Which settings train a LoRA in fewer steps: recipes compared on the three built-in tasks.

    python -m bench.training_recipes --work FOLDER --seeds 0 2 4 6     trains and measures what RESULTS lacks
    python -m bench.training_recipes --report --plot                   prints the table, writes the curves into docs/

Every recipe of a task and a seed gets the same data, prompts and seeds of images, so that it is compared with the
default pair by pair. FOLDER holds runs only while they are measured, and the base model's images. RESULTS
(bench/results/training_recipes) has a file for each seed, so processes with different seeds can run beside each other.
"""

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.preservation import Images, mean_difference, measure_margins
from bench.recipe_report import Result, append_result, draw_curves, make_table, read_results
from bench.recipe_rows import ROWS, Row
from tetrad.builtin.drawings import compose_image, load_atlas, random_placement
from tetrad.builtin.vocabulary import BACKGROUNDS, HELD_OUT_DRAWING_SET, STYLE_WORDS, TRIGGER_WORD, SubjectStylePair
from tetrad.data.batches import TrainingSample
from tetrad.data.captions.captions import Captions
from tetrad.data.latent_cache import LatentDistribution
from tetrad.evaluation.builtin import BATCH_SIZE, generate_arrays, measure_likeness, measure_obedience
from tetrad.evaluation.builtin_tasks import TASKS, EvaluationPrompt, make_prompts_without_trigger_word
from tetrad.images import png
from tetrad.images.tensors import to_tensor
from tetrad.judging.measure import DriftProbe, LossProbe
from tetrad.library import attach_weights, load_model
from tetrad.models.base import Model
from tetrad.run.events import Finished, Saved
from tetrad.run.train import train

RESULTS = Path(__file__).parent / "results" / "training_recipes"
PLOT = Path(__file__).parents[1] / "docs" / "training-recipes.png"
_SAVE_EVERY = 30  # steps; each saved file is a point of the curve
_SAMPLING_STEPS = 8  # enough: tetrad.evaluation.builtin
_HELD_OUT_IMAGES, _LOSSES, _DRIFTS = 20, 40, 16  # losses and drifts are predictions for each saved file
_SEEDS_APART = 1000  # of the images of two runs, and of images that only show what another seed changes


@dataclass(frozen=True)
class Measurement:
    """What measures the files of a task: the base model and, made with it, the losses and drift of fixed images."""

    model: Model
    questions: tuple[EvaluationPrompt, ...]
    losses: LossProbe
    drift: DriftProbe
    base_loss: float

    def measure_file(self, path: Path) -> tuple[float, float]:
        """Held-out loss and drift with a trained file."""
        adapter = attach_weights(path, self.model)
        loss = measure_loss(self.model, self.losses)
        drift = self.drift.measure(self.model, self.model.condition, BATCH_SIZE).value
        adapter.detach()
        return loss, round(drift, 5)


@cache
def prepare_measurement(task: str) -> Measurement:
    """The model and the probes of a task, which are the same for each run."""
    model, questions = load_model("builtin"), TASKS[task].make_prompts(TRIGGER_WORD)
    held_out = [encode_held_out(model, each, seed) for seed, each in enumerate(questions[:_HELD_OUT_IMAGES])]
    losses = LossProbe.make(model, held_out, _LOSSES, 0, "held_out_loss")
    drift = DriftProbe.make(model, held_out, _DRIFTS, TRIGGER_WORD, 0, BATCH_SIZE)
    return Measurement(model, questions, losses, drift, measure_loss(model, losses))


def measure_loss(model: Model, losses: LossProbe) -> float:
    return round(losses.measure(model, model.condition, BATCH_SIZE).mean().item(), 5)


@torch.no_grad()
def encode_held_out(model: Model, question: EvaluationPrompt, seed: int) -> TrainingSample:
    """The true image of a question, at a random place, with the question as its caption."""
    placement = random_placement(np.random.default_rng(seed))
    drawing = load_atlas()[find_drawing(question)]
    image = to_tensor(Image.fromarray(compose_image(drawing, BACKGROUNDS[question.background], placement)))
    mean, std = (part[0] for part in model.vae.encode(image[None]))
    return TrainingSample((LatentDistribution(mean, std),), Captions(question.prompt))


def find_drawing(question: EvaluationPrompt) -> SubjectStylePair:
    """The drawing that a question describes: of several correct ones, that in the style of its words."""
    if len(question.correct) == 1:
        return next(iter(question.correct))
    styles = [f"-{style}" for style in STYLE_WORDS.values() if f"{style} style" in question.prompt]
    drawing_set = HELD_OUT_DRAWING_SET + "".join(styles)
    return next(pair for pair in question.correct if pair.drawing_set == drawing_set)


def train_row(row: Row, task: str, seed: int, out: Path) -> dict[int, Path]:
    """The saved files by step; the last one is the result."""
    files: dict[int, Path] = {}
    for event in train(row.recipe(task, seed, out, _SAVE_EVERY)):
        if isinstance(event, Saved):
            files[event.step] = event.path
        if isinstance(event, Finished):
            files[event.steps] = event.path
    return files


def measure_run(row: Row, task: str, seed: int, files: Mapping[int, Path], work: Path) -> Result:
    """The curves of all files, and the scores of the last one's images."""
    measurement = prepare_measurement(task)
    points = {str(step): measurement.measure_file(path) for step, path in files.items()}
    points = {"0": (measurement.base_loss, 0.0), **points}
    model, questions = measurement.model, measurement.questions
    base, base_with_other_seeds = generate_base_images(model, seed, work)
    adapter = attach_weights(files[max(files)], model)
    images = _generate(model, [each.prompt for each in questions], seed)
    images_without_word = _generate(model, make_prompts_without_trigger_word(), seed)
    adapter.detach()
    return Result(
        row.name,
        task,
        seed,
        {step: loss for step, (loss, _drift) in points.items()},
        {step: drift for step, (_loss, drift) in points.items()},
        likeness=measure_likeness(questions, images),
        margin=round(float(np.mean(measure_margins(questions, images))), 5),
        obedience=measure_obedience(questions, images),
        leak=round(mean_difference(base, images_without_word) / mean_difference(base, base_with_other_seeds), 5),
    )


def generate_base_images(model: Model, seed: int, work: Path) -> Images:
    """The base model's images without the trigger word, with the seeds of a run and with others, (2, N, H, W, 3)."""
    path = work / f"base {seed}.npy"
    if not path.exists():
        prompts = make_prompts_without_trigger_word()
        images = np.stack([_generate(model, prompts, seed), _generate(model, prompts, seed, _SEEDS_APART // 2)])
        unfinished = path.with_suffix(".part.npy")
        np.save(unfinished, images)
        unfinished.replace(path)
    kept: Images = np.load(path)
    return kept


def _generate(model: Model, prompts: Sequence[str], seed: int, later: int = 0) -> Images:
    return generate_arrays(model, prompts, seed * _SEEDS_APART + later, sampling_steps=_SAMPLING_STEPS)


def train_and_measure(row: Row, task: str, seed: int, work: Path) -> Result:
    """Train in a folder that is removed afterwards, and print what took how much CPU time."""
    out = work / f"{row.name} {task} {seed}"
    shutil.rmtree(out, ignore_errors=True)  # what an interrupted call has left
    start = time.process_time()
    files = train_row(row, task, seed, out)
    trained = time.process_time()
    result = measure_run(row, task, seed, files, work)
    shutil.rmtree(out)
    seconds = f"{trained - start:.0f} CPU s to train, {time.process_time() - trained:.0f} to measure"
    scores = ", ".join(f"{name} {getattr(result, name):.3f}" for name in ("likeness", "margin", "obedience", "leak"))
    loss = result.score("held_out_loss")
    print(f"{row.name} {task} {seed}: held-out loss {loss:.4f}, {scores}; {seconds}", flush=True)
    return result


def main() -> None:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--rows", nargs="+", default=names, choices=names)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--plot", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.report or given.plot:
        results = read_results(given.results)
        print("\n".join(make_table(results)))
        if given.plot:
            png.save_png(PLOT, draw_curves(results))
        return
    if not given.work:
        parser.error("--work is needed to train and measure runs")
    given.work.mkdir(parents=True, exist_ok=True)
    known = {(run.row, run.task, run.seed) for run in read_results(given.results)}
    for seed in given.seeds:
        for task in given.tasks:
            for row in ROWS:
                if row.name in given.rows and (row.name, task, seed) not in known:
                    append_result(train_and_measure(row, task, seed, given.work), given.results)


if __name__ == "__main__":
    main()
