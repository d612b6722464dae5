"""The optimizers that are known by name, what is true of each, and the arguments that a recipe gives them."""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from tetrad.locales import Message, _
from tetrad.settings.values import match_any_case, spelled_as, wrong_value_error

OptimizerName = Literal[
    "adamw",
    "adamw8bit",
    "adafactor",
    "lion",
    "came",
    "prodigy",
    "dadaptadam",
    "adamwschedulefree",
    "prodigyplusschedulefree",
]
_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
CLASS_PATTERN = rf"^{_WORD}(?:\.{_WORD})+$"
ARGUMENT_PATTERN = rf"^\s*{_WORD}\s*=\s*\S"


@dataclass(frozen=True)
class OptimizerFacts:
    """What is true of an optimizer."""

    path: str  # of its class
    extra: str = ""  # Tetrad's extra that installs its package
    arguments: Mapping[str, Any] = field(default_factory=dict)  # where its own defaults do not suit
    finds_rate: bool = False  # it finds the learning rate itself, and the given one is a factor of it
    has_one_rate: bool = False  # all parts that are trained share one learning rate
    is_schedule_free: bool = False  # it averages the weights instead of lowering the learning rate
    updates_tensors_alone: bool = False  # each tensor can be updated without the others, as a fused backward does
    floats: float = 2.0  # numbers of its state for each parameter, in float32


OPTIMIZERS: Mapping[str, OptimizerFacts] = {
    "adamw": OptimizerFacts("torch.optim.adamw.AdamW", updates_tensors_alone=True),
    "adamw8bit": OptimizerFacts("bitsandbytes.optim.adamw.AdamW8bit", "bnb", updates_tensors_alone=True),
    # Its own rates by step and parameter size are off, as in other trainers, so that the given ones count.
    "adafactor": OptimizerFacts(
        "transformers.optimization.Adafactor",
        arguments={"scale_parameter": False, "relative_step": False, "warmup_init": False},
        updates_tensors_alone=True,
    ),
    "lion": OptimizerFacts("pytorch_optimizer.Lion", "optimizers", floats=1),
    "came": OptimizerFacts("pytorch_optimizer.CAME", "optimizers"),
    "prodigy": OptimizerFacts("prodigyopt.Prodigy", "optimizers", finds_rate=True, has_one_rate=True, floats=4),
    "dadaptadam": OptimizerFacts(
        "pytorch_optimizer.DAdaptAdam",
        "optimizers",
        {"weight_decouple": True},
        finds_rate=True,
        has_one_rate=True,
        floats=3,
    ),
    "adamwschedulefree": OptimizerFacts("schedulefree.AdamWScheduleFree", "optimizers", is_schedule_free=True),
    "prodigyplusschedulefree": OptimizerFacts(
        "prodigyplus.ProdigyPlusScheduleFree", "optimizers", finds_rate=True, is_schedule_free=True
    ),
}


def get_facts(optimizer: str) -> OptimizerFacts:
    """The facts of an optimizer by name; of a class `module.Class` only its path is known."""
    return OPTIMIZERS.get(optimizer) or OptimizerFacts(optimizer, floats=4)


def parse_argument(text: str) -> tuple[str, Any]:
    """`betas=0.9, 0.99` as its name and its value: a number, a tuple, True, False, None, or else text."""
    name, _equals, value = text.partition("=")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return name.strip(), value.strip()


def parse_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """The arguments of an optimizer by name; the last of several with the same name counts."""
    return dict(map(parse_argument, texts))


@dataclass(frozen=True)
class NameOrClass:
    """One of the names in any case, or the path of a class, `module.Class`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        names: dict[str, Any] = {"type": "string", "enum": list(OPTIMIZERS)}
        in_any_case = spelled_as(map(match_any_case, OPTIMIZERS))
        return {"anyOf": [names, in_any_case, {"type": "string", "pattern": CLASS_PATTERN}]}

    def validate(self, value: Any) -> str:
        if isinstance(value, str):
            if value.lower() in OPTIMIZERS:
                return value.lower()
            if re.fullmatch(CLASS_PATTERN, value):
                return value
        names = ", ".join(OPTIMIZERS)
        raise wrong_value_error(Message(_("one of {choices}, or a class like module.Class"), choices=names), value)


def check_argument(text: str) -> str:
    if not re.match(ARGUMENT_PATTERN, text):
        raise wrong_value_error(Message(_("a list of name=value, like d_coef=2.0 or betas=0.9,0.99")), text)
    return text


Argument = Annotated[
    str, AfterValidator(check_argument), WithJsonSchema({"type": "string", "pattern": ARGUMENT_PATTERN})
]
