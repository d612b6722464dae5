"""XYZ grids: axes, labels, contact sheets and the `grid` command."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageFont

from tetrad.cli.grid import grid
from tetrad.errors import TetradError
from tetrad.generation import infotext, xyz_axes
from tetrad.generation.request import Request
from tetrad.generation.xyz_axes import Cell, apply_values, parse_axis
from tetrad.images import contact_sheet, fonts, png
from tetrad.images.infotext import parse_infotext
from tetrad.locales import Message

CELL = Cell(Request("a zkr <lora:zkr:0.8> in ink", "grey"))


def cells_of_axis(text: str, cell: Cell = CELL) -> list[Cell]:
    return [apply_values(cell, value) for value in parse_axis(text).values]


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
def test_numbers_and_ranges_have_the_syntax_of_a1111(text: str, steps: list[int]) -> None:
    assert [cell.request.steps for cell in cells_of_axis(text)] == steps


def test_every_axis_changes_its_field() -> None:
    assert [cell.request.cfg_scale for cell in cells_of_axis("cfg_scale: 1-2 (+0.5)")] == [1.0, 1.5, 2.0]
    assert [cell.request.sampler for cell in cells_of_axis("sampler: euler a, DDIM")] == ["Euler a", "DDIM"]
    assert [(cell.request.width, cell.request.height) for cell in cells_of_axis("size: 64x32")] == [(64, 32)]
    assert [cell.model for cell in cells_of_axis('model: a, "b, c"')] == ["a", "b, c"]
    assert [cell.request.prompt for cell in cells_of_axis('prompt: "a, b", c')] == ["a, b", "c"]


def test_network_axes_change_the_prompt() -> None:
    def prompts(text: str, prompt: str = CELL.request.prompt) -> list[str]:
        return [cell.request.prompt for cell in cells_of_axis(text, Cell(Request(prompt)))]

    assert prompts("prompt-sr: in ink, in oil") == [CELL.request.prompt, "a zkr <lora:zkr:0.8> in oil"]
    assert prompts("embedding: zkr-step8, zkr", "a zkr") == ["a zkr-step8", "a zkr"]
    assert prompts("lora: zkr-1, none") == ["a zkr <lora:zkr-1:0.8> in ink", "a zkr  in ink"]
    assert prompts("lora: x, none", "a") == ["a <lora:x:1>", "a"]
    assert prompts("hypernet: x", "a <lora:y:1>") == ["a <lora:y:1> <hypernet:x:1>"]
    assert prompts("strength: 0-1 [3]") == [f"a zkr <lora:zkr:{strength}> in ink" for strength in ("0", "0.5", "1")]
    assert prompts("networks: without, with") == ["a zkr  in ink", CELL.request.prompt]


def test_a_strength_axis_applies_to_the_network_of_another_axis() -> None:
    (strong,), (other,) = parse_axis("strength: 0.3").values, parse_axis("lora: x").values
    cell = Cell(Request("a"))
    assert apply_values(cell, strong, other) == apply_values(cell, other, strong)
    assert apply_values(cell, strong, other).request.prompt == "a <lora:x:0.3>"


@pytest.mark.parametrize(
    "text,words",
    [
        ("stps: 1", "steps"),
        ("steps", "not an axis"),
        ("steps:", "no values"),
        ("steps: ten", "whole number"),
        ("steps: 1-1000", "more than 100 values"),
        ("steps: 1-9 (+0)", "no values"),
        ("size: big", "512x768"),
        ("networks: maybe", "without"),
        ("sampler: Eulr", "Euler"),
    ],
)
def test_an_axis_that_cannot_be_read_is_refused(text: str, words: str) -> None:
    with pytest.raises(TetradError, match=words):
        parse_axis(text)


def expand(*texts: str, request: Request = CELL.request) -> xyz_axes.CellGrid:
    sides = [parse_axis(text) for text in texts] + [xyz_axes.EMPTY_AXIS] * (3 - len(texts))
    return xyz_axes.expand_grid(Cell(request), (sides[0], sides[1], sides[2]), lambda cell: cell)


def test_a_grid_has_a_cell_for_every_combination() -> None:
    cells = expand("seed: 1-3", "steps: 4, 5", "cfg scale: 6, 7")
    assert [len(cells), len(cells[0]), len(cells[0][0])] == [2, 2, 3]
    assert (cells[1][0][2].request.seed, cells[1][0][2].request.steps, cells[1][0][2].request.cfg_scale) == (3, 4, 7)


@pytest.mark.parametrize(
    "texts,code,words",
    [
        (("strength: 0, 1",), "E3241", "has no network"),
        (("seed: 1", "networks: without, with"), "E3241", "has no network"),
        (("size: 64x32, 32x32", "size: 64x64"), "E3241", "two axes"),
        (("prompt-sr: cat, cat",), "E3241", "the same image"),
        (("seed: 1-100", "steps: 1-100"), "E3241", "10000 images"),
        (("denoising: 0.1, 0.2",), "E3206", "--init-image"),
    ],
)
def test_a_grid_without_differences_is_refused(texts: tuple[str, ...], code: str, words: str) -> None:
    def plain(cell: Cell) -> Cell:
        return replace(cell, embeddings=True)

    sides = [parse_axis(text) for text in texts] + [xyz_axes.EMPTY_AXIS] * (3 - len(texts))
    with pytest.raises(TetradError, match=words) as caught:
        xyz_axes.expand_grid(Cell(Request("a cat")), (sides[0], sides[1], sides[2]), plain)
    assert caught.value.code == code


def test_axes_can_be_combined() -> None:
    texts = ("prompt: a; b; Seed: 1, 2", "steps: 3")
    sides = [xyz_axes.combine_axes([parse_axis(each) for each in xyz_axes.split_axes(text)]) for text in texts]
    assert [value.label for value in sides[0].values] == ["a; b, seed 1", "a; b, seed 2"]
    ((row,),) = xyz_axes.expand_grid(CELL, (sides[0], sides[1], xyz_axes.EMPTY_AXIS), lambda cell: cell)
    settings = [(cell.request.prompt, cell.request.seed, cell.request.steps) for cell in row]
    assert settings == [("a; b", 1, 3), ("a; b", 2, 3)]
    with pytest.raises(TetradError, match='two axes of this grid are "seed"'):
        xyz_axes.expand_grid(CELL, (sides[0], parse_axis("seed: 4, 5"), xyz_axes.EMPTY_AXIS), lambda cell: cell)


def test_without_networks_embedding_names_are_plain_text() -> None:
    assert [cell.embeddings for cell in cells_of_axis("networks: without, with")] == [False, True]


def test_a_strength_axis_has_no_effect_without_a_network() -> None:
    cells = expand("lora: x, none", "strength: 0.3, 1", request=Request("a"))
    assert [[cell.request.prompt for cell in row] for row in cells[0]] == [
        ["a <lora:x:0.3>", "a"],
        ["a <lora:x:1>", "a"],
    ]


def test_what_is_looked_for_must_be_in_the_prompt() -> None:
    with pytest.raises(TetradError, match="is in neither"):
        cells_of_axis("prompt-sr: cat, dog")


def test_text_is_wrapped_to_the_width_and_cut_at_the_last_line() -> None:
    font = ImageFont.load_default(16)
    lines = contact_sheet.wrap_text(
        "a photo of a cat, on a very green background, averyverylongwordwithoutanyend", font, 90, 9
    )
    assert all(font.getlength(line) <= 90 for line in lines)
    assert "".join(lines).replace(" ", "") == "aphotoofacat,onaverygreenbackground,averyverylongwordwithoutanyend"
    two_lines = contact_sheet.wrap_text("a photo of a cat, on a very green background", font, 90, 2)
    assert len(two_lines) == 2 and two_lines[1].endswith("…") and font.getlength(two_lines[1]) <= 90


def test_letters_that_no_font_has_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "find_cjk_font", lambda: None)
    assert fonts.replace_missing_letters("a 猫, naïve Übung × “x”") == "a , naive Ubung x “x”"
    monkeypatch.setattr(fonts, "find_cjk_font", lambda: "some.ttc")
    assert fonts.replace_missing_letters("a 猫") == "a 猫"


def test_without_a_font_labels_are_in_english_and_the_sheet_says_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TETRAD_LANG", "zh_CN")
    monkeypatch.setattr(fonts, "find_cjk_font", lambda: None)
    assert fonts.label_text(Message("step {step}", step=100)) == "step 100"
    drawn: list[str] = []
    monkeypatch.setattr(
        contact_sheet.ImageDraw.ImageDraw, "text", lambda self, position, text, **_options: drawn.append(text)
    )
    cell = Image.new("RGB", (64, 64))
    contact_sheet.make_contact_sheet([[cell]], ["水墨风, a cat"], ["猫"], "title")
    assert not any("?" in text for text in drawn) and any("no installed font" in text for text in drawn)
    drawn.clear()
    contact_sheet.make_contact_sheet([[cell]], ["naïve"], ["a cat"], "title")
    assert not any("no installed font" in text for text in drawn)


def test_pillows_own_font_has_all_letters_that_it_is_used_for() -> None:
    """Missing letters are rendered as a box, as a Chinese letter is."""
    font = fonts.ImageFont.load_default(20)

    def render(letter: str) -> tuple[tuple[int, int], bytes]:
        mask = font.getmask(letter)
        return mask.size, bytes(mask)

    every = [chr(code) for code in range(33, 127)] + list(fonts.DEFAULT_FONT_SIGNS)
    assert not [letter for letter in every if fonts.needs_cjk_font(letter) or render(letter) == render("猫")]


def test_chinese_text_may_break_between_all_characters_but_not_before_a_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "find_cjk_font", lambda: "some.ttc")
    font = ImageFont.load_default(16)
    width = int(font.getlength("一二三"))
    assert contact_sheet.wrap_text("一二三，四五六", font, width, 9) == ["一二", "三，四", "五六"]


def test_the_sheet_grows_with_long_labels_and_tall_images() -> None:
    tall = [[Image.new("RGB", (64, 128), "red")]]
    short, long = (
        contact_sheet.make_contact_sheet(tall, ["row"], [label], "title", 96) for label in ("a", "a b c d e f g " * 9)
    )
    assert short.height == contact_sheet.HEADER_HEIGHT + 192 + 2 * contact_sheet.GAP
    assert long.height == short.height + 2 * contact_sheet.LINE_HEIGHT
    assert short.getpixel((contact_sheet.LABEL_WIDTH + 48, contact_sheet.HEADER_HEIGHT + 190)) == (255, 0, 0)


def test_the_command_draws_every_crossing(tmp_path: Path) -> None:
    small = {"width": 32, "height": 32, "steps": 1, "cell_width": 64}
    grid("a red apple", x="seed: 1-3", y="prompt-sr: red, green", z="steps: 1, 2", out=tmp_path / "g.png", **small)
    sheet = Image.open(tmp_path / "g.png")
    assert sheet.width == contact_sheet.LABEL_WIDTH + 3 * (64 + contact_sheet.GAP) + contact_sheet.GAP
    assert sheet.height == 2 * (contact_sheet.HEADER_HEIGHT + 2 * (64 + contact_sheet.GAP) + contact_sheet.GAP)
    seen = {
        sheet.crop((x, y, x + 64, y + 64)).tobytes()
        for x in (contact_sheet.LABEL_WIDTH + n * (64 + contact_sheet.GAP) for n in range(3))
        for level in range(2)
        for y in (
            level * sheet.height // 2 + contact_sheet.HEADER_HEIGHT + n * (64 + contact_sheet.GAP) for n in range(2)
        )
    }
    assert len(seen) == 12
    said = parse_infotext(png.read_infotext(tmp_path / "g.png"))
    assert infotext.to_request(said) == Request("a red apple", seed=1, steps=1, width=32, height=32)
    assert said.parameters["X Type"] == "seed" and said.parameters["Y Values"] == "red, green"


def test_all_axes_are_told_of() -> None:
    page = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text("utf-8")
    assert [name for name in xyz_axes.AXES if f"`{name}`" not in page] == []
