"""A recipe is read strictly and written with every setting."""

import tomllib
from collections.abc import Iterator
from datetime import date
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from tetrad.errors import TetradError
from tetrad.methods import METHODS, Lora
from tetrad.settings import Data, Recipe, Sample, Train, build_recipe, dump_recipe, read_values
from tetrad.settings.field import settings_of
from tetrad.settings.toml import assign, build_settings, put
from tetrad.settings.vae_decoder import DecoderRecipe


def refused(values: dict[str, Any]) -> TetradError:
    with pytest.raises(TetradError) as caught:
        build_recipe(values)
    return caught.value


def test_a_written_recipe_reads_back_the_same() -> None:
    recipe = Recipe(
        model="模型.safetensors",
        data=Data(images='a "b"', trigger_word="zkr", flip=True),
        method=Lora(rank=3, alpha=1.5),
        train=Train(learning_rate=3e-5, text_encoder_learning_rate=1e-6),
        sample=Sample(prompts=("one", "two")),
    )
    assert build_recipe(tomllib.loads(dump_recipe(recipe))) == recipe


def test_an_empty_recipe_has_the_defaults() -> None:
    assert build_recipe({}) == Recipe()


@pytest.mark.parametrize(
    "values,code,words",
    [
        ({"train": {"stpes": 3}}, "E3101", "did you mean train.steps?"),
        ({"trian": {}}, "E3101", "did you mean train?"),
        ({"method": {"kind": "lora", "rnk": 4}}, "E3101", "did you mean method.rank?"),
        ({"method": {"kind": "lokr"}}, "E3103", "it is 'lokr'"),
        ({"method": {"kind": ["lora"]}}, "E3103", "it is ['lora']"),
        ({"train": {"learning_rate": "fast"}}, "E3131", "'fast' in train.learning_rate is not a learning rate"),
        ({"train": {"steps": "many"}}, "E3102", "train.steps is 'many'"),
        ({"train": {"steps": date(2020, 1, 1)}}, "E3102", "train.steps is 2020-01-01"),
        ({"train": 3}, "E3102", "train is 3"),
        ({"method": {"rank": 0}}, "E3103", "it is 0"),
        ({"method": {"rank": 9999}}, "E3103", "it is 9999"),
        ({"method": {"dropout": 1.0}}, "E3103", "it is 1.0"),
        ({"train": {"learning_rate": 0}}, "E3103", "a schedule; it is 0"),
        ({"train": {"learning_rate": 1.0}}, "E3103", "it is 1"),
        ({"train": {"learning_rate": float("nan")}}, "E3103", "it is nan"),
        ({"train": {"steps": -1}}, "E3103", "it is -1"),
        ({"data": {"resolution": 8}}, "E3103", "it is 8"),
        ({"save": {"name": "a/b"}}, "E3103", "it is 'a/b'"),
        ({"save": {"name": "../x"}}, "E3103", "it is '../x'"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence(values: dict[str, Any], code: str, words: str) -> None:
    error = refused(values)
    assert error.code == code and error.exit_code == 3
    assert words in error.message and "\n" not in error.message


@pytest.mark.parametrize(
    "settings,setting,expected",
    [
        ({"block_ranks": {"up": 5000}}, "method.block_ranks.up", "from 0 to 1024"),
        ({"block_ranks": {"int": -1}}, "method.block_ranks.int", "from 0 to 1024"),
        ({"block_alphas": {"lora": 0}}, "method.block_alphas.lora", "above 0 and at most 1024"),
    ],
)
def test_a_table_entry_out_of_range_is_named_with_its_range(
    settings: dict[str, Any], setting: str, expected: str
) -> None:
    error = refused({"method": settings})
    assert error.code == "E3103" and error.message.startswith(f"{setting} must be {expected}; it is ")


@pytest.mark.parametrize("prompts", [5, [5], ["a fox", 5]])
def test_a_wrong_entry_of_a_list_is_reported_under_the_settings_name(prompts: Any) -> None:
    error = refused({"sample": {"prompts": prompts}})
    assert error.code == "E3102" and error.sentence.values["setting"] == "sample.prompts"


def numbers() -> Iterator[Any]:
    """Each setting that is a number, a list or a table of numbers, and a bool in its place."""
    for kind, schema in METHODS.items():
        for setting in (*settings_of(Recipe), *settings_of(schema, "method.")):
            if setting.key.startswith("method.") or kind == "lora":
                types = {setting.type, *get_args(setting.type)}
                if types & {int, float}:
                    table = get_origin(setting.type) is dict
                    yield pytest.param(kind, setting.key, {"up": True} if table else True, id=f"{kind} {setting.key}")


@pytest.mark.parametrize("kind,key,value", list(numbers()))
def test_a_bool_is_not_a_number(kind: str, key: str, value: Any) -> None:
    values: dict[str, Any] = {"method": {"kind": kind}}
    put(values, key, value)
    error = refused(values)
    assert error.code == "E3102" and "is true, but it must be a" in error.message


def test_a_bool_is_not_a_learning_rate() -> None:
    assert refused({"train": {"learning_rate": True}}).code == "E3131"


def test_a_list_may_be_given_as_one_value_or_as_text() -> None:
    hypernetwork = {"kind": "hypernetwork", "dropout": 0.3, "sizes": 64, "structure": "1, 1.5,1"}
    recipe = build_recipe({"method": hypernetwork, "sample": {"prompts": "a fox, in snow"}})
    assert vars(recipe.method).items() >= {"dropout": (0.3,), "sizes": (64,), "structure": (1, 1.5, 1)}.items()
    assert recipe.sample.prompts == ("a fox, in snow",)


def test_the_text_encoders_learning_rate_may_be_zero() -> None:
    rate = build_recipe({"train": {"text_encoder_learning_rate": 0}}).train.text_encoder_learning_rate
    assert rate is not None and rate(1) == 0


def test_a_field_that_only_programs_set_is_refused() -> None:
    assert refused({"method": {"kind": "textual-inversion", "trigger_word": "zkr"}}).code == "E3101"


@pytest.mark.parametrize(
    "setting,value",
    [("precision", "fp32"), ("precision", "fp16"), ("optimizer", "prodigy"), ("ema", 0.9), ("processes", 2)],
)
def test_weights_in_bfloat16_refuse_what_does_not_fit_them(setting: str, value: object) -> None:
    method = {"kind": "dreambooth", "bf16_weights": True}
    error = refused({"method": method, "train": {setting: value}})
    assert error.code == "E3140" and f"train.{setting} = {value}" in error.message
    build_recipe({"method": {"kind": "dreambooth"}, "train": {setting: value}})


def test_weights_in_bfloat16_are_computed_with_in_it() -> None:
    method = {"kind": "dreambooth", "bf16_weights": True}
    assert build_recipe({"method": method}).precision == "bf16"
    assert build_recipe({"method": {"kind": "dreambooth"}}).precision == "auto"


def test_fused_backward_refuses_gradient_accumulation() -> None:
    assert refused({"train": {"fused_backward": True, "gradient_accumulation": 2}}).code == "E3133"


def test_steps_and_epochs_cannot_both_be_given() -> None:
    error = refused({"train": {"steps": 100, "epochs": 2.5}})
    assert error.code == "E3136"
    assert "train.steps = 100" in error.message and "train.epochs = 2.5" in error.message
    assert build_recipe({"train": {"epochs": 2.5}}).train.epochs == 2.5


@pytest.mark.parametrize("epochs", [-1, 100_001, float("nan")])
def test_epochs_have_a_range(epochs: float) -> None:
    assert "train.epochs must be from 0 to 100000" in refused({"train": {"epochs": epochs}}).message


@pytest.mark.parametrize("repeats", [0, 10_001])
def test_repeats_have_a_range(repeats: int) -> None:
    assert "data.repeats must be from 1 to 10000" in refused({"data": {"repeats": repeats}}).message


def test_flags_and_set_change_the_same_settings() -> None:
    values: dict[str, Any] = {"train": {"steps": 1}}
    put(values, "train.steps", 2)
    assign(values, "method.rank=8")
    assign(values, "data.trigger_word=zkr")
    assign(values, 'sample.prompts=["a", "b"]')
    recipe = build_recipe(values)
    assert (recipe.train.steps, getattr(recipe.method, "rank", None), recipe.data.trigger_word) == (2, 8, "zkr")
    assert recipe.sample.prompts == ("a", "b")


@pytest.mark.parametrize(
    "assignment,key,value",
    [
        ("data.flip=True", "data.flip", True),
        ("data.flip=False", "data.flip", False),
        ("loss.noise_offset=.05", "loss.noise_offset", 0.05),
        ("data.trigger_word=007", "data.trigger_word", "007"),
    ],
)
def test_set_reads_values_as_people_write_them(assignment: str, key: str, value: object) -> None:
    values: dict[str, Any] = {}
    assign(values, assignment)
    assert attrgetter(key)(build_recipe(values)) == value


@pytest.mark.parametrize("key,text", [("train.steps", "800"), ("data.flip", "yes"), ("loss.noise_offset", "0.1")])
def test_a_text_is_not_a_number_or_a_bool(key: str, text: str) -> None:
    values: dict[str, Any] = {}
    put(values, key, text)
    assert refused(values).code == "E3102"


@pytest.mark.parametrize("assignment", ["train.steps", "=3", "model.name=3"])
def test_a_set_without_a_value_or_a_section_is_refused(assignment: str) -> None:
    with pytest.raises(TetradError):
        assign({"model": "builtin"}, assignment)


def test_a_missing_and_a_broken_file_have_their_own_codes(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("train = [")
    for name, code in (("missing.toml", "E3001"), ("broken.toml", "E3002")):
        with pytest.raises(TetradError) as caught:
            read_values(tmp_path / name)
        assert caught.value.code == code


@pytest.mark.parametrize("schema", [Recipe, DecoderRecipe])
@pytest.mark.parametrize(
    "name", ["../../esc", "a/b", "a\\b", "a\0b", "a\nb", "\x1b[31m", ".hidden", "..", "a" * 81, "猫" * 67, "\ud800"]
)
def test_the_name_of_a_run_is_a_file_name(name: str, schema: type) -> None:
    with pytest.raises(TetradError, match=r"save\.name must be a file name") as caught:
        build_settings(schema, {"save": {"name": name}})
    assert caught.value.code == "E3103"
    build_settings(schema, {"save": {"name": "水墨 cat, v1.5"}})


@pytest.mark.parametrize("name", ["AdamW8bit", "AdamW", "AdaFactor", "Adafactor", "ADAMW", "adamw"])
def test_an_optimizer_may_be_spelled_as_in_kohyas_trainer(name: str) -> None:
    assert build_recipe({"train": {"optimizer": name}}).train.optimizer == name.lower()


def test_the_choices_in_an_error_are_words_to_give() -> None:
    assert refused({"prediction": "w"}).message == "prediction must be one of epsilon, v; it is 'w'"
    assert "adamw, adamw8bit, adafactor" in refused({"train": {"optimizer": "Nadam"}}).message
