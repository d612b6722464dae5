"""Scores of each method's demo task on the built-in model: likeness, obedience, leak, file size, seconds.

    python -m bench.methods               all four methods, each a line of the README's table
    python -m bench.methods --method lora

The seconds are those of training alone, without imports, with one thread.
"""

import argparse
import tempfile
import time

import torch

from tetrad.demo import DEMO_TASKS, resolve_trigger_word
from tetrad.evaluation.builtin import EvaluationScores, evaluate_training
from tetrad.library import attach_weights, load_model
from tetrad.run.events import Finished
from tetrad.run.train import train


def measure_method(method: str, folder: str) -> tuple[EvaluationScores, int, float]:
    """The scores, the size of the file in bytes, the seconds of training."""
    demo_task, start_time = DEMO_TASKS[method], time.monotonic()
    [finished] = [event for event in train(demo_task.recipe(folder)) if isinstance(event, Finished)]
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
    only_method = parser.parse_args().method
    torch.set_num_threads(1)
    print("| method | trained on | likeness before → after | obedience | leak | file | training |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for method in [only_method] if only_method else DEMO_TASKS:
        with tempfile.TemporaryDirectory() as folder:
            scores, size, seconds = measure_method(method, folder)
        likeness = f"{scores.likeness_before:.0%} → {scores.likeness:.0%}"
        shares = f"{likeness} | {scores.obedience:.0%} | {scores.leak:.2f}"
        task_text = f"{DEMO_TASKS[method].task.name}, {DEMO_TASKS[method].steps} steps"
        print(f"| {method} | {task_text} | {shares} | {size / 1000:,.0f} kB | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
