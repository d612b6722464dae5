"""Generate the twelve plain prompts of prompts.txt, and judge them from the images alone.

Two judgements. The program's: of all 167 subjects in all styles, the drawing that the image is nearest to must be the
one that the prompt asks for, and a background that it asks for must be there. A person's, which counts: the sheet shows
the images in random order with numbers and no prompts; whoever judges writes down what each image shows, one word a
line, before looking at the key.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tetrad.builtin.drawings import compose_image
from tetrad.builtin.recognition import compute_distances, detect_background
from tetrad.builtin.vocabulary import BACKGROUNDS, HELD_OUT_SUBJECTS, STYLE_WORDS, TRAINED_SUBJECTS, SubjectStylePair

PROMPTS_PATH = Path(__file__).parent / "prompts.txt"
SEEDS = (0, 1, 2, 3)
STEPS, CFG_SCALE = 30, 7.0  # what `tetrad generate` uses if nothing is given
CANDIDATES = [SubjectStylePair(s, style) for style in STYLE_WORDS for s in (*TRAINED_SUBJECTS, *HELD_OUT_SUBJECTS)]


@dataclass(frozen=True)
class PlainPrompt:
    """A prompt, the subject (icon name) that its image must be recognized as, and its background or ""."""

    text: str
    subject: str
    background: str


def load_prompts(path: Path = PROMPTS_PATH) -> list[PlainPrompt]:
    """The prompts of the file; a line that starts with # is a comment."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return [PlainPrompt(*(part.strip() for part in line.split("|"))) for line in lines]


def recognize(image: NDArray[np.uint8]) -> SubjectStylePair:
    """The nearest of all drawings, on the named background that is nearest to the border's colour."""
    return CANDIDATES[int(compute_distances(image, CANDIDATES, detect_background(image)).argmin())]


def is_recognized(prompt: PlainPrompt, image: NDArray[np.uint8]) -> bool:
    """Whether the subject is nearest and the background is the requested one."""
    has_background = prompt.background in ("", detect_background(image))
    return recognize(image).subject == prompt.subject and has_background


def generate(model_name: str, prompts: list[PlainPrompt], seed: int) -> NDArray[np.uint8]:
    """One image for each prompt, (N, 128, 128, 3)."""
    from tetrad import library
    from tetrad.generation.generate import generate_images
    from tetrad.generation.request import Request

    model = library.load_model(model_name)
    requests = [Request(prompt.text, seed=seed, steps=STEPS, cfg_scale=CFG_SCALE) for prompt in prompts]
    images = generate_images(model, requests, batch_size=12)
    return np.stack([image.mul(255).round().byte().permute(1, 2, 0).numpy() for image in images])


def save_sheet(path: Path, images: NDArray[np.uint8], order: NDArray[np.int64], prompts: list[PlainPrompt]) -> None:
    """The images in random order with numbers, and beside the sheet the key to them, `….key.txt`."""
    from PIL import Image

    from tetrad.images import contact_sheet, png

    tiles = [Image.fromarray(images[index]) for index in order]
    rows = [tiles[first : first + 4] for first in range(0, len(tiles), 4)]
    labels = [f"{first + 1} … {first + len(row)}" for first, row in zip(range(0, len(tiles), 4), rows, strict=True)]
    png.save_png(path, contact_sheet.make_contact_sheet(rows, labels, [""] * 4, "What does each image show?", 128))
    key = [f"{number} {prompts[index].text}" for number, index in enumerate(order, 1)]
    path.with_suffix(".key.txt").write_text("\n".join(key) + "\n", "utf-8")


def compose_ideal(prompts: list[PlainPrompt]) -> NDArray[np.uint8]:
    """What the prompts ask for, composed of the drawings themselves: all of them must be recognized."""
    from tetrad.builtin.drawings import Placement, load_atlas
    from tetrad.builtin.vocabulary import ICON_SET

    colours = [BACKGROUNDS[prompt.background or "green"] for prompt in prompts]
    drawings = [load_atlas()[SubjectStylePair(prompt.subject, ICON_SET)] for prompt in prompts]
    return np.stack([compose_image(each, colour, Placement()) for each, colour in zip(drawings, colours, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--out", type=Path, help="the sheet to write, of the images with seed 0")
    parser.add_argument("--order-seed", type=int, default=1, help="the order on the sheet")
    arguments = parser.parse_args()
    prompts = load_prompts()
    counts = []
    for seed in SEEDS:
        images = generate(arguments.model, prompts, seed)
        counts.append(sum(is_recognized(prompt, image) for prompt, image in zip(prompts, images, strict=True)))
        shown = ", ".join(f"{p.text}: {recognize(image).subject}" for p, image in zip(prompts, images, strict=True))
        print(f"seed {seed}: {counts[-1]} of {len(prompts)} recognized; {shown}", flush=True)
        if seed == SEEDS[0] and arguments.out:
            order = np.random.default_rng(arguments.order_seed).permutation(len(prompts))
            save_sheet(arguments.out, images, order, prompts)
    print(f"{np.mean(counts):.1f} of {len(prompts)} on average of {len(SEEDS)} seeds")


if __name__ == "__main__":
    main()
