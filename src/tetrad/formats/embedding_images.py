"""Embeddings inside images, as A1111 saves them during a training: in a text chunk, and once more in the pixels."""

import base64
import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.formats import pickles
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import open_image
from tetrad.locales import Message, _

TEXT_KEY = "sd-ti-embedding"  # the text chunk
TENSOR_KEY = "TORCHTENSOR"
_INFOTEXT_KEY = "parameters"  # images that were generated from a prompt hold no embedding in their pixels
_MAX_JSON_BYTES = 8_000_000  # 75 vectors for Stable Diffusion XL take less than 4 MB
_MAX_PIXELS = 16_000_000
_MAX_NAME_LENGTH = 200
_ZLIB_METHOD = 0x78
# The linear congruential generator whose low bits mask the pixels.
_LCG_FACTOR, _LCG_INCREMENT, _LCG_MODULUS = 1664525, 1013904223, 2**32


def read_embedding_image(path: Path) -> pickles.FlatContent:
    """The embedding in an image, under the names that it has in a .pt file.

    Raises E5106 where there is none or it is damaged, E41… where the image cannot be read.
    """
    content = _read_in_present_state(path)
    if content is None:
        template = _("{path} is an image without an embedding in it; give the embedding's own file")
        raise TetradError("E5106", template, path=path)
    return content


def has_embedding(path: Path) -> bool:
    """Whether there is an embedding in an image, be it damaged; False for an image that cannot be read."""
    try:
        return _read_in_present_state(path) is not None
    except TetradError as error:
        return error.code == "E5106"


def read_word(path: Path) -> str:
    """The trigger word of the embedding in an image: the name inside, as in A1111; without one, the file's name."""
    try:
        name = read_embedding_image(path)[1].get("name", "").strip()
    except TetradError:
        return path.stem
    return name if 0 < len(name) <= _MAX_NAME_LENGTH and name.isprintable() else path.stem


def _read_in_present_state(path: Path) -> pickles.FlatContent | None:
    state = path.stat()
    return _read_cached(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=256)
def _read_cached(path: Path, modified_ns: int, size: int) -> pickles.FlatContent | None:
    """The embedding in an image; None for an image without one."""
    try:
        with open_image(path) as image:
            text, packed = _find_text(image), _find_packed_bytes(image)
    except BadImage as error:
        raise TetradError(error.code, _("{path} cannot be read: {reason}"), path=path, reason=error.reason) from error
    if text is None and packed is None:
        return None
    try:
        document = _decode_text(text) if text is not None else _decompress(packed or b"")
        values = dict(pickles.flatten(_restore_tensors(parse_json(document.decode("utf-8")))))
    except (ValueError, TypeError, OverflowError, RuntimeError, zlib.error) as error:
        raise TetradError(
            "E5106",
            _("{path} is an image with a damaged embedding in it ({reason}); get the image or the embedding again"),
            path=path,
            reason=str(error)[:200],
        ) from error
    return pickles.separate_tensors(values)


def _find_text(image: Image.Image) -> str | None:
    """The text chunk; of the chunks after the pixels too, where the image has no other text."""
    if TEXT_KEY not in image.info and _INFOTEXT_KEY not in image.info:
        image.load()
    text = image.info.get(TEXT_KEY)
    return text if isinstance(text, str) else None


def _find_packed_bytes(image: Image.Image) -> bytes | None:
    """The compressed bytes that the pixels hold, if they do: half of each byte at the left and half at the right.

    A block of pixels, a black column, the picture, a black column and a second block as wide as the first: each colour
    of a block has four masked bits in its low half; the second block has the high bits.
    """
    if {TEXT_KEY, _INFOTEXT_KEY} & image.info.keys() or image.width * image.height > _MAX_PIXELS:
        return None
    rgb = bytearray(image.convert("RGB").tobytes())
    pixels = torch.frombuffer(rgb, dtype=torch.uint8).view(image.height, image.width, 3)
    bits = _crop_black_border(pixels) & 15
    black_columns = (~bits.bool().any(dim=2).any(dim=0)).nonzero().flatten().tolist()
    if len(black_columns) < 2:
        return None
    low, high = bits[:, : black_columns[0]], bits[:, black_columns[-1] + 1 :]
    if low.shape != high.shape or low.numel() < 2:
        return None
    start = _unmask(low.flatten()[:2], high.flatten()[:2])
    if start[0] != _ZLIB_METHOD or int.from_bytes(start) % 31:  # not the header of a zlib stream  [RFC 1950]
        return None
    return _unmask(low.flatten(), high.flatten())


def _crop_black_border(pixels: Tensor) -> Tensor:
    """The part of an image (H, W, 3) inside its border; there, some colour of every pixel is 0."""
    lit = (pixels > 0).all(dim=2)
    for axis in (0, 1):
        inside = lit.any(dim=1 - axis).nonzero().flatten()
        first, last = (int(inside[0]), int(inside[-1])) if len(inside) else (0, -1)
        pixels = pixels.narrow(axis, first, last + 1 - first)
    return pixels


def _unmask(low: Tensor, high: Tensor) -> bytes:
    """The bytes (n,) of which these are the masked low and high bits."""
    mask = torch.frombuffer(bytearray(islice(generate_mask(), len(low))), dtype=torch.uint8)
    return bytes(((high ^ mask) << 4 | (low ^ mask)).numpy())


def generate_mask() -> Iterator[int]:
    """The four bits by which each half of a byte in the pixels is masked, without end."""
    number = 0
    while True:
        number = (_LCG_FACTOR * number + _LCG_INCREMENT) % _LCG_MODULUS
        yield number % 255 & 15


def _decode_text(text: str) -> bytes:
    """The JSON in a text chunk.  ValueError where it is too long or not base64."""
    if len(text) > _MAX_JSON_BYTES * 4 / 3:
        raise _too_long_error()
    return base64.b64decode(text)


def _decompress(packed: bytes) -> bytes:
    """The JSON in the pixels, which the data fills up to their end.  ValueError where it is too long."""
    document = zlib.decompressobj().decompress(packed, _MAX_JSON_BYTES + 1)
    if len(document) > _MAX_JSON_BYTES:
        raise _too_long_error()
    return document


def _too_long_error() -> ValueError:
    return ValueError(Message(_("it has more than {limit:,} bytes"), limit=_MAX_JSON_BYTES))


def _restore_tensors(content: Any) -> dict[str, Any]:
    """The dict of a .pt file from its JSON, in which a tensor is a dict of one nested list.

    ValueError, TypeError, … where the JSON is no such dict or a tensor's list is not of numbers in equal rows.
    """
    if not isinstance(content, dict):
        raise ValueError(Message(_("it is not a JSON object")))
    restored = {}
    for key, value in content.items():
        if isinstance(value, dict):
            tensor = value.get(TENSOR_KEY)
            value = _restore_tensors(value) if tensor is None else torch.tensor(tensor, dtype=torch.float32)
        restored[key] = value
    return restored
