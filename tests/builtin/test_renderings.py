"""The styles of the built-in model, as its tools draw them."""

from pathlib import Path

import numpy as np
import pytest

from tetrad.builtin.drawings import load_atlas
from tetrad.builtin.vocabulary import (
    HELD_OUT_DRAWING_SET,
    ICON_SET,
    SAMPLE_STYLE_SET,
    STYLE_WORDS,
    SubjectStylePair,
    list_all_pairs,
)

TOOLS = Path(__file__).parents[2] / "tools" / "builtin_model"
LUMINANCE = np.array([0.299, 0.587, 0.114])


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))


def disc(outer: int = 200, inner: int = 60) -> np.ndarray:
    """A gray disc on a transparent background, with a darker disc in the center, (128, 128, 4)."""
    rows, columns = np.mgrid[:128, :128] - 63.5
    radius = np.hypot(rows, columns)
    drawing = np.zeros((128, 128, 4), np.uint8)
    drawing[radius < 56] = (outer, outer, outer, 255)
    drawing[radius < 20] = (inner, inner, inner, 255)
    return drawing


def test_every_other_style_redraws_the_first_one_and_keeps_its_shape() -> None:
    from renderings import RENDERINGS

    assert list(STYLE_WORDS.values()) == ["glossy", *RENDERINGS]
    for style, redraw in RENDERINGS.items():
        result = redraw(disc())
        assert result.dtype == np.uint8, style
        assert (result[..., 3] == disc()[..., 3]).all(), style
        assert (result != disc()).any(), style


def test_a_sketch_is_white_with_dark_lines_where_colours_change() -> None:
    from renderings import sketch

    brightness = sketch(disc())[64, :, :3].mean(-1)
    flat_area, inner_edge, outline = brightness[64 + 38], brightness[64 + 20], brightness[64 + 55]
    assert flat_area > 240 and brightness[64] > 240
    assert inner_edge < 120 and outline < 120


def test_toned_drawings_stay_light_and_dark_in_the_same_places() -> None:
    from renderings import gold, jade, porcelain

    for redraw, hue in ((gold, 0), (porcelain, 2), (jade, 1)):
        result = redraw(disc())[..., :3].astype(float)
        dark, light = result[64, 64], result[64, 64 + 38]
        assert light @ LUMINANCE > dark @ LUMINANCE + 100
        assert dark.argmax() == hue, "bronze is red first, cobalt blue first, jade green first"


def test_a_drawing_of_one_brightness_stays_one_colour() -> None:
    from renderings import gold

    result = gold(disc(120, 120))[..., :3]
    assert len(np.unique(result[disc()[..., 3] > 0], axis=0)) == 1


def test_a_negative_of_a_negative_is_the_drawing() -> None:
    from renderings import negative

    assert (negative(negative(disc())) == disc()).all()


def test_an_empty_drawing_stays_empty() -> None:
    from renderings import RENDERINGS

    empty = np.zeros((128, 128, 4), np.uint8)
    assert all((redraw(empty)[..., 3] == 0).all() for redraw in RENDERINGS.values())


def test_the_atlas_holds_the_renderings_of_the_icon_set() -> None:
    from renderings import RENDERINGS, jade

    drawing = load_atlas()[SubjectStylePair("red-apple", ICON_SET)]
    opaque = drawing[..., 3] > 250
    renderings = {drawing_set: RENDERINGS[style] for drawing_set, style in STYLE_WORDS.items() if style in RENDERINGS}
    del renderings["fluent-emoji-sketch"]  # its lines depend on the size
    for drawing_set, redraw in (renderings | {SAMPLE_STYLE_SET: jade}).items():
        expected = load_atlas()[SubjectStylePair("red-apple", drawing_set)]
        difference = np.abs(redraw(drawing).astype(int) - expected)[opaque][:, :3]
        assert difference.mean() < 12, drawing_set


def test_sample_images_are_in_no_trained_style() -> None:
    assert not {HELD_OUT_DRAWING_SET, SAMPLE_STYLE_SET} & set(STYLE_WORDS)
    assert {pair.drawing_set for pair in list_all_pairs()} == set(STYLE_WORDS)
