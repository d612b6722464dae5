"""The commands that are started from the page: arguments for the queue, with the names of the runs they make."""

from pathlib import Path

# The demo of the page: the settings of `tetrad demo` for LoRA, with previews, so that the page has something to show.
DEMO_NAME = "zkr"
_DEMO = (
    f"--trigger-word {DEMO_NAME} --steps 180 --learning-rate 5e-4"
    " --set method.text_encoder=false --set save.every=36"  # five files to pick the best from
).split()


def demo_arguments(runs: Path) -> list[str]:
    """`tetrad train` with the built-in model and its images of a robot: no download, no graphics card."""
    return ["lora", "builtin:subject", *_DEMO, "--out", str(runs), "--name", DEMO_NAME]


def resume_arguments(run: Path) -> list[str]:
    return [str(run)]


def recipe_arguments(path: Path) -> list[str]:
    return ["--recipe", str(path)]
