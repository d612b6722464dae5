"""Previews speak the captions' own language, and each shows one thing."""

from pathlib import Path

import pytest

from tetrad.generation.grammar import read
from tetrad.previews import Previews, chosen, label
from tetrad.recipe import Data, Recipe, Sample
from tetrad.recipe.schema import Words
from tetrad.training.folder import RunFolder

THING = ("a zkr, on a white background", "a zkr, on a red background")
STYLE = ("a red apple, zkr style, on a blue background", "a cat, zkr style, on a red background")


@pytest.mark.parametrize(
    "captions,class_word,prompts",
    [
        (
            THING,
            "",
            {
                "a caption of yours": THING[0],
                "somewhere new": "a zkr, on a green background",
                "without the word": "a cat, on a white background",
                "sanity: in no picture": "a green zkr, on a white background",
            },
        ),
        (
            STYLE,
            "",
            {
                "a caption of yours": STYLE[0],
                "somewhere new": "a red apple, zkr style, on a green background",
                "without the word": "a red apple, on a blue background",
                "sanity: in no picture": "a snail, zkr style, on a blue background",
            },
        ),
        (
            ("a photo of zkr woman",),
            "woman",
            {
                "a caption of yours": "a photo of zkr woman",
                "somewhere new": "a photo of zkr woman on a beach",
                "without the word": "a photo of a woman",
                "sanity: in no picture": "a photo of zkr woman with red hair",
            },
        ),
        (
            ("zkr dog, sitting on a sofa, indoors",),
            "dog",
            {
                "a caption of yours": "zkr dog, sitting on a sofa, indoors",
                "somewhere new": "a photo of zkr dog on a beach",
                "without the word": "a dog, sitting on a sofa, indoors",
                "sanity: in no picture": "red zkr dog, sitting on a sofa, indoors",
            },
        ),
    ],
)
def test_prompts_are_made_of_the_captions(captions: tuple[str, ...], class_word: str, prompts: dict[str, str]) -> None:
    data = Data(word="zkr", class_word=class_word)
    sample = chosen(Sample(), data, captions)
    recipe = Recipe(data=data, sample=sample)
    assert {label(prompt, recipe, captions): prompt for prompt in (*sample.prompts, *sample.sanity)} == prompts


def test_a_persons_own_prompts_are_drawn_and_no_others() -> None:
    sample = chosen(Sample(prompts=("one",), sanity=("zkr in the snow",)), Data(word="zkr"), THING)
    assert sample.prompts == ("one",) and sample.sanity == ("zkr in the snow",)


def test_a_preview_says_how_its_words_were_read(tmp_path: Path) -> None:
    recipe = Recipe(data=Data(word="zkr"), text=Words(clip_skip=2), sample=chosen(Sample(), Data(word="zkr"), THING))
    assert Previews(recipe, THING, RunFolder(tmp_path, "zkr")).request("a zkr").clip_skip == 2


def test_without_a_word_nothing_can_be_insane() -> None:
    assert chosen(Sample(), Data(), ("a cat",)).sanity == ()


@pytest.mark.parametrize(
    "caption", ["zkr (cartoon), ((red)), on a sofa", "zkr, [a:b:0.5], on [x|y]", r"zkr, miku \(v\), a\b"]
)
def test_the_brackets_of_a_caption_are_no_grammar_in_its_preview(caption: str) -> None:
    """They are learned as they stand, so they are drawn as they stand."""
    sample = chosen(Sample(), Data(word="zkr", class_word="toy"), (caption,))
    ((own,),) = {part.texts for part in read(sample.prompts[0], 1)}
    assert "".join(piece.text for piece in own) == caption and {piece.weight for piece in own} == {1.0}
    assert label(sample.prompts[0], Recipe(data=Data(word="zkr")), (caption,)) == "a caption of yours"
