"""Render the icon sets, and their drawings in further styles, to one packed file of 128-pixel RGBA drawings."""

import argparse
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from renderings import RENDERINGS, jade

from tetrad.builtin.drawings import SIDE, SMALL
from tetrad.builtin.vocabulary import (
    HELD_OUT,
    HELD_OUT_SET,
    ICON_SET,
    NOT_A_PICTURE,
    SAMPLES,
    STYLE_SAMPLE,
    STYLES,
    TRAINED,
    Pair,
    restyled,
    words,
)


@dataclass(frozen=True)
class Artwork:
    """Drawings (N, 128, 128, 4) in 0…255, straight alpha, and where each pair lies in them."""

    drawings: NDArray[np.uint8]
    index: dict[Pair, int]

    def __getitem__(self, pair: Pair) -> NDArray[np.uint8]:
        return self.drawings[self.index[pair]]


def load_artwork(work: Path) -> Artwork:
    """What `main` wrote."""
    with np.load(work / "artwork.npz") as packed:
        names = [str(name) for name in packed["names"]]
        drawings = packed["drawings"]
    pairs = [Pair(*name.split("/")) for name in names]
    return Artwork(drawings, {pair: position for position, pair in enumerate(pairs)})


def further_pairs(artwork: Artwork) -> tuple[Pair, ...]:
    """Drawings of other subjects in the trained styles, called by their names: they teach what a style is.

    Left out are names that are already another drawing's, and men at their work: they would blur what `a man` is.
    """
    named = {*TRAINED, *HELD_OUT}
    taken = {words(subject) for subject in named}
    return tuple(
        pair
        for pair in artwork.index
        if pair.drawing_set in STYLES
        and pair.subject not in named
        and words(pair.subject) not in taken
        and not pair.subject.startswith("man-")
    )


def small(drawing: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A drawing as it ships, (48, 48, 4)."""
    # Multiplied by alpha first: the colour of fully clear pixels must not bleed into the edges.
    clear = Image.fromarray(drawing).convert("RGBa").resize((SMALL, SMALL), Image.Resampling.LANCZOS)
    return np.asarray(clear.convert("RGBA"))


def save_artwork(work: Path, pairs: list[Pair], drawings: list[NDArray[np.uint8]]) -> None:
    """Write `artwork.npz` in one move, so that a reader never meets half a file."""
    temporary = work / "artwork.tmp.npz"
    np.savez(
        temporary, drawings=np.stack(drawings), names=np.array([f"{pair.subject}/{pair.drawing_set}" for pair in pairs])
    )
    temporary.replace(work / "artwork.npz")


def rendered(icons: dict[str, Any], name: str) -> NDArray[np.uint8]:
    """One icon as (128, 128, 4); what an icon set leaves to the text colour becomes black."""
    import resvg_py  # needed for this alone

    icon = icons["icons"][name]
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    left, top = icon.get("left", icons.get("left", 0)), icon.get("top", icons.get("top", 0))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{SIDE}" height="{SIDE}" viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg.replace("currentColor", "#000000")))
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
    assert picture.shape == (SIDE, SIDE, 4), (name, picture.shape)
    return picture


def named_icons(all_icons: dict[str, dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The subjects that have a word, which must be in both icon sets, and the other pictures that both sets share."""
    shared = set.intersection(*(set(icons["icons"]) for icons in all_icons.values()))
    named = [*TRAINED, *HELD_OUT]
    missing = [name for name in named if name not in shared]
    if missing:
        raise SystemExit(f"these subjects are not in both icon sets: {', '.join(missing)}")
    return named, sorted(name for name in shared - set(named) if not NOT_A_PICTURE.search(name))


def drawn(all_icons: dict[str, dict[str, Any]], named: list[str], others: list[str]) -> dict[Pair, NDArray[np.uint8]]:
    """Every subject in every style; named ones also by the other hand (in samples: restyled) and in jade."""
    made = {Pair(name, HELD_OUT_SET): rendered(all_icons[HELD_OUT_SET], name) for name in named}
    for name in SAMPLES:
        for style, pair in restyled(name).items():
            made[pair] = RENDERINGS[style](made[Pair(name, HELD_OUT_SET)])
    for name in (*named, *others):
        drawing = made[Pair(name, ICON_SET)] = rendered(all_icons[ICON_SET], name)
        for drawing_set, style in STYLES.items():
            if drawing_set != ICON_SET:
                made[Pair(name, drawing_set)] = RENDERINGS[style](drawing)
        if name in named:
            made[Pair(name, STYLE_SAMPLE)] = jade(drawing)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--icons", type=Path, required=True, help="the folder node_modules/@iconify-json")
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    all_icons = {
        icon_set: json.loads((arguments.icons / icon_set / "icons.json").read_text())
        for icon_set in (ICON_SET, HELD_OUT_SET)
    }
    named, others = named_icons(all_icons)
    made = drawn(all_icons, named, others)
    arguments.work.mkdir(parents=True, exist_ok=True)
    save_artwork(arguments.work, list(made), list(made.values()))
    print(f"{len(made)} drawings, {len({pair.subject for pair in made})} subjects")


if __name__ == "__main__":
    main()
