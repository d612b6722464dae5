"""The eye for the built-in model's images."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tetrad.builtin import TRAINED_SUBJECTS, SubjectStylePair
from tetrad.builtin.drawings import Placement, compose_image, load_atlas
from tetrad.generation.request import Request
from tetrad.images.tensors import to_tensor
from tetrad.judging.eyes import DrawingEye
from tetrad.judging.image_judge import ImageJudge, ImageSet


def draw(subject: str, colour: tuple[int, int, int], placement: Placement | None = None) -> Image.Image:
    drawing = load_atlas()[SubjectStylePair(subject, next(iter(load_atlas())).drawing_set)]
    return Image.fromarray(compose_image(drawing, np.array(colour), placement or Placement(), 128))


def test_a_drawing_is_known_at_another_place_and_on_another_background() -> None:
    first, second = TRAINED_SUBJECTS[:2]
    white, blue = (250, 250, 250), (30, 30, 200)
    images = [draw(first, white), draw(first, white, Placement(scale=0.6)), draw(first, blue), draw(second, white)]
    eye = DrawingEye()
    seen = eye.look([to_tensor(image) for image in images])
    moved, recoloured, other = eye.measure(seen[:1], seen[1:])[0]
    assert moved < 0.1 * other and recoloured < 0.9 * other


def test_likeness_on_the_built_in_model_is_that_of_the_drawings() -> None:
    """Without its networks, which would be needed to compare in another way."""
    first, second = TRAINED_SUBJECTS[:2]
    references = [to_tensor(draw(first, colour)) for colour in ((250, 250, 250), (200, 30, 30))]
    nothing: Any = None
    judge = ImageJudge(nothing, references, nothing, "zkr", Request(""), nothing, recognizes=True)
    likeness = judge.measure_own_likeness(ImageSet((draw(second, (250, 250, 250)),), ()))
    assert likeness == pytest.approx(0.18, abs=0.02)
