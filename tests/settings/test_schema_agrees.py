"""The JSON schema and the reader of recipes accept and refuse the same values of every setting."""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args, get_origin

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.settings import Recipe, build_recipe, build_settings, json_schema
from tetrad.settings.field import Setting, settings_of
from tetrad.settings.toml import put
from tetrad.settings.vae_decoder import DecoderRecipe

RECIPE = Draft202012Validator(json_schema(), format_checker=FormatChecker())
DECODER = Draft202012Validator(json_schema(DecoderRecipe), format_checker=FormatChecker())

# Values that the schema accepts although the reader refuses them, and why.
NUMBERS_IN_TEXT = re.compile(r"[-+\d.eE,:\s]+")  # a schema cannot compare the numbers in a text
RATES = ("train.learning_rate", "train.text_encoder_learning_rate", "train.text_encoder_2_learning_rate")
MAY_BE_TEXT = (*RATES, "method.structure", "method.dropout", "method.sizes")
EXCEPTIONS = {
    ("method.structure", "[1, 2]"): "a schema cannot name the last entry of a list",
    ("save.name", repr("猫" * 70)): "a schema counts characters, not bytes",
    **{(rate, repr(value)): "it depends on the optimizer" for rate in RATES for value in (1, 1.0, 0.4, 0.5)},
    **{("save.format", repr(name)): "it depends on the method" for name in ("ldm", "pt", "safetensors")},
    ("train.sharding", repr("full")): "it depends on the method",
}
TEXTS = (
    "",
    "a",
    "nosuch",
    "5",
    "1",
    "0",
    "0.5",
    "true",
    "1,2,1",
    "1, 2, 1",
    "1, 2, 3",
    "1, 65, 1",
    "a, b",
    " ",
    ", ",
    "[",
)
NUMBERS = (0, 1, -1, 2, 16, 0.1, 0.4, 0.5, 1.0, 1.5, 7, 75, 1e-4, 10**9, 2**62, -0.5)
OTHERS = (
    *(
        True,
        False,
        None,
        [],
        [1],
        [1, 2, 1],
        [1, 2],
        [2, 2, 1],
        ["a"],
        ["1"],
        [True],
        [None],
        [0.5],
        [1, 100, 1],
        [[1]],
    ),
    *({}, {"up": 4}, {"up": "4"}, {"up": True}, {"up": 0}, {"up": -1}),
)
# Values that are special to a setting.
SPECIAL: dict[str, tuple[Any, ...]] = {
    "train.learning_rate": (
        *("x", "1e-4", "0.05:10, 0.02", "0.05:20, 0.02:10", "0.05:-1", "0.05:0", ":", "0.1:5,", "1:2:3", "1e-4, 1e-5"),
    ),
    "train.text_encoder_learning_rate": ("x", "1e-4", "0.05:10, 0.02", "0.05:20, 0.02:10", "0.05:x"),
    "train.device": ("cpu", "cuda", "cuda:1", "mps", "cuda:x", "quantum", "CPU"),
    "train.optimizer": ("AdamW8bit", "ADAMW", "Lion", "torch.optim.NAdam", "torch..NAdam", "a.b c", ".a", "a.1", "é.A"),
    "train.optimizer_args": (["d0=1e-6"], "betas=0.9,0.99", ["=1"], ["d0="], ["d0 = 1", "x"], ["1a=2"]),
    "method.activation": ("ReLU", "SWISH", "relu ", "swisch"),
    "sample.sampler": (
        *("euler", "EULER A", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_sde karras", "uni_pc", "UniPC", "dpm_2"),
        *("dpm_2_ancestral", "DDIM Karras", "DPM++ 2M  Karras", " Euler ", "euler align your steps", "eulera"),
        "dpmpp 2s ancestral ays",
    ),
    "data.captions.name_pattern": ("[a-z]+", "(", "*"),
    "data.captions.extension": (".txt", "txt", "..", ".", "/x", ".a/b", "a\\b", "a\0b", ".tags.txt"),
    "save.name": ("a/b", "..", ".hidden", "a\nb", "a\x7fb", "a" * 80, "a" * 81, "水墨 cat, v1.5", "猫" * 70, "a:b"),
    "save.format": ("kohya", "ldm", "pt", "diffusers", "lycoris", "safetensors"),
    "train.crop": (64, 100, 104, 1024),
}


def edge_values(setting: Setting, others: Iterable[Any]) -> Iterator[Any]:
    """Values around the limits and the default of a setting, its choices, those special to it, and others."""
    yield from (*others, *SPECIAL.get(setting.key, ()))
    for limit in setting.limits.values():
        step = 1 if setting.type is int else max(abs(limit) * 1e-3, 1e-6)
        for value in (limit - step, limit, limit + step):
            yield from (value, [value], [1, value, 1], {"up": value})
    for choice in get_args(setting.type):
        if not isinstance(choice, type) and get_origin(choice) is None and choice is not Ellipsis:
            yield from (choice, str(choice).upper(), f"{choice} ")
    yield json.loads(json.dumps(setting.default))


def list_settings() -> Iterator[tuple[Setting, str, str]]:
    """Every setting with its kind of method and a title; no kind for those of a VAE's decoder."""
    for kind, method in METHODS.items():
        for setting in settings_of(method, "method."):
            yield setting, kind, f"{kind} {setting.key}"
    for setting in settings_of(Recipe):
        yield setting, "lora", setting.key
    for setting in settings_of(DecoderRecipe):
        yield setting, "", f"decoder {setting.key}"


def every_setting() -> Iterator[Any]:
    """Every setting; all other values are tried with the first of each type and limits, and a few with the rest."""
    seen = set()
    for setting, kind, title in list_settings():
        rules = (str(setting.type), repr(setting.limits), bool(kind))
        few = (*TEXTS[:5], *NUMBERS[:4], *OTHERS[:5])
        yield pytest.param(setting, kind, few if rules in seen else (*TEXTS, *NUMBERS, *OTHERS), id=title)
        seen.add(rules)


def is_read(values: dict[str, Any], kind: str) -> bool:
    try:
        build_recipe(values) if kind else build_settings(DecoderRecipe, values)
    except TetradError:
        return False
    return True


@pytest.mark.parametrize("setting,kind,others", list(every_setting()))
def test_the_schema_and_the_reader_agree_on_every_value(setting: Setting, kind: str, others: Iterable[Any]) -> None:
    validator = RECIPE if kind else DECODER
    disagreements = []
    for value in edge_values(setting, others):
        values: dict[str, Any] = {"method": {"kind": kind}} if kind else {}
        put(values, setting.key, value)
        is_valid, was_read = validator.is_valid(values), is_read(values, kind)
        if is_valid != was_read and not (is_valid and is_exception(setting.key, value)):
            disagreements.append((value, "only the reader accepts it" if was_read else "only the schema accepts it"))
    assert disagreements == []


def is_exception(key: str, value: Any) -> bool:
    is_text_of_numbers = key in MAY_BE_TEXT and isinstance(value, str) and NUMBERS_IN_TEXT.fullmatch(value) is not None
    return is_text_of_numbers or (key, repr(value)) in EXCEPTIONS


@pytest.mark.parametrize("method", [{}, {"rank": 4}, {"text_encoder": True}, {"vectors": 2}, {"kind": "lokr"}])
def test_they_agree_on_a_method_without_a_kind(method: dict[str, Any]) -> None:
    assert is_read({"method": method}, "lora") == RECIPE.is_valid({"method": method})


@pytest.mark.parametrize("key,reprs", list(EXCEPTIONS))
def test_each_exception_is_still_one(key: str, reprs: str) -> None:
    kind = "hypernetwork" if key.startswith("method.") else "lora"
    values: dict[str, Any] = {"method": {"kind": kind}}
    put(values, key, ast.literal_eval(reprs))
    assert RECIPE.is_valid(values) and not is_read(values, kind)
