"""The result of an inspection."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tetrad.locales import Message

Facts = dict[str, Any]  # labels are templates of `locales`, or `FileLabel`; values that are our texts are messages
Metadata = Mapping[str, str]


class FileLabel(str):
    """A label that is in the file itself, which is shown as it stands."""


@dataclass
class Inspection:
    """What a path is, facts about it by label, the file's own metadata, and what is wrong with it.

    The fields' names are the keys of `tetrad inspect --json`.
    """

    path: str
    kind: str  # the type for programs: "lora", "checkpoint", "image", "run", …
    what: Message  # the type for a person: "a LoRA"
    facts: Facts = field(default_factory=dict)
    metadata: Metadata = field(default_factory=dict)
    trouble: list[Message] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)  # tensors with NaN or Inf
