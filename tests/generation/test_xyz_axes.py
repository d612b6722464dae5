"""Axes of grids; tests/images/test_contact_sheet.py tests the sheet and the command."""

import pytest

from tetrad.errors import TetradError
from tetrad.generation.request import Request
from tetrad.generation.xyz_axes import Cell, apply_values, parse_axis


def test_search_and_replace_changes_both_prompts() -> None:
    (_same, changed) = parse_axis("prompt sr: red, green").values
    request = apply_values(Cell(Request("a red cat", "red eyes")), changed).request
    assert (request.prompt, request.negative_prompt) == ("a green cat", "green eyes")


def test_a_text_that_spans_the_prompt_and_the_negative_prompt_is_not_found() -> None:
    (value,) = parse_axis("prompt sr: catdog").values
    with pytest.raises(TetradError, match="E3241"):
        apply_values(Cell(Request("a cat", "dog")), value)


@pytest.mark.parametrize("name", ["negative prompt", "negative-prompt", "Negative_Prompt"])
def test_the_negative_prompt_is_an_axis(name: str) -> None:
    values = parse_axis(f"{name}: blurry, grey").values
    assert [apply_values(Cell(Request("a")), value).request.negative_prompt for value in values] == ["blurry", "grey"]
