"""`option` declares one setting: default, range, help, group, kohya's name, flag, and when it matters."""

import dataclasses
import operator
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from decimal import Decimal
from typing import Any, Literal, TypeVar, dataclass_transform, get_args, get_type_hints

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic.fields import FieldInfo

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.settings.values import Check, PlainValue, quote

Group = Literal[
    "model", "data", "captions", "class images", "method", "training", "loss", "memory", "previews", "judging", "saving"
]

# Facts that only a run knows, and why a setting that needs one has no effect when it does not hold. A fact that differs
# between settings is given as the keys of those for which it holds.
FACTS = {
    "changes captions": _("no caption changes with it"),
    "is left open": _("the dataset gives its own value for every image"),
    "uses captions": _("no line of the caption template has [filewords]"),
    "has tags": _("no caption has more than one tag"),
    "changes tags": _("tags are not shuffled, dropped or warmed up"),
    "has captions": _("no image has a caption of its own"),
    "lacks captions": _("every image has a caption of its own"),
    "has choices": _("no caption has alternatives in braces or more than one line"),
    "has separator": _("no caption has this separator"),
    "reaches epoch": _("the run ends before such an epoch"),
    "has class images": _("there are no class images (--num-class-images 100)"),
    "has transparency": _("no image has transparent areas"),
    "uses file names": _("no caption comes from a file name"),
    "trains text encoder": _("no text encoder is trained in this run"),
    "has second text encoder": _("the model has one text encoder"),
    "trains blocks": _("nothing in the blocks of the U-Net is trained"),
    "text encoder learns": _("the learning rate of the text encoders is 0"),
    "text encoder has steps": _("train.text_encoder_share leaves no step for the text encoders"),
    "changes learning rates": _("no learning rate of the run changes with it"),
    "plain learning rate": _("the learning rate is a schedule with its own steps"),
    "saves before the end": _("the run ends before that step"),
    "saves more than it keeps": _("the run saves no more files than that before its end"),
    "fresh start": _("the run continues from a file, which decides this"),
    "continues": _("the run does not continue from a file (--continue-from)"),
    "uses VAE folder": _("the VAE that is trained is not from this folder"),
    "makes previews": _("no previews are generated (sample.every)"),
    "is judged": _("the run is not judged (judge.scores, judge.images, --stop auto)"),
}

Facts = Mapping[str, bool | Collection[str]]


@dataclass(frozen=True)
class Needs:
    """A condition for a setting to have an effect: a value of another setting, or a fact of the run."""

    key: str  # one of FACTS; or a setting, "loss.type"; or a property of a section, "method.trains_convolutions"
    values: tuple[object, ...] = ()  # the values that meet the condition; (): every value but 0, false, "" and None
    because: str = ""  # why the setting has no effect otherwise, if a sentence about `key` and `values` is not enough
    explained_by: tuple["Needs", ...] = ()  # what may be missing where the condition does not hold: a better reason

    def hold(self, recipe: Any, facts: Facts, setting: str) -> bool:
        """Whether the condition of a setting holds in a run of this recipe."""
        found = facts[self.key] if self.key in FACTS else operator.attrgetter(self.key)(recipe)
        if self.key in FACTS and not isinstance(found, bool):
            return setting in found
        return found in self.values if self.values else bool(found)

    def explain(self, recipe: Any, facts: Facts, setting: str) -> Message:
        """Why the setting has no effect in this run, where the condition does not hold."""
        missing = (needs for needs in self.explained_by if not needs.hold(recipe, facts, setting))
        return next(missing, self).reason

    @property
    def reason(self) -> Message:
        """Why the setting has no effect when the condition does not hold."""
        if because := self.because or FACTS.get(self.key):
            return Message(because)
        if not self.values:
            return Message(_("{setting} is not set"), setting=self.key)
        values = " / ".join(as_toml(value) for value in self.values)
        return Message(_("it needs {setting} = {values}"), setting=self.key, values=values)


Settings = TypeVar("Settings")


@dataclass_transform(frozen_default=True, field_specifiers=(Field, dataclasses.field))
def settings_class(section: type[Settings]) -> type[Settings]:
    """A frozen pydantic dataclass that refuses fields it does not have."""
    made: Any = pydantic_dataclass(frozen=True, config=ConfigDict(extra="forbid"))(section)
    return made  # type: ignore[no-any-return]


def replace(settings: Settings, **changes: Any) -> Settings:
    """A copy of the settings with some values changed; it is validated."""
    return dataclasses.replace(settings, **changes)  # type: ignore[type-var]


def option(
    default: Any,
    help: str,
    *,
    group: Group,
    kohya: str = "",
    flag: str = "",
    needs: Needs | tuple[Needs, ...] = (),
    hint: str = "",
    check: Check | None = None,
    **limits: Any,
) -> Any:
    """A setting of a settings class.

    `help` is one sentence; `kohya` the name in kohya's sd-scripts; `flag` the flags of the command line, separated by
    spaces; `needs` the conditions for the setting to have an effect; `hint` a typical value, which errors show.
    `check` is a rule that limits cannot say; `limits` are pydantic's: ge, gt, le, lt.
    """
    conditions = needs if isinstance(needs, tuple) else (needs,)
    texts = {"group": group, "kohya": kohya, "flag": flag, "hint": hint}
    extra: dict[str, Any] = {key: text for key, text in texts.items() if text}
    if conditions:
        extra["matters_when"] = conditions
    start = {"default": default}
    if default == {}:
        start, extra = {"default_factory": dict}, {**extra, "default": {}}
    info = Field(**start, description=help, json_schema_extra=extra, **limits)
    info.metadata += [PlainValue(), *([check] if check else [])]
    return info


@dataclass(frozen=True)
class Setting:
    """Everything `option` says about one setting."""

    key: str  # "train.steps"
    type: Any
    default: Any
    help: str
    group: str
    kohya: str
    flags: tuple[str, ...]
    hint: str
    needs: tuple[Needs, ...]
    limits: Mapping[str, float]  # ge, gt, le, lt; of a list or a table those of each entry

    @property
    def range(self) -> Message | None:
        """The range as a phrase; None if there is none."""
        lowest, highest = self.limits.get("ge", self.limits.get("gt")), self.limits.get("le", self.limits.get("lt"))
        if lowest is None or highest is None:
            return None
        templates = {
            ("ge", "le"): _("from {lowest} to {highest}"),
            ("gt", "le"): _("above {lowest} and at most {highest}"),
            ("ge", "lt"): _("at least {lowest} and below {highest}"),
            ("gt", "lt"): _("above {lowest} and below {highest}"),
        }
        template = templates["ge" if "ge" in self.limits else "gt", "le" if "le" in self.limits else "lt"]
        return Message(template, lowest=as_number(lowest), highest=as_number(highest))


def settings_of(section: Any, prefix: str = "") -> Iterator[Setting]:
    """Every setting of a settings class and of the sections in it.  Fields without help are set only by programs."""
    hints = get_type_hints(section)
    with_limits = get_type_hints(section, include_extras=True)
    infos: Mapping[str, FieldInfo] = section.__pydantic_fields__
    for name, info in infos.items():
        if is_dataclass(hints[name]):
            yield from settings_of(hints[name], f"{prefix}{name}.")
        elif info.description:
            extra = info.json_schema_extra
            assert isinstance(extra, dict)
            conditions: Any = extra.get("matters_when", ())
            yield Setting(
                f"{prefix}{name}",
                hints[name],
                {} if info.default_factory else info.default,
                info.description,
                str(extra["group"]),
                str(extra.get("kohya", "")),
                tuple(str(extra.get("flag", "")).split()),
                str(extra.get("hint", "")),
                conditions,
                {**find_limits(with_limits[name]), **find_limits(info)},
            )


def settings_of_entries(setting: Setting) -> Iterator[Setting]:
    """The settings in the tables that a setting's value is made of, such as `data.folders.repeats`; mostly none."""
    for entry in filter(is_dataclass, get_args(setting.type)):
        if hasattr(entry, "__pydantic_fields__"):
            for each in settings_of(entry, f"{setting.key}."):
                yield each
                yield from settings_of_entries(each)


def find_limits(node: Any) -> dict[str, float]:
    """The limits (ge, gt, le, lt) in a field's metadata or in a type; of a list or a table those of its entries."""
    limits = {key: getattr(node, key) for key in ("ge", "gt", "le", "lt") if getattr(node, key, None) is not None}
    for part in (*getattr(node, "metadata", ()), *get_args(node)):
        limits |= find_limits(part)
    return limits


def section_names(section: Any) -> list[str]:
    """The names of a section's settings and inner sections, without the fields that only programs set."""
    infos: Mapping[str, FieldInfo] = section.__pydantic_fields__
    return [name for name, info in infos.items() if info.description or info.default_factory]


def range_error(key: str, value: object, expected: Message, hint: str = "") -> TetradError:
    """E3103: a setting is not what it must be."""
    values = {"setting": key, "expected": expected, "value": quote(value)}
    if hint:
        template = _("{setting} must be {expected}; it is {value} ({hint})")
        return TetradError("E3103", template, hint=Message(hint), **values)
    return TetradError("E3103", _("{setting} must be {expected}; it is {value}"), **values)


def as_number(value: float) -> str:
    """100000, 0.05 or 1e-5: whole numbers in full, others with at most six digits, small ones as people write them."""
    return as_exact_number(value if value == int(value) else float(f"{value:.6g}"))


def as_exact_number(value: float) -> str:
    """The number as `as_number` writes it, with all its digits, so that it reads back the same."""
    if value == int(value):
        return str(int(value))
    if abs(value) >= 1e-3:
        return repr(value)
    number = Decimal(repr(value)).normalize()
    exponent = number.adjusted()
    return f"{number.scaleb(-exponent):f}e{exponent}"


def as_toml(value: object) -> str:
    """A plain value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
