"""Images with an embedding inside, made as A1111 makes them while it trains."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from torch import Tensor


def as_json(content: dict[str, Any]) -> bytes:
    """The dict of a .pt file as A1111 writes it into images."""
    return json.dumps(content, default=lambda tensor: {"TORCHTENSOR": tensor.tolist()}).encode()


def embedding(vectors: Tensor, name: str = "zkr-500") -> dict[str, Any]:
    return {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": name, "step": 500}


def save_text(path: Path, document: bytes, compress: bool = False) -> Path:
    """A picture with the text chunk `sd-ti-embedding`: tEXt, or zTXt."""
    info = PngImagePlugin.PngInfo()
    info.add_text("sd-ti-embedding", base64.b64encode(document).decode(), zip=compress)
    Image.new("RGB", (64, 48), (90, 120, 200)).save(path, pnginfo=info)
    return path


def save_pixels(path: Path, packed: bytes, border: int = 0, **options: Any) -> Path:
    """A picture between two blocks of pixels with these bytes: the low halves at the left, the high ones at the right.

    Any lossless format will do. The whole has a black border of this many pixels.
    """
    height = 48
    count = -(-len(packed) // (3 * height)) * 3 * height
    data = np.resize(np.frombuffer(packed, np.uint8), count)  # repeated to the end
    mask, number = np.zeros(count, np.uint8), 0
    for position in range(count):
        number = (1664525 * number + 1013904223) % 2**32
        mask[position] = (number % 255) & 15
    shades = np.random.default_rng(0).integers(1, 16, count, np.uint8) << 4
    blocks = [((half ^ mask) | shades).reshape(height, -1, 3) for half in (data & 15, data >> 4)]
    black = np.zeros((height, 1, 3), np.uint8)
    picture = np.full((height, 64, 3), 128, np.uint8)  # its low bits are 0, as those of a black column
    pixels = np.hstack([blocks[0], black, picture, black, blocks[1]])
    Image.fromarray(np.pad(pixels, ((border, border), (border, border), (0, 0)))).save(path, **options)
    return path


def save_image(path: Path, vectors: Tensor, name: str = "zkr-500") -> Path:
    return save_text(path, as_json(embedding(vectors, name)))
