"""The styles that the built-in model is trained on are what their names say, of any drawing."""

from pathlib import Path

import numpy as np
import pytest

from tetrad.builtin.drawings import atlas
from tetrad.builtin.vocabulary import HELD_OUT_SET, ICON_SET, STYLE_SAMPLE, STYLES, Pair, all_pairs

TOOLS = Path(__file__).parents[2] / "tools" / "builtin_model"
LUMINANCE = np.array([0.299, 0.587, 0.114])


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))


def disc(inside: int = 200, middle: int = 60) -> np.ndarray:
    """A gray disc on nothing, with a darker one in the middle, (128, 128, 4)."""
    rows, columns = np.mgrid[:128, :128] - 63.5
    radius = np.hypot(rows, columns)
    drawing = np.zeros((128, 128, 4), np.uint8)
    drawing[radius < 56] = (inside, inside, inside, 255)
    drawing[radius < 20] = (middle, middle, middle, 255)
    return drawing


def test_every_style_but_the_first_is_made_of_it_and_keeps_its_shape() -> None:
    from renderings import RENDERINGS

    assert list(STYLES.values()) == ["glossy", *RENDERINGS]
    for style, redrawn in RENDERINGS.items():
        made = redrawn(disc())
        assert made.dtype == np.uint8, style
        assert (made[..., 3] == disc()[..., 3]).all(), style
        assert (made != disc()).any(), style


def test_a_sketch_is_white_with_dark_lines_where_colours_change() -> None:
    from renderings import sketch

    brightness = sketch(disc())[64, :, :3].mean(-1)
    plain, inner_edge, outline = brightness[64 + 38], brightness[64 + 20], brightness[64 + 55]
    assert plain > 240 and brightness[64] > 240
    assert inner_edge < 120 and outline < 120


def test_toned_drawings_keep_light_and_dark() -> None:
    from renderings import gold, jade, porcelain

    for redrawn, hue in ((gold, 0), (porcelain, 2), (jade, 1)):
        made = redrawn(disc())[..., :3].astype(float)
        dark, light = made[64, 64], made[64, 64 + 38]
        assert light @ LUMINANCE > dark @ LUMINANCE + 100
        assert dark.argmax() == hue, "bronze is red first, cobalt blue first, jade green first"


def test_a_drawing_of_one_brightness_stays_plain() -> None:
    from renderings import gold

    made = gold(disc(120, 120))[..., :3]
    assert len(np.unique(made[disc()[..., 3] > 0], axis=0)) == 1


def test_a_negative_of_a_negative_is_the_drawing() -> None:
    from renderings import negative

    assert (negative(negative(disc())) == disc()).all()


def test_an_empty_drawing_is_no_trouble() -> None:
    from renderings import RENDERINGS

    nothing = np.zeros((128, 128, 4), np.uint8)
    assert all((redrawn(nothing)[..., 3] == 0).all() for redrawn in RENDERINGS.values())


def test_the_drawings_that_ship_are_the_renderings_of_the_one_icon_set() -> None:
    from renderings import RENDERINGS, jade

    drawn = atlas()[Pair("red-apple", ICON_SET)]
    opaque = drawn[..., 3] > 250
    toned = {drawing_set: RENDERINGS[style] for drawing_set, style in STYLES.items() if style in RENDERINGS}
    del toned["fluent-emoji-sketch"]  # its lines depend on the size
    for drawing_set, redrawn in (toned | {STYLE_SAMPLE: jade}).items():
        shipped = atlas()[Pair("red-apple", drawing_set)]
        difference = np.abs(redrawn(drawn).astype(int) - shipped)[opaque][:, :3]
        assert difference.mean() < 12, drawing_set


def test_no_sample_is_drawn_as_the_model_was_taught() -> None:
    assert not {HELD_OUT_SET, STYLE_SAMPLE} & set(STYLES)
    assert {pair.drawing_set for pair in all_pairs()} == set(STYLES)
