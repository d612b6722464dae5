"""Render the icon sets, and redraw them in the other styles, into one file of 128-pixel RGBA drawings."""

import argparse
import io
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from renderings import RENDERINGS, jade

from tetrad.builtin import IMAGE_SIDE
from tetrad.builtin.drawings import DRAWING_SIDE
from tetrad.builtin.vocabulary import (
    EXCLUDED_DRAWINGS,
    HELD_OUT_DRAWING_SET,
    HELD_OUT_SUBJECTS,
    ICON_SET,
    SAMPLE_STYLE_SET,
    SAMPLE_SUBJECTS,
    STYLE_WORDS,
    TRAINED_SUBJECTS,
    SubjectStylePair,
    get_restyled_pairs,
    get_subject_words,
)

PACKED_COLUMNS = 40  # drawings in a row of the packed image


@dataclass(frozen=True)
class Artwork:
    """Drawings (N, 128, 128, 4) in 0…255, straight alpha, and the index of each pair."""

    drawings: NDArray[np.uint8]
    index: dict[SubjectStylePair, int]

    def __getitem__(self, pair: SubjectStylePair) -> NDArray[np.uint8]:
        return self.drawings[self.index[pair]]


def load_artwork(work: Path) -> Artwork:
    """Read `artwork.npz`."""
    with np.load(work / "artwork.npz") as packed:
        names = [str(name) for name in packed["names"]]
        drawings = packed["drawings"]
    pairs = [SubjectStylePair(*name.split("/")) for name in names]
    return Artwork(drawings, {pair: index for index, pair in enumerate(pairs)})


def list_further_pairs(artwork: Artwork) -> tuple[SubjectStylePair, ...]:
    """Drawings of subjects without a word of their own, in the trained styles: they help to learn the styles.

    Names that another drawing already uses are left out, and so are men at work, which would blur what `a man` is.
    """
    named_subjects = {*TRAINED_SUBJECTS, *HELD_OUT_SUBJECTS}
    used_words = {get_subject_words(subject) for subject in named_subjects}
    return tuple(
        pair
        for pair in artwork.index
        if pair.drawing_set in STYLE_WORDS
        and pair.subject not in named_subjects
        and get_subject_words(pair.subject) not in used_words
        and not pair.subject.startswith("man-")
    )


def shrink_drawing(drawing: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A drawing in the size of the atlas, (48, 48, 4)."""
    # Premultiplied, so that the colour of transparent pixels does not bleed into the edges.
    premultiplied = (
        Image.fromarray(drawing).convert("RGBa").resize((DRAWING_SIDE, DRAWING_SIDE), Image.Resampling.LANCZOS)
    )
    return np.asarray(premultiplied.convert("RGBA"))


def save_artwork(work: Path, pairs: list[SubjectStylePair], drawings: list[NDArray[np.uint8]]) -> None:
    """Write `artwork.npz` by renaming a temporary file, so that it is never incomplete."""
    temporary = work / "artwork.tmp.npz"
    np.savez(
        temporary, drawings=np.stack(drawings), names=np.array([f"{pair.subject}/{pair.drawing_set}" for pair in pairs])
    )
    temporary.replace(work / "artwork.npz")


def render_icon(icons: dict[str, Any], name: str) -> NDArray[np.uint8]:
    """One icon as (128, 128, 4); `currentColor` becomes black."""
    import resvg_py  # only this stage needs it

    icon = icons["icons"][name]
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    left, top = icon.get("left", icons.get("left", 0)), icon.get("top", icons.get("top", 0))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{IMAGE_SIDE}" height="{IMAGE_SIDE}" viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg.replace("currentColor", "#000000")))
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))
    assert image.shape == (IMAGE_SIDE, IMAGE_SIDE, 4), (name, image.shape)
    return image


def list_icons(all_icons: dict[str, dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The named subjects, which must be in both icon sets, and all other icons that both sets share."""
    shared = set.intersection(*(set(icons["icons"]) for icons in all_icons.values()))
    named = [*TRAINED_SUBJECTS, *HELD_OUT_SUBJECTS]
    missing = [name for name in named if name not in shared]
    if missing:
        raise SystemExit(f"these subjects are not in both icon sets: {', '.join(missing)}")
    return named, sorted(name for name in shared - set(named) if not EXCLUDED_DRAWINGS.search(name))


def render_all(
    all_icons: dict[str, dict[str, Any]], named: list[str], others: list[str]
) -> dict[SubjectStylePair, NDArray[np.uint8]]:
    """The drawings as published: of every subject, and of named ones also from the other set."""
    sets = ((HELD_OUT_DRAWING_SET, named), (ICON_SET, [*named, *others]))
    return {
        SubjectStylePair(name, drawing_set): render_icon(all_icons[drawing_set], name)
        for drawing_set, names in sets
        for name in names
    }


def restyle(pair: SubjectStylePair, drawing: NDArray[np.uint8]) -> dict[SubjectStylePair, NDArray[np.uint8]]:
    """A drawing in the other styles: all of them, of the other set only sample subjects; named subjects in jade too."""
    if pair.drawing_set == HELD_OUT_DRAWING_SET:
        wanted = get_restyled_pairs(pair.subject) if pair.subject in SAMPLE_SUBJECTS else {}
        return {other: RENDERINGS[style](drawing) for style, other in wanted.items()}
    restyled = {
        SubjectStylePair(pair.subject, drawing_set): RENDERINGS[style](drawing)
        for drawing_set, style in STYLE_WORDS.items()
        if drawing_set != ICON_SET
    }
    if pair.subject in {*TRAINED_SUBJECTS, *HELD_OUT_SUBJECTS}:
        restyled[SubjectStylePair(pair.subject, SAMPLE_STYLE_SET)] = jade(drawing)
    return restyled


def restyle_all(published: dict[SubjectStylePair, NDArray[np.uint8]]) -> dict[SubjectStylePair, NDArray[np.uint8]]:
    """All drawings in all styles, each pair in the same place whatever the number of processes."""
    drawings = dict(published)
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        for restyled in processes.map(restyle, published, published.values(), chunksize=16):
            drawings |= restyled
    return drawings


def pack_drawings(path: Path, published: dict[SubjectStylePair, NDArray[np.uint8]]) -> None:
    """Write the published drawings into one WebP image, colours in 64 levels, and their names beside it."""
    rows = -(-len(published) // PACKED_COLUMNS)
    sheet = np.zeros((rows, PACKED_COLUMNS, IMAGE_SIDE, IMAGE_SIDE, 4), np.uint8)
    sheet.reshape(-1, IMAGE_SIDE, IMAGE_SIDE, 4)[: len(published)] = np.stack(list(published.values()))
    # With all 256 levels it has 10 MB. Errors of at most 2 levels, 47 dB, cannot be seen; WebP's own losses are larger.
    sheet[..., :3] = np.where(sheet[..., 3:] > 0, (sheet[..., :3] & 0xFC) + 2, 0)
    image = sheet.transpose(0, 2, 1, 3, 4).reshape(rows * IMAGE_SIDE, PACKED_COLUMNS * IMAGE_SIDE, 4)
    Image.fromarray(np.ascontiguousarray(image)).save(path, lossless=True, quality=80, method=3)
    names = [f"{pair.subject}/{pair.drawing_set}" for pair in published]
    path.with_suffix(".txt").write_text("\n".join(names) + "\n", "utf-8")


def unpack_drawings(path: Path) -> dict[SubjectStylePair, NDArray[np.uint8]]:
    """Read what `pack_drawings` wrote."""
    image = np.asarray(Image.open(path, formats=["WEBP"]).convert("RGBA"))
    sheet = image.reshape(-1, IMAGE_SIDE, PACKED_COLUMNS, IMAGE_SIDE, 4).transpose(0, 2, 1, 3, 4)
    drawings = sheet.reshape(-1, IMAGE_SIDE, IMAGE_SIDE, 4)
    names = path.with_suffix(".txt").read_text("utf-8").splitlines()
    return {SubjectStylePair(*name.split("/")): np.ascontiguousarray(drawings[n]) for n, name in enumerate(names)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--icons", type=Path, help="the folder node_modules/@iconify-json")
    source.add_argument("--drawings", type=Path, help="what --pack wrote, instead of the icons")
    parser.add_argument("--pack", type=Path, help="also write the drawings as published into this .webp file")
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.drawings:
        published = unpack_drawings(arguments.drawings)
    else:
        all_icons = {
            icon_set: json.loads((arguments.icons / icon_set / "icons.json").read_text())
            for icon_set in (ICON_SET, HELD_OUT_DRAWING_SET)
        }
        published = render_all(all_icons, *list_icons(all_icons))
    if arguments.pack:
        pack_drawings(arguments.pack, published)
    drawings = restyle_all(published)
    arguments.work.mkdir(parents=True, exist_ok=True)
    save_artwork(arguments.work, list(drawings), list(drawings.values()))
    print(f"{len(drawings)} drawings, {len({pair.subject for pair in drawings})} subjects")


if __name__ == "__main__":
    main()
