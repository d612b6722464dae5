"""Tag images with a WD14 tagger: a folder with model.onnx and selected_tags.csv, run by onnxruntime."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tetrad.data.captions.command import NoCaption
from tetrad.documents import read_text_file
from tetrad.errors import TetradError
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import load_image
from tetrad.locales import Message, _

_MODEL, _TAGS = "model.onnx", "selected_tags.csv"
_GENERAL, _CHARACTER = "0", "4"  # Danbooru's categories; 9 is a rating, which is no tag of the image
_SHORT = 3  # letters: a tag that is not longer is a face such as ^_^, whose underscore stays, as in kohya's tagger


class Tagger:
    """A tagger in a folder, with the probability from which a tag is used.

    E4193 where the folder has no tagger, its files do not fit together, or onnxruntime is not installed.
    """

    def __init__(self, folder: Path, threshold: float = 0.35, character_threshold: float = 0.85) -> None:
        if missing := [name for name in (_MODEL, _TAGS) if not (folder / name).is_file()]:
            template = _("{folder} has no {file}; give the folder of a WD14 tagger, with {model} and {tags}")
            raise TetradError("E4193", template, folder=folder, file=missing[0], model=_MODEL, tags=_TAGS)
        self.thresholds = {_GENERAL: threshold, _CHARACTER: character_threshold}
        self.tags = _read_tags(folder / _TAGS)
        self.session = _open_model(folder / _MODEL)
        shape = self.session.get_inputs()[0].shape
        count = self.session.get_outputs()[0].shape[-1]
        if len(shape) != 4 or shape[1] != shape[2] or not isinstance(shape[1], int) or shape[3] != 3:
            template = _("{file} is no WD14 tagger: its input has the shape {shape}, not batch × size × size × 3")
            raise TetradError("E4193", template, file=folder / _MODEL, shape=" × ".join(map(str, shape)))
        if count != len(self.tags):
            template = _("{folder} has {tags} tags in {file}, and a model for {count}; give files of the same tagger")
            raise TetradError("E4193", template, folder=folder, tags=len(self.tags), file=_TAGS, count=count)
        self.size: int = shape[1]

    def __call__(self, image: Path) -> str:
        """The tags of an image, the most probable first.  Raises NoCaption."""
        try:
            pixels = _prepare(load_image(image), self.size)
        except BadImage as error:
            raise NoCaption(Message(_("{code} {reason}"), code=error.code, reason=error.reason)) from error
        probabilities = self.session.run(None, {self.session.get_inputs()[0].name: pixels})[0][0].tolist()
        rated = sorted(zip(probabilities, self.tags, strict=True), reverse=True)
        tags = [name for probability, (name, category) in rated if probability >= self.thresholds.get(category, 2.0)]
        if not tags:
            raise NoCaption(Message(_("no tag is probable enough; lower the threshold")))
        return ", ".join(tag if len(tag) <= _SHORT else tag.replace("_", " ") for tag in tags)


def _prepare(image: Image.Image, size: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """The image in a white square: (1, size, size, 3), BGR, 0…255."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    pixels = np.asarray(square.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    return np.ascontiguousarray(pixels[None, :, :, ::-1])


def _read_tags(path: Path) -> list[tuple[str, str]]:
    """Name and category of each tag, in the order of the model's output.  E4193 where they cannot be read."""
    try:
        rows = list(csv.DictReader(read_text_file(path).splitlines()))
        return [(row["name"], row["category"]) for row in rows]
    except (OSError, ValueError, csv.Error, KeyError) as error:
        template = _("{file} is no list of tags with the columns name and category; give the tagger's own file")
        raise TetradError("E4193", template, file=path) from error


def _open_model(path: Path) -> Any:
    """An inference session on the CPU.  E4193 without onnxruntime, or for a file that it cannot open."""
    try:
        import onnxruntime
    except ImportError as error:
        template = _('a tagger needs the package onnxruntime; install it with: pip install -e ".[tag]"')
        raise TetradError("E4193", template) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its own messages; errors are raised
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        template = _("{file} cannot be opened as an ONNX model ({reason}); download it again")
        raise TetradError("E4193", template, file=path, reason=str(error).partition("\n")[0]) from error
