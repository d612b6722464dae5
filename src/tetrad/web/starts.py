"""The commands that are started from the page: arguments for the queue, with the names of the runs they make."""

from pathlib import Path

from tetrad.builtin import DEMO_LEARNING_RATE, DEMO_STEPS
from tetrad.builtin.vocabulary import TRIGGER_WORD

# The demo of the page: the settings of `tetrad demo` for LoRA, with previews, so that the page has something to show.
_SAVES = 5  # files to pick the best from
_DEMO = (
    f"--trigger-word {TRIGGER_WORD} --steps {DEMO_STEPS} --learning-rate {DEMO_LEARNING_RATE}"
    f" --set method.text_encoder=false --set save.every={DEMO_STEPS // _SAVES}"
).split()


def demo_arguments(runs: Path) -> list[str]:
    """`tetrad train` with the built-in model and its images of a robot: no download, no graphics card."""
    return ["lora", "builtin:subject", *_DEMO, "--out", str(runs), "--name", TRIGGER_WORD]


def resume_arguments(run: Path) -> list[str]:
    return [str(run)]


def restart_arguments(run: Path, runs: Path) -> list[str]:
    """A new run of a run's recipe, beside it."""
    return [*recipe_arguments(run / "recipe.toml"), "--out", str(runs)]


def recipe_arguments(path: Path) -> list[str]:
    return ["--recipe", str(path)]
