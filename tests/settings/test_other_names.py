"""Names of other trainers lead to the setting here."""

import pytest

from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.settings import Recipe, build_recipe
from tetrad.settings.field import settings_of
from tetrad.settings.other_names import _SHORT_NAMES, find_meant_setting

SETTINGS = [(kind, setting) for kind, method in METHODS.items() for setting in (*settings_of(method, "method."),)] + [
    ("lora", setting) for setting in settings_of(Recipe)
]
# Names that other trainers have for two of our settings, and the one that is shown.
SHARED = {
    "class_tokens": "data.trigger_word",
    "stop_text_encoder_training": "train.text_encoder_share",
    "optimizer_args": "train.optimizer_args",
}


@pytest.mark.parametrize("kind,setting", SETTINGS, ids=lambda value: getattr(value, "key", value))
def test_every_name_of_a_setting_leads_to_it(kind: str, setting: object) -> None:
    kohya = [name.split()[0] for name in setting.kohya.split(", ") if name]  # type: ignore[attr-defined]
    flags = [flag for flags in setting.flags for flag in flags.split("/")]  # type: ignore[attr-defined]
    for name in (setting.key, *flags, *kohya):  # type: ignore[attr-defined]
        for spelling in (name, name.replace("_", "-"), f"--{name.lstrip('-')}"):
            meant = find_meant_setting(spelling, Recipe, kind)
            assert meant is not None
            assert meant.setting.key == SHARED.get(name, setting.key)  # type: ignore[attr-defined]


def test_every_short_name_leads_to_a_setting() -> None:
    for short, key in _SHORT_NAMES.items():
        kind = next((kind for kind, each in SETTINGS if each.key == key))
        meant = find_meant_setting(short, Recipe, kind)
        assert meant is not None and meant.setting.key == key, short


@pytest.mark.parametrize(
    "values,words",
    [
        ({"train": {"lr": 1}}, "train.lr does not exist; did you mean train.learning_rate?"),
        ({"resolution": 512}, "resolution does not exist; did you mean data.resolution?"),
        ({"lr": 512}, "lr does not exist; did you mean train.learning_rate?"),
        ({"network": {"dim": 4}}, "network does not exist; did you mean method.rank?"),
        ({"sample": {"learning_rate": 4}}, "did you mean train.learning_rate?"),
        ({"method": {"kind": "dreambooth", "rank": 4}}, "does not have the setting method.rank; method.rank is a"),
        ({"method": {"kind": "lora", "vectors": 4}}, "method.vectors is a setting of textual-inversion"),
        ({"a.b": {"c": 1}}, "must be one of"),
    ],
)
def test_an_unknown_setting_is_answered_with_the_one_that_was_meant(values: dict[str, object], words: str) -> None:
    with pytest.raises(TetradError) as caught:
        build_recipe(values)
    assert caught.value.code == "E3101" and words in caught.value.message
