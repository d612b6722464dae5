"""What a setting's value may be: each rule is read by pydantic for recipes, and written into the JSON schema."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, is_dataclass
from datetime import date, time
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

from tetrad.locales import Message, _

NUMBER = r"\+?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"  # of a text, as a regular expression
LIST_OF_NUMBERS = rf"^\s*-?{NUMBER}\s*(?:,\s*-?{NUMBER}\s*)*$"


class PlainValue:
    """The values of a type, as TOML and JSON have them: no text or bool is a number, and a single value is a list.

    pydantic alone would read "5" and true as 5 and 1. A list of numbers may also be the text "1, 2, 1".
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: CoreSchema = refuse_other_types(handler(source))
        if get_origin(source) is not tuple:
            return schema
        entry = get_args(source)[0]
        has_texts = str in (entry, *get_args(entry))
        return core_schema.no_info_before_validator_function(lambda value: as_list(value, has_texts), schema)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        made = handler(schema)
        if made.get("type") != "array":
            return made
        is_number = made["items"].get("type") in ("integer", "number")
        text = [{"type": "string", "pattern": LIST_OF_NUMBERS}] if is_number else []
        return {"anyOf": [made, made["items"], *text]}


def refuse_other_types(schema: Any) -> Any:
    """A pydantic schema in which each number, also in a list or a table, refuses a text and a bool; a bool all else."""
    if isinstance(schema, list):
        return [refuse_other_types(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "bool":
        return {**schema, "strict": True}
    if schema.get("type") not in ("int", "float"):
        return {key: refuse_other_types(item) for key, item in schema.items()}
    error: Literal["int_type", "float_type"] = "int_type" if schema["type"] == "int" else "float_type"

    def refuse(value: Any) -> Any:
        if isinstance(value, bool | str | bytes):
            raise PydanticKnownError(error)
        return value

    return core_schema.no_info_before_validator_function(refuse, schema)


def as_list(value: Any, has_texts: bool) -> Any:
    """A list; a single value is a list of one, and the text "1, 2, 1" one of numbers."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str) and not has_texts:
        return [as_whole_number_or_float(item.strip()) for item in value.split(",")]
    return [value]


def as_whole_number_or_float(text: str) -> int | float | str:
    """The number that a text is; the text itself if it is none, which the check of types then shows."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


@dataclass(frozen=True)
class Check:
    """A rule for a single value: E3103 where it does not hold; `schema` says the same in the terms of JSON Schema."""

    is_valid: Callable[[Any], bool]
    expected: Message  # a phrase that says what the value must be
    schema: Mapping[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), **self.schema}

    def validate(self, value: Any) -> Any:
        if not self.is_valid(value):
            raise wrong_value_error(self.expected, value)
        return value


def zero_or_at_least(lowest: float, expected: Message) -> Check:
    """The rule of a number with 0 for "off" or "not given", and a range that begins far above."""
    return Check(
        lambda value: value == 0 or value >= lowest,
        expected,
        {"not": {"exclusiveMinimum": 0, "exclusiveMaximum": lowest}},
    )


@dataclass(frozen=True)
class AnyCase:
    """A choice in any case, AdamW8bit as well as adamw8bit; the choices themselves are in lower case."""

    choices: Collection[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        known = core_schema.no_info_after_validator_function(self.validate, handler(source))
        return core_schema.no_info_before_validator_function(in_lower_case, known)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "anyOf": [{**handler(schema), "enum": list(self.choices)}, spelled_as(map(match_any_case, self.choices))]
        }

    def validate(self, value: Any) -> Any:
        if value not in self.choices:
            raise wrong_value_error(
                Message(_("one of {choices}"), choices=", ".join(filter(None, self.choices))), value
            )
        return value


def in_lower_case(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def match_any_case(text: str) -> str:
    """A regular expression, of Python and of JSON Schema, that matches the text in any case."""
    return "".join(f"[{each.lower()}{each.upper()}]" if each.isalpha() else match_exactly(each) for each in text)


def match_exactly(character: str) -> str:
    return f"\\{character}" if character in r"\^$.|?*+()[]{}" else character


def spelled_as(patterns: Any) -> dict[str, str]:
    """The JSON schema of a text that one of the regular expressions matches."""
    return {"type": "string", "pattern": f"^(?:{'|'.join(patterns)})$"}


def check_regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise wrong_value_error(Message(_("a regular expression ({reason})"), reason=error), text) from error
    return text


RegularExpression = Annotated[
    str, AfterValidator(check_regular_expression), WithJsonSchema({"type": "string", "format": "regex"})
]


def wrong_value_error(expected: Message, value: object) -> PydanticCustomError:
    """E3103: the setting is not what it must be."""
    template = _("{setting} must be {expected}; it is {value}")
    return setting_error("E3103", template, expected=expected, value=quote(value))


def setting_error(code: str, template: str, **values: Any) -> PydanticCustomError:
    """The error that a validator raises; `toml.as_tetrad_error` makes a TetradError of it, with `{setting}` the key."""
    return PydanticCustomError(code, template, {**values, "template": template})


def quote(value: object) -> str:
    """A value as errors show it: 'text', 5, true, 2020-01-01."""
    if isinstance(value, date | time):  # TOML has both; a datetime is a date
        return value.isoformat()
    if is_dataclass(value):
        return str(value)
    return str(value).lower() if isinstance(value, bool) else repr(value)
