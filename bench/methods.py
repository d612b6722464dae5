"""What each method makes of its lesson on the built-in model: likeness, obedience, leak, file size, seconds.

    python -m bench.methods               all four: a line of README's table each
    python -m bench.methods --method lora

Seconds are those of the training, after the imports, one thread.
"""

import argparse
import tempfile
import time

import torch

from tetrad.generation.learning import Figures, learned
from tetrad.lessons import LESSONS, word_of
from tetrad.library import attach, load_model
from tetrad.run import train
from tetrad.training.events import Finished


def measured(kind: str, folder: str) -> tuple[Figures, int, float]:
    """The learning check's figures, the file's bytes, the training's seconds."""
    lesson, started = LESSONS[kind], time.monotonic()
    [finished] = [event for event in train(lesson.recipe(folder)) if isinstance(event, Finished)]
    seconds = time.monotonic() - started
    model = load_model("builtin")
    figures = learned(model, lesson.task, word_of(lesson, finished.path), lambda: attach(finished.path, model))
    return figures, finished.path.stat().st_size, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=list(LESSONS), help="only this one")
    chosen = parser.parse_args().method
    torch.set_num_threads(1)
    print("| method | taught | likeness before → after | obedience | leak | file | training |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind in [chosen] if chosen else LESSONS:
        with tempfile.TemporaryDirectory() as folder:
            figures, size, seconds = measured(kind, folder)
        likeness = f"{figures.likeness_before:.0%} → {figures.likeness:.0%}"
        shares = f"{likeness} | {figures.obedience:.0%} | {figures.leak:.2f}"
        taught = f"{LESSONS[kind].task.name}, {LESSONS[kind].steps} steps"
        print(f"| {kind} | {taught} | {shares} | {size / 1000:,.0f} kB | {seconds:.0f} s |", flush=True)


if __name__ == "__main__":
    main()
