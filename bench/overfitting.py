"""The picture of docs/methods.md: each method undertrained, right and overfit, on the built-in model.

    python -m bench.overfitting --work FOLDER     trains what FOLDER lacks and writes docs/overfitting.png

The settings are those of `tetrad demo`; only steps and learning rate differ. Each row has one prompt and one seed.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from tetrad.builtin import resolve_images_path
from tetrad.demo import DEMO_TASKS
from tetrad.generation.generate import generate_images
from tetrad.generation.request import Request
from tetrad.images import contact_sheet, png
from tetrad.images.load import load_image
from tetrad.images.tensors import to_image
from tetrad.library import attach_weights, load_model
from tetrad.run.events import Finished
from tetrad.run.train import train

SHEET_PATH = Path(__file__).parents[1] / "docs" / "overfitting.png"
_HEADINGS = ("trained on", "too few steps", "right", "too high a learning rate")
_SEED = 2


@dataclass(frozen=True)
class Row:
    """One method: its prompt, and steps and learning rate of its undertrained, right and overfit run."""

    title: str
    method: str
    prompt: str
    runs: tuple[tuple[int, str], ...]

    @property
    def label(self) -> str:
        """The method, its prompt and its three runs, for the sheet's margin."""
        runs = "; ".join(f"{steps} steps at {rate}" for steps, rate in self.runs)
        return f"{self.title}: {self.prompt}. {runs}"


_SUBJECT_PROMPT = "a zkr, gold style, on a yellow background"
_PERSON_PROMPT = "a zkr, porcelain style, on a black background"
_STYLE_PROMPT = "an owl, zkr style, on a yellow background"
ROWS = (
    Row("LoRA", "lora", _SUBJECT_PROMPT, ((20, "5e-4"), (180, "5e-4"), (60, "1e-2"))),
    Row("DreamBooth", "dreambooth", _SUBJECT_PROMPT, ((10, "1.2e-4"), (100, "1.2e-4"), (40, "1e-3"))),
    Row("Textual Inversion", "textual-inversion", _PERSON_PROMPT, ((10, "0.1"), (100, "0.1"), (40, "1"))),
    Row("Hypernetwork", "hypernetwork", _STYLE_PROMPT, ((10, "5e-4"), (150, "1e-3"), (40, "4e-3"))),
)


def train_run(work: Path, method: str, steps: int, rate: str) -> Path:
    """The trained file of one run: from the work folder if it has it, else trained into it."""
    folder = work / f"{method}-{steps}-{rate}"
    marker = folder / "path.txt"
    if not marker.exists():
        recipe = replace(DEMO_TASKS[method], steps=steps, learning_rate=rate).recipe(str(folder))
        [finished] = [event for event in train(recipe) if isinstance(event, Finished)]
        marker.write_text(str(finished.path.resolve()), "utf-8")
    return Path(marker.read_text("utf-8"))


def generate_after_training(trained_file: Path, prompt: str, seed: int = _SEED) -> Image.Image:
    model = load_model("builtin")
    attach_weights(trained_file, model)
    [image] = generate_images(model, [Request(prompt, seed=seed, steps=25, cfg_scale=4.0)])
    return to_image(image)


def make_row(row: Row, work: Path) -> Iterator[Image.Image]:
    """One of the training images, then one image for each run."""
    folder = resolve_images_path(f"builtin:{DEMO_TASKS[row.method].task.name}")
    yield load_image(min(folder.glob("*.png"))).convert("RGB")
    for steps, rate in row.runs:
        yield generate_after_training(train_run(work, row.method, steps, rate), row.prompt)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the trained files")
    work = parser.parse_args().work
    torch.set_num_threads(1)
    images = [list(make_row(row, work)) for row in ROWS]
    sheet = contact_sheet.make_contact_sheet(
        images, [row.label for row in ROWS], _HEADINGS, "Undertrained, right, overfit: one prompt and seed per row"
    )
    png.save_png(SHEET_PATH, sheet.quantize(256))


if __name__ == "__main__":
    main()
