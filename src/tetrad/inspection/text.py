"""Show the values of an inspection to a person, in the terminal and on the page."""

from typing import Any

from tetrad.locales import Message, _, translate
from tetrad.sizes import format_size

MAX_VALUE_CHARACTERS = 200  # of a value that is shown to a person


def format_value(label: str, value: Any) -> str:
    """A value for a person: on one line, not too long, without control characters."""
    if label == "bytes":
        return format_byte_count(value)
    if isinstance(value, bool):
        return translate(_("yes")) if value else translate(_("no"))
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        value = ", ".join(f"{name} {number}" for name, number in value.items())
    if isinstance(value, list):
        items = (f"{item:g}" if isinstance(item, float) else str(item) for item in value)
        value = ", ".join(items) or translate(_("none"))
    text = "".join(letter if letter.isprintable() else " " for letter in str(value).replace("\0", ""))
    return text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[: MAX_VALUE_CHARACTERS - 1]}…"


def format_byte_count(byte_count: int) -> str:
    """`12 bytes`, `3.7 MB (3,670,016 bytes)`."""
    return str(describe_byte_count(byte_count))


def describe_byte_count(byte_count: int) -> Message:
    """As `format_byte_count`, for a message that is read in another language later."""
    if byte_count < 1000:
        return Message(_("{count:,} bytes"), count=byte_count)
    return Message(_("{size} ({count:,} bytes)"), size=format_size(byte_count), count=byte_count)
