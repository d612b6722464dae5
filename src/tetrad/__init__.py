"""Tetrad trains Stable Diffusion 1, 2 and XL on a folder of images.

From Python: `from tetrad import load, generate, train, resume, scan, verify, diff, convert, install` and more; see
docs/python.md.

The entrances are `cli` (the command line), `__main__` (`python -m tetrad`), `web` (a page in the browser), `api`
(Python) and `demo` (the tasks of `tetrad demo`). `settings` defines what a person can set; `run` turns it into a
training run, for which `data` loads and batches the images, `training` runs the steps, `methods` holds Textual
Inversion, hypernetworks, LoRA and DreamBooth, and `estimate` predicts memory and time. `generation` generates images,
`evaluation` scores a training on the built-in tasks, and `judging` says of any run how well it has learned and which
checkpoint to use. `models` holds the model families and `diffusion` the mathematics of noise. `library` opens and saves
models and networks, `formats` converts their tensor names, `weights` is the value that they exchange, `inspection`
describes a file or a folder of images, `comparison` says how two files differ, `verification` which programs load a
file, and `installation` copies it into a web UI; `merging` combines files into new ones, `conversion` writes them in
other formats, and `interchange` reads the configurations of other trainers; `contest` trains the same images with each
method and says which one to use; `doctor` checks the computer; `sweep` trains a grid of runs, and `tracking` shows runs
in other programs. `images` reads and writes image files, `builtin` is a small model with its training images, `locales`
translates messages, `errors` defines the errors that a person can correct, and `given_paths` those for files that do
not exist; `paths` expands `~` in a path, `storage` fetches models and images from object storage and uploads runs,
`cache_location` says where copies are kept, `weighted_files` parses files with a number, `sizes` shows sizes of files
and memory, `documents` parses JSON, TOML and YAML, `event_file` says to other programs what a command does, and `lazy`
makes imports cheap: fronts of packages import their modules late.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# What `from tetrad import …` offers, and where it is.
FROM_PYTHON = {
    **dict.fromkeys(("load", "generate", "train", "resume"), "tetrad.api"),
    "extract_lora": "tetrad.merging.lora_extraction",
    "merge_checkpoints": "tetrad.merging.checkpoint_merge",
    "merge_loras": "tetrad.merging.lora_merge",
    "merge_loras_into": "tetrad.merging.lora_into_checkpoint",
    "resize_lora": "tetrad.merging.lora_resize",
    "compare": "tetrad.contest.compare",
    "scan": "tetrad.inspection.dataset.scan",
    "CaptionFolder": "tetrad.data.captions.folder",
    "convert": "tetrad.conversion.convert",
    "merge_embeddings": "tetrad.merging.embeddings",
    "merge_hypernetworks": "tetrad.merging.hypernetworks",
    "verify": "tetrad.verification.verify",
    "diff": "tetrad.comparison.diff",
    "install": "tetrad.installation.install",
    "uninstall": "tetrad.installation.uninstall",
}


def __getattr__(name: str) -> Any:
    """Import the functions and classes when they are first used, so that the command line starts without torch."""
    if name in FROM_PYTHON:
        return getattr(import_module(FROM_PYTHON[name]), name)
    raise AttributeError(f"module 'tetrad' has no attribute {name!r}")
