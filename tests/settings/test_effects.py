"""A setting that was given but has no effect is reported with the reason; no other setting is."""

from collections.abc import Mapping
from typing import Any

import pytest

from tetrad.settings import build_recipe
from tetrad.settings.effects import without_effect
from tetrad.settings.field import FACTS
from tetrad.settings.toml import put


def messages_about(values: Mapping[str, Any], *missing: str) -> list[str]:
    """The messages about a recipe in a run where all of FACTS hold except the missing ones."""
    plain: dict[str, Any] = {}
    for key, value in values.items():
        put(plain, key, value)
    facts = {fact: fact not in missing for fact in FACTS}
    return [str(message) for message in without_effect(build_recipe(plain), facts)]


@pytest.mark.parametrize(
    "setting,value,needed,reason",
    [
        ("loss.huber_c", 0.2, {"loss.type": "huber"}, 'it needs loss.type = "huber" / "smooth_l1"'),
        ("loss.huber_c", 0.2, {"loss.type": "smooth_l1"}, 'it needs loss.type = "huber" / "smooth_l1"'),
        ("loss.pyramid_discount", 0.5, {"loss.pyramid_layers": 6}, "loss.pyramid_layers is not set"),
        ("method.conv_alpha", 1.0, {"method.conv_rank": 4}, "no convolutions are trained (method.conv_rank)"),
        (
            "method.conv_alpha",
            1.0,
            {"method.conv_block_ranks": {"mid": 4}},
            "no convolutions are trained (method.conv_rank)",
        ),
        ("sample.negative_prompt", "blur", {"sample.cfg_scale": 7.0}, "guidance is off at sample.cfg_scale = 1"),
    ],
)
def test_a_setting_has_no_effect_unless_the_setting_it_needs_is_set(
    setting: str, value: Any, needed: dict[str, Any], reason: str
) -> None:
    off = {"sample.cfg_scale": 1.0} if setting == "sample.negative_prompt" else {}
    assert messages_about({setting: value} | off) == [f"{setting} has no effect: {reason}"]
    assert messages_about({setting: value} | needed) == []


@pytest.mark.parametrize(
    "fact,values,named",
    [
        ("changes captions", {"data.captions.prefix": "x", "data.captions.suffix": "y"}, ["prefix", "suffix"]),
        ("is left open", {"data.flip": True, "data.repeats": 2}, ["data.repeats", "data.flip"]),
        ("has class images", {"data.class_images.weight": 0.5}, ["data.class_images.weight"]),
        ("has transparency", {"data.alpha_mask": True}, ["data.alpha_mask"]),
        ("trains text encoder", {"train.text_encoder_learning_rate": 1e-5}, ["train.text_encoder_learning_rate"]),
        (
            "saves before the end",
            {"save.every": 5, "save.every_epochs": 1},
            ["save.every has", "save.every_epochs has"],
        ),
        ("saves more than it keeps", {"save.keep_last": 2}, ["save.keep_last"]),
        (
            "changes learning rates",
            {"train.scheduler": "linear", "train.warmup_steps": 5},
            ["train.scheduler", "train.warmup_steps"],
        ),
        ("fresh start", {"method.kind": "textual-inversion", "method.initial_text": "dog"}, ["method.initial_text"]),
        ("makes previews", {"sample.steps": 5, "sample.prompts": ["x"]}, ["sample.prompts", "sample.steps"]),
    ],
)
def test_a_setting_has_no_effect_unless_the_fact_it_needs_holds(
    fact: str, values: dict[str, Any], named: list[str]
) -> None:
    messages = messages_about(values, fact)
    assert len(messages) == len(named)
    for sentence, name in zip(messages, named, strict=True):
        assert name in sentence and sentence.endswith(f" has no effect: {FACTS[fact]}")
    assert messages_about(values) == []


@pytest.mark.parametrize(
    "missing,reason",
    [
        (["has tags"], FACTS["has tags"]),
        (["is left open", "has tags"], FACTS["is left open"]),
        ([], FACTS["changes captions"]),
    ],
)
def test_the_most_specific_reason_is_given(missing: list[str], reason: str) -> None:
    [sentence] = messages_about({"data.captions.shuffle": True}, "changes captions", *missing)
    assert sentence == f"data.captions.shuffle has no effect: {reason}"
    assert messages_about({"data.captions.shuffle": True}, *missing) == []


def test_a_fact_may_hold_for_some_settings_only() -> None:
    recipe = build_recipe({"data": {"captions": {"shuffle": True, "prefix": "x"}}})
    facts = {fact: True for fact in FACTS} | {"changes captions": {"data.captions.prefix"}}
    assert [message.values["setting"] for message in without_effect(recipe, facts)] == ["data.captions.shuffle"]


def test_a_setting_at_its_default_is_not_reported() -> None:
    assert messages_about({}, *FACTS) == []
    assert messages_about({"loss.huber_c": 0.1, "train.scheduler_cycles": 3}, *FACTS) == []
