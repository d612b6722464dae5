"""A recipe is read strictly and written whole."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tetrad import recipe as recipes
from tetrad.cli.train import COMMANDS, SHARED
from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.methods.lora import Lora
from tetrad.recipe import Data, Recipe, Sample, Train
from tetrad.recipe.page import options


def refused(values: dict[str, Any]) -> TetradError:
    with pytest.raises(TetradError) as caught:
        recipes.built(values)
    return caught.value


def test_written_and_read_again_is_the_same() -> None:
    recipe = Recipe(
        model="模型.safetensors",
        data=Data(images='a "b"', word="zkr", flip=True),
        method=Lora(rank=3, alpha=1.5),
        train=Train(learning_rate=3e-5, text_encoder_learning_rate=1e-6),
        sample=Sample(prompts=("one", "two")),
    )
    assert recipes.built(tomllib.loads(recipes.written(recipe))) == recipe


def test_nothing_given_is_the_defaults() -> None:
    assert recipes.built({}) == Recipe()


@pytest.mark.parametrize(
    "values,code,words",
    [
        ({"train": {"stpes": 3}}, "E3101", "did you mean train.steps?"),
        ({"trian": {}}, "E3101", "did you mean train?"),
        ({"method": {"kind": "lora", "rnk": 4}}, "E3101", "did you mean method.rank?"),
        ({"method": {"kind": "lokr"}}, "E3103", "it is 'lokr'"),
        ({"method": {"kind": ["lora"]}}, "E3103", "it is ['lora']"),
        ({"train": {"learning_rate": "fast"}}, "E3103", "it is 'fast'"),
        ({"train": {"steps": "many"}}, "E3102", "train.steps is 'many'"),
        ({"train": 3}, "E3102", "train is 3"),
        ({"method": {"rank": 0}}, "E3103", "not 0"),
        ({"method": {"rank": 9999}}, "E3103", "not 9999"),
        ({"method": {"dropout": 1.0}}, "E3103", "not 1.0"),
        ({"train": {"learning_rate": 0}}, "E3103", "train.learning_rate must be above 0"),
        ({"train": {"learning_rate": 1.0}}, "E3103", "it is 1.0"),
        ({"train": {"learning_rate": float("nan")}}, "E3103", "it is nan"),
        ({"train": {"steps": -1}}, "E3103", "it is -1"),
        ({"data": {"resolution": 8}}, "E3103", "it is 8"),
        ({"save": {"name": "a/b"}}, "E3103", "it is 'a/b'"),
        ({"save": {"name": "../x"}}, "E3103", "it is '../x'"),
    ],
)
def test_what_cannot_be_right_is_one_sentence(values: dict[str, Any], code: str, words: str) -> None:
    error = refused(values)
    assert error.code == code and error.exit_code == 3
    assert words in error.message and "\n" not in error.message


def test_one_value_is_a_list_of_one_and_numbers_may_be_a_text() -> None:
    hypernetwork = {"kind": "hypernetwork", "dropout": 0.3, "sizes": 64, "structure": "1, 1.5,1"}
    recipe = recipes.built({"method": hypernetwork, "sample": {"prompts": "a fox, in snow"}})
    assert vars(recipe.method).items() >= {"dropout": (0.3,), "sizes": (64,), "structure": (1, 1.5, 1)}.items()
    assert recipe.sample.prompts == ("a fox, in snow",)


def test_no_rate_for_the_text_encoder_and_what_only_programs_set() -> None:
    assert recipes.built({"train": {"text_encoder_learning_rate": 0}}).train.text_encoder_learning_rate == 0
    assert refused({"method": {"kind": "textual-inversion", "word": "zkr"}}).code == "E3101"
    assert refused({"train": {"fused_backward": True, "gradient_accumulation": 2}}).code == "E3133"


def test_a_flag_and_set_go_to_the_same_place() -> None:
    values: dict[str, Any] = {"train": {"steps": 1}}
    recipes.put(values, "train.steps", 2)
    recipes.override(values, "method.rank=8")
    recipes.override(values, "data.word=zkr")
    recipes.override(values, 'sample.prompts=["a", "b"]')
    recipe = recipes.built(values)
    assert (recipe.train.steps, getattr(recipe.method, "rank", None), recipe.data.word) == (2, 8, "zkr")
    assert recipe.sample.prompts == ("a", "b")


@pytest.mark.parametrize("assignment", ["train.steps", "=3", "model.name=3"])
def test_a_set_that_says_nothing_is_refused(assignment: str) -> None:
    with pytest.raises(TetradError):
        recipes.override({"model": "builtin"}, assignment)


def test_a_missing_and_a_broken_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("train = [")
    for name, code in (("missing.toml", "E3001"), ("broken.toml", "E3002")):
        with pytest.raises(TetradError) as caught:
            recipes.read(tmp_path / name)
        assert caught.value.code == code


def test_the_command_line_knows_every_method() -> None:
    """It lists them without importing them, so that help needs no torch."""
    assert [told.kind for told in COMMANDS] == list(METHODS)


def test_every_flag_is_short_for_a_setting() -> None:
    for told in COMMANDS:
        settings = {key for key, *_ in options(Recipe)} | {key for key, *_ in options(METHODS[told.kind], "method.")}
        assert {flag.setting for flag in (*SHARED, *told.flags)} <= settings
