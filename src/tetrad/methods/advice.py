"""What a method is good for: shown on the command line, by `tetrad recommend` and in the docs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import _

# What people call what they train, by the goal it means: its first name is the goal's own.
GOALS: Mapping[str, tuple[str, ...]] = {
    "face": ("face", "faces", "portrait", "portraits", "人脸"),
    "pet": ("pet", "pets", "animal", "animals", "宠物"),
    "person": ("person", "persons", "people", "character", "characters", "人物"),
    "object": ("object", "objects", "thing", "things", "物件"),
    "style": ("style", "styles", "art style", "画风"),
}
# What the methods are ranked for. Two goals that are trained together have ranks of their own.
STYLED, SEVERAL = "subject and style", "several"
KINDS = ("person", "object", "style", STYLED, SEVERAL)
_KIND_OF_GOAL = {"face": "person", "person": "person", "pet": "object", "object": "object", "style": "style"}
_SEPARATOR = re.compile(r"\s*[*×+&,]\s*|\s+x\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Advice:
    """Strengths and weaknesses of a method; the texts are templates of `locales`."""

    command_help: str
    good_at: str
    bad_at: str
    suits: Mapping[str, int]  # the method's rank for each of KINDS; 1 suits best
    because: Mapping[str, str] = field(default_factory=dict)  # why it suits best, for the kinds where it does
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by kind: settings other than the defaults

    def settings_for(self, goal: "Goal") -> dict[str, Any]:
        """The settings that this goal needs, for a pair those of both."""
        return {key: value for part in goal.parts for key, value in self.settings.get(_KIND_OF_GOAL[part], {}).items()}


@dataclass(frozen=True)
class Goal:
    """What is trained: one of GOALS, or two of them together."""

    parts: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The one of KINDS that the methods are ranked by."""
        if len(self.parts) == 1:
            return _KIND_OF_GOAL[self.parts[0]]
        return STYLED if self.parts.count("style") == 1 else SEVERAL


def parse_goal(text: str) -> Goal:
    """A goal like face, or a pair like person*style.  E3155 for anything else."""
    names = {name: goal for goal, known in GOALS.items() for name in known}
    parts = tuple(names.get(part.lower(), "") for part in _SEPARATOR.split(text.strip()))
    if not all(parts) or len(parts) > 2:
        raise TetradError(
            "E3155",
            _("--goal must be one of {goals}, or a pair of them like person*style; it is '{value}'"),
            goals=", ".join(GOALS),
            value=text,
        )
    return Goal(parts)
