"""A learning rate: a number, or a schedule of rates as the AUTOMATIC1111 web UI writes it.

`0.05:10, 0.02:20, 0.0005` is 0.05 for updates 1 to 10, 0.02 for 11 to 20, then 0.0005; `-1` as a bound is the end.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetPydanticSchema, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from tetrad.locales import Message, _
from tetrad.settings.field import as_exact_number, as_toml
from tetrad.settings.values import NUMBER, Check, setting_error

SCHEDULE_EXAMPLE = "0.05:10, 0.02:20, 0.0005"
MAX_LEARNING_RATE = 0.1  # of a plain number; a schedule may begin higher
MAX_FACTOR = 1.0  # of a plain number for an optimizer that finds its own rate, of which it is a factor
# A text that is empty, a number, or a schedule; only its last rate may lack a last step, or have -1.
_STEP = r"\s*0*[1-9][0-9]*\s*"
_SCHEDULE = rf"(?:\s*{NUMBER}\s*:{_STEP},[\s,]*)*{NUMBER}\s*(?::(?:{_STEP}|\s*-1\s*))?"
_PATTERN = rf"^(?:|\s*{NUMBER}\s*|(?=[^:]*:)[\s,]*{_SCHEDULE}[\s,]*)$"


@dataclass(frozen=True)
class LearningRate:
    """Consecutive rates, each with the last update it is used for (None: to the end).  Updates count from 1."""

    pieces: tuple[tuple[float, int | None], ...]
    is_single_rate: bool = False  # one number, to which a scheduler applies; to a schedule, `1e-4:-1` too, none does

    def __call__(self, step: int) -> float:
        """The rate of an update; after the last bound, the last rate."""
        return next((rate for rate, bound in self.pieces if bound is None or step <= bound), self.pieces[-1][0])

    def __str__(self) -> str:
        """`0.05:10, 0.02`, as in a recipe; it reads back the same."""
        if not self.is_single_rate and len(self.pieces) == 1 and self.end_step is None:
            return f"{as_exact_number(self.pieces[0][0])}:-1"
        return ", ".join(as_exact_number(rate) + ("" if bound is None else f":{bound}") for rate, bound in self.pieces)

    @property
    def end_step(self) -> int | None:
        """The last bound; None if the last rate is used to the end."""
        return self.pieces[-1][1]

    def multiply(self, factor: float) -> "LearningRate":
        return LearningRate(tuple((rate * factor, bound) for rate, bound in self.pieces), self.is_single_rate)

    def is_zero_from(self, step: int) -> bool:
        """Whether the rate is 0 at this update and at every later one."""
        remaining_rates = [rate for rate, bound in self.pieces if bound is None or step <= bound] or [
            self.pieces[-1][0]
        ]
        return not any(remaining_rates)


def parse_learning_rate(text: str) -> LearningRate:
    """A learning rate from text.

    Raises `setting_error` E3131 if a rate or a step in it is not a number, E3132 if the bounds are not in order.
    """
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise setting_error(
            "E3131",
            _("{setting} is empty; give a number like 1e-4 or a schedule like {example}"),
            example=SCHEDULE_EXAMPLE,
        )
    pieces: list[tuple[float, int | None]] = []
    for number, item in enumerate(items):
        rate, bound = parse_piece(item)
        before = pieces[-1][1] if pieces else 0
        if bound is not None and before is not None and bound <= before:
            raise setting_error(
                "E3132",
                _(
                    "in the schedule '{schedule}' of {setting}, the step in '{piece}' is not greater than the one"
                    " before it; steps are counted from the start of training and must increase"
                ),
                schedule=text,
                piece=item,
            )
        if bound is None and number < len(items) - 1:
            raise setting_error(
                "E3132",
                _(
                    "in the schedule '{schedule}' of {setting}, '{piece}' lasts to the end of training, but another "
                    "rate follows it; give '{piece}' a last step, like 0.05:10"
                ),
                schedule=text,
                piece=item,
            )
        pieces.append((rate, bound))
    return LearningRate(tuple(pieces), is_single_rate=":" not in text)


def parse_piece(item: str) -> tuple[float, int | None]:
    """The numbers of `rate` or `rate:step`; the step is None for the end of training."""
    rate_text, *bounds = (part.strip() for part in item.split(":"))
    if len(bounds) > 1:
        raise setting_error(
            "E3131", _("'{piece}' in {setting} has more than one colon; write rate:step, like 0.05:10"), piece=item
        )
    try:
        rate = float(rate_text)
        bound = int(bounds[0]) if bounds else -1
    except ValueError as error:
        raise make_syntax_error(item) from error
    if not 0 <= rate <= 1:
        raise setting_error("E3131", _("a rate in {setting} must be from 0 to 1; it is {value}"), value=rate_text)
    if bound < 1 and bound != -1:
        raise setting_error(
            "E3132",
            _("the last step in '{piece}' of {setting} must be 1 or more, or -1 for the end; it is {step}"),
            piece=item,
            step=bound,
        )
    return rate, None if bound == -1 else bound


def make_syntax_error(text: object) -> PydanticCustomError:
    return setting_error(
        "E3131",
        _("'{piece}' in {setting} is not a learning rate; give a number like 1e-4 or a schedule like {example}"),
        piece=text,
        example=SCHEDULE_EXAMPLE,
    )


def validate_learning_rate(value: Any) -> LearningRate | None:
    """The value of a setting; None if it is "" or None.  Code E3103 if a plain number is out of range."""
    if value is None or value == "" or isinstance(value, LearningRate):
        return value or None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise make_syntax_error(as_toml(value))
    if ":" in str(value):
        return parse_learning_rate(str(value))
    try:
        rate = float(value)
    except ValueError as error:
        raise make_syntax_error(value) from error
    except OverflowError:  # an integer of more than 308 digits
        rate = float("inf")
    if not 0 <= rate <= MAX_FACTOR:
        raise setting_error(
            "E3103",
            _(
                "{setting} must be at most {highest} and not negative, or at most 1 for an optimizer that finds its"
                " rate, or a schedule like {example}; it is {value}"
            ),
            highest=MAX_LEARNING_RATE,
            example=SCHEDULE_EXAMPLE,
            value=value,
        )
    return LearningRate(((rate, None),), is_single_rate=True)


# The type of a setting: None if it is not given.
OptionalLearningRate = Annotated[
    LearningRate | None,
    GetPydanticSchema(lambda source, handler: core_schema.no_info_plain_validator_function(validate_learning_rate)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": MAX_FACTOR},
                {"type": "string", "pattern": _PATTERN},
                {"type": "null"},
            ]
        }
    ),
]


def is_above_zero(rate: LearningRate | None) -> bool:
    """Whether something is learned; of a schedule, which may begin or end with 0, the run decides."""
    return rate is None or not rate.is_single_rate or not rate.is_zero_from(1)


_ABOVE_ZERO = Message(_("above 0 and at most 0.1, at most 1 for an optimizer that finds its rate, or a schedule"))
ABOVE_ZERO = Check(is_above_zero, _ABOVE_ZERO, {"not": {"const": 0}})
