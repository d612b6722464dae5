"""Files as a person drops them: images that differ, and files that cannot be used."""

from pathlib import Path

import numpy as np
from PIL import Image

HOSTILE = '"><img src=x onerror=alert(1)>'  # shown as text wherever a name, a caption or a word is shown


def make_image(path: Path, number: int, side: int = 96) -> Path:
    """A smooth image of its own: neighbouring numbers are no near duplicates."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path


def make_photos(folder: Path, good: int = 18) -> list[Path]:
    """So many good images and 6 files that cannot be used."""
    folder.mkdir(parents=True)
    images = [make_image(folder / f"IMG_{number:04}.png", number) for number in range(good)]
    bad = {
        "empty.png": b"",
        "cut.png": images[0].read_bytes()[:200],
        "page.jpg": b"<!DOCTYPE html><html>",
        "receipt.pdf": b"%PDF-1.4",
        "notes.docx": b"PK",
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    make_image(folder / f"{HOSTILE.replace('/', '')}.png", 99, side=8)
    return sorted(folder.iterdir())
