"""The settings of Advanced as the page shows them, made from the recipe's schema: no setting is listed by hand."""

from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any, get_args, get_origin

from tetrad.locales import _, translate
from tetrad.methods import METHODS
from tetrad.settings import Recipe, settings_of
from tetrad.settings.field import Setting, as_number, as_toml
from tetrad.settings.learning_rate import LearningRate

# Settings that the steps before decide, with questions of their own.
ASKED_ELSEWHERE = ("model", "vae", "data.images", "data.folders", "data.trigger_word", "data.class_word", "save.out")
GROUPS: Mapping[str, str] = {
    "model": _("Base model"),
    "data": _("Images"),
    "captions": _("Captions"),
    "class images": _("Class images"),
    "method": _("Method"),
    "training": _("Training"),
    "loss": _("Loss"),
    "memory": _("Memory"),
    "previews": _("Previews"),
    "judging": _("Judging"),
    "saving": _("Saving"),
}


def list_settings(method: str) -> Iterator[Setting]:
    """The settings of a run with this method that Advanced shows, by group."""
    found = [*settings_of(Recipe), *settings_of(METHODS[method], "method.")]
    shown = [setting for setting in found if setting.key not in ASKED_ELSEWHERE]
    return iter(sorted(shown, key=lambda setting: list(GROUPS).index(setting.group)))


def describe_settings(method: str, changed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each setting with its kohya name, range, default, one line of help, and its value where it was changed."""
    return [_describe(setting, changed) for setting in list_settings(method)]


def _describe(setting: Setting, changed: Mapping[str, Any]) -> dict[str, Any]:
    choices = _list_choices(setting)
    return {
        "key": setting.key,
        "group": translate(GROUPS[setting.group]),
        "kohya": setting.kohya,
        "help": translate(setting.help),
        "range": str(setting.range or ""),
        "choices": choices,
        "is_number": not choices and _is_number(setting.type),
        "default": _write(setting.default),
        "value": _write(changed[setting.key]) if setting.key in changed else "",
    }


def _list_choices(setting: Setting) -> list[str]:
    """The values to choose from; none for a setting that is typed."""
    kinds = [kind for kind in get_args(setting.type) if kind is not NoneType] or [setting.type]
    if bool in kinds:
        return ["true", "false"]
    values = [each for kind in kinds for each in (get_args(kind) or [kind])]
    if str in values and len(values) > 1:  # words beside which any text may stand, which only a recipe has
        values.remove(str)
    return [str(each) for each in values if each] if all(isinstance(each, str | int) for each in values) else []


def _is_number(kind: Any) -> bool:
    kinds = set(get_args(kind) or (kind,)) - {NoneType}
    return bool(kinds) and kinds <= {int, float} and get_origin(kind) is not tuple and LearningRate not in kinds


def _write(value: Any) -> str:
    """A value as it can be typed; "" for one that is not given."""
    if value in (None, "", (), {}, []):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return as_number(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    return str(value) if isinstance(value, Mapping | LearningRate) else as_toml(value)


def keep_known(method: str, settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The settings that a method has, and the keys of those that it does not have."""
    known = {setting.key for setting in settings_of(METHODS[method], "method.")}
    lost = [key for key in settings if key.startswith("method.") and key not in known and key != "method.kind"]
    return {key: value for key, value in settings.items() if key not in lost}, lost
