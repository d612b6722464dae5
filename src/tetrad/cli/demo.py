"""`tetrad demo`: the whole thing on the built-in model and pictures, in three minutes, ending in one sheet."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tetrad.generation.learning import Figures

WORD = "zkr"
PROMPTS = (
    f"a {WORD}, on a yellow background",
    f"a {WORD}, on an orange background",
    f"a {WORD}, on a pink background",
    "a red apple, flat style, on a green background",
)
SEEDS = (1, 2, 3)


def demo(out: Annotated[Path, typer.Option(help="Folder in which the run's folder is made.")] = Path("demo")) -> None:
    """Teach the built-in model something it has never seen, and show the difference."""
    from tetrad.cli import train
    from tetrad.methods.lora import Lora
    from tetrad.recipe import Data, Recipe, Sample, Save, Train

    print(
        "The built-in model has never seen a robot. Eight pictures will teach it one, under the name zkr.",
        file=sys.stderr,
    )
    recipe = Recipe(
        data=Data(images="builtin:subject", word=WORD),
        method=Lora(text_encoder=False),
        train=Train(steps=250, learning_rate=2e-3),
        sample=Sample(every=-1),
        save=Save(out=str(out), name=WORD),
    )
    finished = train.run(recipe, False)
    print("drawing before and after", file=sys.stderr)
    sheet, figures = compared(finished.path)
    print(sheet)
    print(f"\nThe sheet shows each prompt without and with the LoRA: {sheet}", file=sys.stderr)
    print(f"On 32 prompts it was not trained on: {figures}", file=sys.stderr)
    print("(leak: how far pictures without zkr moved; 0 not at all, 1 as far as another seed would)", file=sys.stderr)
    prompt = f"a {WORD}, on a yellow background <lora:{WORD}:1>"
    print(f'Next: tetrad generate "{prompt}" --lora-dir {out} --cfg-scale 4 --seed 7', file=sys.stderr)
    print("Then with your own pictures: tetrad train lora PHOTOS --model sd15.safetensors --word zkr", file=sys.stderr)


def compared(lora: Path) -> "tuple[Path, Figures]":
    """Draw the same prompts and seeds without and with a LoRA, side by side, into one PNG beside it; and measure."""
    from tetrad import library
    from tetrad.builtin.tasks import TASKS
    from tetrad.data.images import to_image
    from tetrad.generation import grids, png
    from tetrad.generation.generate import pictures
    from tetrad.generation.learning import learned
    from tetrad.generation.request import Request
    from tetrad.training.device import chosen, settle

    model = library.load_model("builtin")
    settle(model, chosen())
    requests = [Request(prompt, seed=seed, steps=25, cfg_scale=4.0) for prompt in PROMPTS for seed in SEEDS]

    def drawn() -> list[Any]:
        return [to_image(picture) for picture in pictures(model, requests, batch_size=len(requests))]

    without = drawn()
    figures = learned(model, TASKS["subject"], WORD, lambda: library.attach(lora, model))
    with_lora = drawn()
    many = len(SEEDS)
    rows = [without[first : first + many] + with_lora[first : first + many] for first in range(0, len(requests), many)]
    columns = [f"base, seed {seed}" for seed in SEEDS] + [f"with LoRA, seed {seed}" for seed in SEEDS]
    path = lora.parent / "sheet.png"
    png.save(
        path, grids.sheet(rows, PROMPTS, columns, "What the LoRA taught: the same prompts and seeds, before and after")
    )
    return path, figures
