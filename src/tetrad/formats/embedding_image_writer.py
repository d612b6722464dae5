"""Writes an embedding into an image as A1111 does: in a text chunk of a PNG, and once more in the pixels.

The pixels keep it where a site removes the text chunks of the images that people upload.
"""

import base64
import io
import json
import zlib
from collections.abc import Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, PngImagePlugin
from torch import Tensor

from tetrad.formats.atomic_write import write_atomically
from tetrad.formats.embedding_images import TENSOR_KEY, TEXT_KEY, generate_mask
from tetrad.images.contact_sheet import BACKGROUND_COLOUR, TEXT_COLOUR, draw_text_lines, wrap_text
from tetrad.images.fonts import load_font

_CARD_SIZE, _MARGIN, _FONT_SIZE = 256, 16, 20  # pixels of the image for an embedding that comes without one
_SHADE = 0x80  # the visible part of each colour in a block; any but 0, which would be cropped as a black border


def write_embedding_image(path: Path, content: Mapping[str, Any], picture: Image.Image | None = None) -> None:
    """Write a PNG with the content of an embedding's .pt file in it, around a picture.  E4202 if it cannot be written.

    Without a picture it shows the embedding's name.
    """
    document = json.dumps(_replace_tensors(content)).encode()
    framed = _frame_with_bytes((picture or _draw_card(content["name"])).convert("RGB"), zlib.compress(document, 9))
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(TEXT_KEY, base64.b64encode(document).decode())
    file = io.BytesIO()
    framed.save(file, "PNG", pnginfo=chunks)
    write_atomically(path, file.getvalue())


def _replace_tensors(value: Any) -> Any:
    """The value with tensors as A1111 writes them into JSON."""
    if isinstance(value, Mapping):
        return {str(key): _replace_tensors(item) for key, item in value.items()}
    return {TENSOR_KEY: value.tolist()} if isinstance(value, Tensor) else value


def _draw_card(name: str) -> Image.Image:
    card = Image.new("RGB", (_CARD_SIZE, _CARD_SIZE), BACKGROUND_COLOUR)
    lines = wrap_text(name, load_font(_FONT_SIZE, name), _CARD_SIZE - 2 * _MARGIN, 8)
    draw_text_lines(ImageDraw.Draw(card), (_MARGIN, _MARGIN), lines, TEXT_COLOUR, _FONT_SIZE)
    return card


def _frame_with_bytes(picture: Image.Image, data: bytes) -> Image.Image:
    """The picture between two blocks of pixels: half of each byte at the left and half at the right.

    A block has the picture's height and three masked halves in each pixel; a black column separates it from the
    picture. The data are repeated up to the end of the block.
    """
    row_count = picture.height * 3
    count = -(-len(data) // row_count) * row_count
    repeated = torch.frombuffer(bytearray(islice(cycle(data), count)), dtype=torch.uint8)
    mask = torch.frombuffer(bytearray(islice(generate_mask(), count)), dtype=torch.uint8)
    framed = Image.new("RGB", (picture.width + 2 + 2 * (count // row_count), picture.height))
    framed.paste(picture, (count // row_count + 1, 0))
    for half, left in ((repeated & 15, 0), (repeated >> 4, framed.width - count // row_count)):
        pixels = ((half ^ mask) | _SHADE).view(picture.height, -1, 3)
        framed.paste(Image.fromarray(pixels.numpy(), "RGB"), (left, 0))
    return framed
