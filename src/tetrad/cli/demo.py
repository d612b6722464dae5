"""`tetrad demo`: the whole thing on the built-in model and pictures, in minutes, ending in one sheet."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tetrad.errors import TetradError

# How a file of each method is used in the next command; a test compares with LESSONS.
USES = {
    "lora": '"{prompt} <lora:{word}:1>" --lora-dir {folder}',
    "hypernetwork": '"{prompt} <hypernet:{word}:1>" --hypernetwork-dir {folder}',
    "textual-inversion": '"{prompt}" --embeddings-dir {folder}',
    "dreambooth": '"{prompt}" --model {file}',
}


def demo(
    out: Annotated[Path, typer.Option(help="Folder in which the run's folder is made.")] = Path("demo"),
    method: Annotated[str, typer.Option(help=f"Taught by: {', '.join(USES)}.")] = "lora",
) -> None:
    """Teach the built-in model something it has never seen, and show the difference."""
    if method not in USES:
        raise TetradError("E2001", f"--method {method!r} is none of {', '.join(USES)}")
    from tetrad import lessons
    from tetrad.cli import train

    lesson = lessons.LESSONS[method]
    print(lesson.says, file=sys.stderr)
    finished = train.run(lesson.recipe(str(out)), False)
    print("drawing before and after", file=sys.stderr)
    sheet, figures = lessons.compared(lesson, finished.path)
    print(sheet)
    print(f"\nThe sheet shows each prompt before and after: {sheet}", file=sys.stderr)
    print(f"On 32 prompts it was not trained on: {figures}", file=sys.stderr)
    print("(leak: how far pictures without zkr moved; 0 not at all, 1 as far as another seed would)", file=sys.stderr)
    prompt = lesson.prompts[0].format(word=lessons.word_of(lesson, finished.path))
    use = USES[method].format(prompt=prompt, word=finished.path.stem, folder=out, file=finished.path)
    print(f"Next: tetrad generate {use} --cfg-scale 4 --seed 7", file=sys.stderr)
    print(
        f"Then with your own pictures: tetrad train {method} PHOTOS --model sd15.safetensors --word zkr",
        file=sys.stderr,
    )
