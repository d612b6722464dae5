"""What random input is given to, and what must hold then: no error but ours, and the same again after writing it."""

import io
import json
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from tetrad.data.captions.caption_files import BadCaption, read_caption_file
from tetrad.documents import parse_json, parse_toml
from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_metadata, read_weight_file
from tetrad.generation.infotext import quote, to_request
from tetrad.generation.prompt_networks import extract_networks, prompt_warnings
from tetrad.generation.prompt_parser import parse_negative_prompt, parse_prompt
from tetrad.generation.request import Request
from tetrad.images import png
from tetrad.images.diagnosis import BadImage
from tetrad.images.infotext import parse_infotext
from tetrad.images.load import load_image
from tetrad.settings import LearningRate, build_recipe
from tetrad.settings.learning_rate import parse_learning_rate
from tetrad.settings.toml import dump_recipe

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
FOLDER = Path(tempfile.mkdtemp(prefix="tetrad-fuzz-"))


@dataclass(frozen=True)
class Target:
    """A kind of input, and the function that takes it; `examples` of it are tried in the test suite."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], object]
    examples: int


def is_harmless(text: str) -> bool:
    """Whether a terminal shows a text on one line and obeys nothing in it; wide spaces are only spaces."""
    return all(letter.isprintable() or unicodedata.category(letter) == "Zs" for letter in text)


# --- Images


@cache
def good_image(file_format: str, mode: str) -> bytes:
    buffer, image = io.BytesIO(), Image.effect_noise((40, 24), 60).convert(mode)
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64", zip=True)
    options: dict[str, Any] = {"pnginfo": info} if file_format == "PNG" else {}
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(buffer, file_format, exif=exif, **options)
    return buffer.getvalue()


@st.composite
def damaged_images(draw: st.DrawFn) -> bytes:
    """A good image of any format with some bytes changed, cut out or put in."""
    content = bytearray(good_image(draw(st.sampled_from(FORMATS)), draw(st.sampled_from(("RGB", "L")))))
    for _edit in range(draw(st.integers(1, 6))):
        # Most of what can go wrong is at the start.
        place = draw(st.one_of(st.integers(0, min(200, len(content))), st.integers(0, len(content))))
        removed = draw(st.sampled_from((0, 1, 1, 1, 2, 4, 30, 10_000)))
        content[place : place + removed] = draw(st.binary(max_size=8))
    return bytes(content)


def check_image(content: bytes) -> None:
    path = FOLDER / "a.png"
    path.write_bytes(content)
    for open_file in (load_image, png.read_infotext):
        try:
            open_file(path)
        except (BadImage, TetradError) as error:
            assert is_harmless(str(error))


# --- safetensors

_counts = st.one_of(st.integers(0, 64), st.integers(), st.booleans(), st.none(), st.floats(), st.text(max_size=3))
_names = st.one_of(st.text(max_size=12), st.sampled_from(("a", "b", "__metadata__", "../x", "lora_unet_x.alpha")))


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """A file whose header nearly describes its bytes."""
    entries: dict[str, Any] = {}
    end = 0
    for name in draw(st.lists(_names, max_size=5)):
        size = draw(st.integers(0, 16))
        entry: Any = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
        end += size
        if draw(st.integers(0, 3)) == 0:
            key = draw(st.sampled_from(("dtype", "shape", "data_offsets", "more")))
            entry[key] = draw(
                st.one_of(st.lists(_counts, max_size=3), _counts, st.sampled_from(("F4", "F64", "F8_E4M3")))
            )
        entries[name] = entry if name != "__metadata__" else draw(st.dictionaries(st.text(), st.text(), max_size=2))
    text = json.dumps(entries).encode() + b" " * draw(st.integers(0, 2))
    length = len(text) + draw(st.sampled_from((0, 0, 0, 0, 1, -1, 2**40)))
    return length.to_bytes(8, "little", signed=True) + text + draw(st.binary(max_size=3)) + bytes(end)


def check_safetensors(content: bytes) -> None:
    path = FOLDER / "a.safetensors"
    path.write_bytes(content)
    try:
        tensors = read_weight_file(path).tensors
    except TetradError as error:
        assert error.code in ("E5002", "E5003") and is_harmless(error.message)
        assert read_metadata(path) == {}
        return
    header_bytes = 8 + int.from_bytes(content[:8], "little")
    assert sum(each.nbytes for each in tensors.values()) <= 2 * (len(content) - header_bytes)  # float8 is widened


# --- Texts


def check_caption(content: bytes) -> None:
    path = FOLDER / "a.txt"
    path.write_bytes(content)
    try:
        text, _encoding = read_caption_file(path)
    except BadCaption as error:
        assert is_harmless(str(error.error_message))
        return
    assert all(letter.isprintable() or ord(letter) >= 0xA0 for line in text.split("\n") for letter in line)
    text.encode("utf-8", "surrogatepass")


_PROMPT_PARTS = (
    *"()[]{}:|\\,<>.#\n 0159-",
    *(
        "AND",
        "BREAK",
        "cat",
        "猫",
        "<lora:",
        "<hypernet:a:",
        ":0.5",
        "[a:b:",
        "(a:1e9)",
        "nan",
        "inf",
        "\x00",
        "\ud800",
    ),
)
prompts = st.lists(st.sampled_from(_PROMPT_PARTS), max_size=40).map("".join)


def check_prompt(prompt: str) -> None:
    try:
        request = Request(prompt, prompt, steps=7)
        remaining = extract_networks(prompt).text
    except TetradError as error:
        assert error.code[:2] == "E3" and is_harmless(error.message)
        return
    assert parse_prompt(remaining, 7)
    assert len(parse_negative_prompt(remaining, 7)) == 7
    assert all(is_harmless(str(message)) for message in prompt_warnings(request))


schedules = st.lists(
    st.sampled_from([*"0123456789.:,-+eE ", "1e-4", "0.05:10", ":-1", "inf", "nan", "１"]), max_size=14
)


def check_schedule(parts: list[str]) -> None:
    try:
        recipe = build_recipe({"train": {"learning_rate": "".join(parts)}, "method": {"kind": "lora"}})
    except TetradError as error:
        assert error.code in ("E3103", "E3131", "E3132", "E3135") and is_harmless(error.message)
        return
    rate = recipe.train.learning_rate
    if isinstance(rate, LearningRate):
        assert parse_learning_rate(str(rate)) == rate and rate(1) >= 0


_KEYS = (
    "train",
    "data",
    "method",
    "kind",
    "steps",
    "learning_rate",
    "images",
    "captions",
    "rank",
    "save",
    "out",
    "model",
)
_leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(("lora", "1e-4", "fp16"))
)
recipes = st.recursive(
    st.dictionaries(st.one_of(st.sampled_from(_KEYS), st.text(max_size=4)), _leaves, max_size=4),
    lambda inner: st.dictionaries(
        st.sampled_from(_KEYS), st.one_of(inner, _leaves, st.lists(_leaves, max_size=3)), max_size=4
    ),
    max_leaves=8,
)
recipe_texts = st.lists(
    st.sampled_from(
        [*"[]{}=\"'#.,\n \\", *_KEYS, "[train]\n", "steps = 5\n", "1e999", "nan", "0x", "2020-01-01", "'''"]
    ),
    max_size=25,
).map("".join)


def check_recipe(source: dict[str, Any] | str) -> None:
    try:
        values = parse_toml(source) if isinstance(source, str) else source
    except ValueError:
        return
    try:
        recipe = build_recipe(values)
    except TetradError as error:
        assert error.code[:2] in ("E3", "E2") and is_harmless(error.message)
        return
    assert build_recipe(parse_toml(dump_recipe(recipe))) == recipe


_INFOTEXT_PARTS = (
    *'\n,:" \\',
    *(
        "Negative prompt:",
        "Steps: ",
        "20",
        "Sampler: Euler a",
        "CFG scale: 7",
        "Seed: 1",
        "Size: ",
        "512x512",
        "x",
        "-1",
    ),
    *(
        "Model: a",
        "Lora hashes: ",
        '"a: 12"',
        "Schedule type: Karras",
        "Clip skip: ",
        "1e99",
        "nan",
        "猫",
        "Version: v1.10",
    ),
)
infotexts = st.one_of(st.lists(st.sampled_from(_INFOTEXT_PARTS), max_size=40).map("".join), st.text(max_size=80))


def check_infotext(text: str) -> None:
    found = parse_infotext(text)
    line = ", ".join(f"{key}: {quote(value)}" for key, value in found.parameters.items())
    if found.parameters:
        assert parse_infotext(line).parameters == {key: value for key, value in found.parameters.items()}
    try:
        to_request(found)
    except TetradError as error:
        assert error.code[:2] == "E3" and is_harmless(error.message)


def check_json(text: str) -> None:
    try:
        parse_json(text)
    except ValueError as error:
        str(error)


TARGETS = {
    "images": Target(damaged_images(), check_image, 120),
    "safetensors headers": Target(headers(), check_safetensors, 150),
    "captions": Target(st.one_of(st.binary(max_size=60), st.text(max_size=40).map(str.encode)), check_caption, 200),
    "prompts": Target(prompts, check_prompt, 150),
    "schedules": Target(schedules, check_schedule, 150),
    "recipes": Target(recipes, check_recipe, 80),
    "recipe texts": Target(recipe_texts, check_recipe, 80),
    "infotexts": Target(infotexts, check_infotext, 150),
    "JSON": Target(st.text(alphabet='[]{}",:0123456789.eE-truefalsn\\ud8 ', max_size=40), check_json, 150),
}
