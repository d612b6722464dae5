"""Write the small drawings that ship with the program, by which it tells what a generated picture shows."""

import argparse
from pathlib import Path

import numpy as np
from artwork import load_artwork, small
from PIL import Image

from tetrad.builtin.drawings import ATLAS, COLUMNS, SMALL, shipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    artwork, pairs = load_artwork(arguments.work), shipped()
    paper = np.zeros((SMALL * -(-len(pairs) // COLUMNS), SMALL * COLUMNS, 4), np.uint8)
    for number, pair in enumerate(pairs):
        top, left = (SMALL * place for place in divmod(number, COLUMNS))
        paper[top : top + SMALL, left : left + SMALL] = small(artwork[pair])
    Image.fromarray(paper).save(ATLAS, quality=80, alpha_quality=90, method=6)
    print(f"{ATLAS}: {len(pairs)} drawings, {ATLAS.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
