"""What each optimizer costs and reaches on the built-in LoRA lesson, all with one seed and the lesson's steps.

    python -m bench.optimizers                       likeness, obedience and CPU seconds of an update, for all
    python -m bench.optimizers --optimizer prodigy   only this one
    python -m bench.optimizers --cost                only the CPU seconds of an update, without the whole training

Optimizers that find their rate have none given; the others have the lesson's, Lion a fifth of it.
"""

import argparse
import statistics
import tempfile
import time
from importlib.util import find_spec

import torch

from tetrad.demo import DEMO_TASKS, resolve_trigger_word
from tetrad.evaluation.builtin import evaluate_training
from tetrad.library import attach_weights, load_model
from tetrad.run.events import Finished, Trained
from tetrad.run.train import train
from tetrad.settings import OPTIMIZERS, LearningRate, Recipe
from tetrad.settings.field import replace

_COST_STEPS = 12  # the first ones of the training, of which the first two do not count
_LION_FACTOR = 0.2


def make_recipe(optimizer: str, folder: str) -> Recipe:
    """The lesson's recipe with another optimizer, without previews."""
    recipe = DEMO_TASKS["lora"].recipe(folder)
    rate: LearningRate | None = recipe.train.learning_rate or recipe.method.learning_rates()[""]
    if OPTIMIZERS[optimizer].finds_rate:
        rate = None
    elif optimizer == "lion" and rate is not None:
        rate = rate.multiply(_LION_FACTOR)
    settings = replace(recipe.train, optimizer=optimizer, learning_rate=rate)
    return replace(recipe, train=settings, sample=replace(recipe.sample, every=-1, before_training=False))


def measure_cost(optimizer: str) -> float:
    """The median CPU seconds of an update."""
    with tempfile.TemporaryDirectory() as folder:
        events, before, seconds = train(make_recipe(optimizer, folder)), 0.0, []
        for event in events:
            if isinstance(event, Trained):
                now = time.process_time()
                seconds.append(now - before)
                before = now
                if event.step == _COST_STEPS:
                    break
        events.close()  # type: ignore[attr-defined]
    return statistics.median(seconds[2:])


def measure_scores(optimizer: str) -> tuple[str, float]:
    """Likeness, obedience and leak as the cells of a table, and the rate of the last step."""
    task = DEMO_TASKS["lora"]
    with tempfile.TemporaryDirectory() as folder:
        events = list(train(make_recipe(optimizer, folder)))
        [finished] = [event for event in events if isinstance(event, Finished)]
        highest = max(event.learning_rate for event in events if isinstance(event, Trained))
        model, word = load_model("builtin"), resolve_trigger_word(task, finished.path)
        scores = evaluate_training(model, task.task, word, lambda: attach_weights(finished.path, model))
    return f"{scores.likeness:.0%} | {scores.obedience:.0%} | {scores.leak:.2f}", highest


def _list_installed() -> list[str]:
    """The optimizers whose packages are there."""
    return [name for name, facts in OPTIMIZERS.items() if find_spec(facts.path.partition(".")[0])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizer", choices=list(OPTIMIZERS), help="only this one")
    parser.add_argument("--cost", action="store_true", help="only the CPU seconds of an update")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| optimizer | CPU s of an update | likeness | obedience | leak | highest rate |")
    print("| --- | --- | --- | --- | --- | --- |")
    for optimizer in [given.optimizer] if given.optimizer else _list_installed():
        cost = measure_cost(optimizer)
        cells, highest = ("– | – | –", 0.0) if given.cost else measure_scores(optimizer)
        print(f"| {optimizer} | {cost:.3f} | {cells} | {highest:.2g} |", flush=True)


if __name__ == "__main__":
    main()
