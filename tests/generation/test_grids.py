"""Grids: their axes, their labels, the command."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageFont

from tetrad.cli.grid import grid
from tetrad.errors import TetradError
from tetrad.generation import axes, grids, infotext, letters, png
from tetrad.generation.axes import Cell, axis, crossed
from tetrad.generation.request import Request

CELL = Cell(Request("a zkr <lora:zkr:0.8> in ink", "grey"))


def along(text: str, cell: Cell = CELL) -> list[Cell]:
    return [crossed(cell, value) for value in axis(text).values]


@pytest.mark.parametrize(
    "text,steps",
    [
        ("steps: 10, 20,30", [10, 20, 30]),
        ("Steps: 1-4", [1, 2, 3, 4]),
        ("steps: 10-30 (+10)", [10, 20, 30]),
        ("steps: 30-10 (-10)", [30, 20, 10]),
        ("steps: 10-30 [5]", [10, 15, 20, 25, 30]),
    ],
)
def test_numbers_are_written_as_a1111_writes_them(text: str, steps: list[int]) -> None:
    assert [cell.request.steps for cell in along(text)] == steps


def test_every_axis_changes_what_it_names() -> None:
    assert [cell.request.cfg_scale for cell in along("cfg_scale: 1-2 (+0.5)")] == [1.0, 1.5, 2.0]
    assert [cell.request.sampler for cell in along("sampler: euler a, DDIM")] == ["Euler a", "DDIM"]
    assert [(cell.request.width, cell.request.height) for cell in along("size: 64x32")] == [(64, 32)]
    assert [cell.model for cell in along('model: a, "b, c"')] == ["a", "b, c"]
    assert [cell.request.prompt for cell in along('prompt: "a, b", c')] == ["a, b", "c"]


def test_networks_change_within_the_prompt() -> None:
    def prompts(text: str, prompt: str = CELL.request.prompt) -> list[str]:
        return [cell.request.prompt for cell in along(text, Cell(Request(prompt)))]

    assert prompts("prompt-sr: in ink, in oil") == [CELL.request.prompt, "a zkr <lora:zkr:0.8> in oil"]
    assert prompts("embedding: zkr-step8, zkr", "a zkr") == ["a zkr-step8", "a zkr"]
    assert prompts("lora: zkr-1, none") == ["a zkr <lora:zkr-1:0.8> in ink", "a zkr  in ink"]
    assert prompts("lora: x, none", "a") == ["a <lora:x:1>", "a"]
    assert prompts("hypernet: x", "a <lora:y:1>") == ["a <lora:y:1> <hypernet:x:1>"]
    assert prompts("strength: 0-1 [3]") == [f"a zkr <lora:zkr:{strength}> in ink" for strength in ("0", "0.5", "1")]
    assert prompts("networks: without, with") == ["a zkr  in ink", CELL.request.prompt]


def test_a_strength_is_for_the_network_that_another_axis_names() -> None:
    (strong,), (other,) = axis("strength: 0.3").values, axis("lora: x").values
    cell = Cell(Request("a"))
    assert crossed(cell, strong, other) == crossed(cell, other, strong)
    assert crossed(cell, strong, other).request.prompt == "a <lora:x:0.3>"


@pytest.mark.parametrize(
    "text,words",
    [
        ("stps: 1", "steps"),
        ("steps", "no axis"),
        ("steps:", "no values"),
        ("steps: ten", "whole number"),
        ("steps: 1-1000", "100 are the most"),
        ("steps: 1-9 (+0)", "no values"),
        ("size: big", "512x768"),
        ("networks: maybe", "without"),
        ("sampler: Eulr", "Euler"),
    ],
)
def test_an_axis_that_cannot_be_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(TetradError, match=words):
        axis(text)


def crossed_by(*texts: str, request: Request = CELL.request) -> axes.Cells:
    sides = [axis(text) for text in texts] + [axes.NOTHING] * (3 - len(texts))
    return axes.crossings(Cell(request), (sides[0], sides[1], sides[2]), lambda cell: cell)


def test_a_grid_has_a_picture_for_every_crossing() -> None:
    cells = crossed_by("seed: 1-3", "steps: 4, 5", "cfg scale: 6, 7")
    assert [len(cells), len(cells[0]), len(cells[0][0])] == [2, 2, 3]
    assert (cells[1][0][2].request.seed, cells[1][0][2].request.steps, cells[1][0][2].request.cfg_scale) == (3, 4, 7)


@pytest.mark.parametrize(
    "texts,code,words",
    [
        (("strength: 0, 1",), "E3241", "names no network"),
        (("seed: 1", "networks: without, with"), "E3241", "names no network"),
        (("size: 64x32, 32x32", "size: 64x64"), "E3241", "two axes"),
        (("prompt-sr: cat, cat",), "E3241", "come to the same"),
        (("seed: 1-100", "steps: 1-100"), "E3241", "10000 pictures"),
        (("denoising: 0.1, 0.2",), "E3206", "--image"),
    ],
)
def test_a_grid_that_would_show_nothing_is_refused(texts: tuple[str, ...], code: str, words: str) -> None:
    def plain(cell: Cell) -> Cell:
        return replace(cell, embeddings=True)

    sides = [axis(text) for text in texts] + [axes.NOTHING] * (3 - len(texts))
    with pytest.raises(TetradError, match=words) as caught:
        axes.crossings(Cell(Request("a cat")), (sides[0], sides[1], sides[2]), plain)
    assert caught.value.code == code


def test_a_side_may_have_several_axes() -> None:
    texts = ("prompt: a; b; Seed: 1, 2", "steps: 3")
    sides = [axes.together([axis(each) for each in axes.parted(text)]) for text in texts]
    assert [value.words for value in sides[0].values] == ["a; b, seed 1", "a; b, seed 2"]
    ((row,),) = axes.crossings(CELL, (sides[0], sides[1], axes.NOTHING), lambda cell: cell)
    drawn = [(cell.request.prompt, cell.request.seed, cell.request.steps) for cell in row]
    assert drawn == [("a; b", 1, 3), ("a; b", 2, 3)]
    with pytest.raises(TetradError, match='two axes of this grid are "seed"'):
        axes.crossings(CELL, (sides[0], axis("seed: 4, 5"), axes.NOTHING), lambda cell: cell)


def test_without_networks_an_embeddings_name_is_mere_words() -> None:
    assert [cell.embeddings for cell in along("networks: without, with")] == [False, True]


def test_a_strength_changes_what_another_axis_names_and_none_has_none() -> None:
    cells = crossed_by("lora: x, none", "strength: 0.3, 1", request=Request("a"))
    assert [[cell.request.prompt for cell in row] for row in cells[0]] == [
        ["a <lora:x:0.3>", "a"],
        ["a <lora:x:1>", "a"],
    ]


def test_what_is_looked_for_must_be_in_the_prompt() -> None:
    with pytest.raises(TetradError, match="in neither prompt"):
        along("prompt-sr: cat, dog")


def test_words_are_broken_into_lines_that_fit_and_cut_where_there_is_no_room() -> None:
    by = ImageFont.load_default(16)
    lines = grids.broken("a photo of a cat, on a very green background, averyverylongwordwithoutanyend", by, 90, 9)
    assert all(by.getlength(line) <= 90 for line in lines)
    assert "".join(lines).replace(" ", "") == "aphotoofacat,onaverygreenbackground,averyverylongwordwithoutanyend"
    short = grids.broken("a photo of a cat, on a very green background", by, 90, 2)
    assert len(short) == 2 and short[1].endswith("…") and by.getlength(short[1]) <= 90


def test_letters_that_no_font_has_are_question_marks_and_not_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "wide", lambda: None)
    assert letters.readable("a 猫, naïve Übung × “x”") == "a ?, naive Ubung x “x”"
    monkeypatch.setattr(letters, "wide", lambda: "some.ttc")
    assert letters.readable("a 猫") == "a 猫"


def test_pillows_own_font_has_the_letters_that_are_left_to_it() -> None:
    """A letter that it lacks is drawn as the box that a Chinese one is."""
    own = letters.ImageFont.load_default(20)

    def drawn(letter: str) -> tuple[tuple[int, int], bytes]:
        mask = own.getmask(letter)
        return mask.size, bytes(mask)

    every = [chr(code) for code in range(33, 127)] + list(letters.SIGNS)
    assert not [letter for letter in every if letters.is_foreign(letter) or drawn(letter) == drawn("猫")]


def test_chinese_breaks_between_letters() -> None:
    assert list(grids.split("a cat 一只猫 x")) == ["a ", "cat ", "一", "只", "猫", " ", "x"]


def test_the_sheet_grows_with_its_words_and_with_tall_pictures() -> None:
    tall = [[Image.new("RGB", (64, 128), "red")]]
    few, many = (grids.sheet(tall, ["row"], [words], "title", 96) for words in ("a", "a b c d e f g " * 9))
    assert few.height == grids.HEAD + 192 + 2 * grids.GAP
    assert many.height == few.height + 2 * grids.LINE
    assert few.getpixel((grids.MARGIN + 48, grids.HEAD + 190)) == (255, 0, 0)


def test_the_command_draws_every_crossing(tmp_path: Path) -> None:
    small = {"width": 32, "height": 32, "steps": 1, "cell": 64}
    grid("a red apple", x="seed: 1-3", y="prompt-sr: red, green", z="steps: 1, 2", out=tmp_path / "g.png", **small)
    sheet = Image.open(tmp_path / "g.png")
    assert sheet.width == grids.MARGIN + 3 * (64 + grids.GAP) + grids.GAP
    assert sheet.height == 2 * (grids.HEAD + 2 * (64 + grids.GAP) + grids.GAP)
    seen = {
        sheet.crop((x, y, x + 64, y + 64)).tobytes()
        for x in (grids.MARGIN + n * (64 + grids.GAP) for n in range(3))
        for level in range(2)
        for y in (level * sheet.height // 2 + grids.HEAD + n * (64 + grids.GAP) for n in range(2))
    }
    assert len(seen) == 12
    said = infotext.read(png.parameters(tmp_path / "g.png"))
    assert infotext.request(said) == Request("a red apple", seed=1, steps=1, width=32, height=32)
    assert said.facts["X Type"] == "seed" and said.facts["Y Values"] == "red, green"


def test_all_axes_are_told_of() -> None:
    page = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text("utf-8")
    assert [name for name in axes.AXES if f"`{name}`" not in page] == []
