"""Scores of each method's demo task on the built-in model: likeness, obedience, leak, file size, seconds.

    python -m bench.methods               all four methods, each a line of the README's table
    python -m bench.methods --method lora --precision bf16 --seed 1

The seconds are those of training alone, without imports, with one thread.
"""

import argparse
import tempfile
import time
from dataclasses import replace

import torch

from tetrad.demo import DEMO_TASKS, resolve_trigger_word
from tetrad.evaluation.builtin import EvaluationScores, evaluate_training
from tetrad.library import attach_weights, load_model
from tetrad.run.events import Finished
from tetrad.run.train import train
from tetrad.settings.train import Precision


def measure_method(
    method: str, folder: str, precision: Precision = "auto", seed: int | None = None
) -> tuple[EvaluationScores, int, float]:
    """The scores, the size of the file in bytes, the seconds of training; `seed` in place of the demo's."""
    demo_task, start_time = DEMO_TASKS[method], time.monotonic()
    recipe = demo_task.recipe(folder)
    settings = replace(recipe.train, precision=precision, seed=recipe.train.seed if seed is None else seed)
    [finished] = [event for event in train(replace(recipe, train=settings)) if isinstance(event, Finished)]
    seconds = time.monotonic() - start_time
    model = load_model("builtin")
    scores = evaluate_training(
        model,
        demo_task.task,
        resolve_trigger_word(demo_task, finished.path),
        lambda: attach_weights(finished.path, model),
    )
    return scores, finished.path.stat().st_size, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=list(DEMO_TASKS), help="only this one")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--seed", type=int, help="of the training, in place of the demo's")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| method | trained on | likeness before → after | obedience | leak | file | training |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for method in [given.method] if given.method else DEMO_TASKS:
        with tempfile.TemporaryDirectory() as folder:
            scores, size, seconds = measure_method(method, folder, given.precision, given.seed)
        likeness = f"{scores.likeness_before:.0%} → {scores.likeness:.0%}"
        shares = f"{likeness} | {scores.obedience:.0%} | {scores.leak:.2f}"
        task_text = f"{DEMO_TASKS[method].task.name}, {DEMO_TASKS[method].steps} steps"
        print(f"| {method} | {task_text} | {shares} | {size / 1000:,.0f} kB | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
