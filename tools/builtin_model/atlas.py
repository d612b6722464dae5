"""Write the atlas of small drawings, with which the program recognizes what a generated image shows."""

import argparse
from pathlib import Path

import numpy as np
from artwork import load_artwork, shrink_drawing
from PIL import Image

from tetrad.builtin.drawings import ATLAS_COLUMNS, ATLAS_PATH, DRAWING_SIDE, list_atlas_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    artwork, pairs = load_artwork(arguments.work), list_atlas_pairs()
    atlas = np.zeros((DRAWING_SIDE * -(-len(pairs) // ATLAS_COLUMNS), DRAWING_SIDE * ATLAS_COLUMNS, 4), np.uint8)
    for number, pair in enumerate(pairs):
        top, left = (DRAWING_SIDE * index for index in divmod(number, ATLAS_COLUMNS))
        atlas[top : top + DRAWING_SIDE, left : left + DRAWING_SIDE] = shrink_drawing(artwork[pair])
    Image.fromarray(atlas).save(ATLAS_PATH, quality=80, alpha_quality=90, method=6)
    print(f"{ATLAS_PATH}: {len(pairs)} drawings, {ATLAS_PATH.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
