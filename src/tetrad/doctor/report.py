"""What a check of this computer found, in words, and what to do about it."""

from dataclasses import dataclass
from typing import Any, Literal

from tetrad.locales import Message, in_english

State = Literal["ok", "warn", "bad"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `advice` is a whole sentence where the state is not "ok"."""

    name: str  # stays the same in every language and version, for programs
    label: str  # a template, translated when it is shown
    state: State
    found: Message
    advice: Message | None = None


@dataclass(frozen=True)
class DoctorReport:
    """All checks, in order."""

    checks: tuple[Check, ...]

    @property
    def state(self) -> State:
        """The worst state of all checks."""
        states = {check.state for check in self.checks}
        return "bad" if "bad" in states else "warn" if "warn" in states else "ok"

    def as_record(self) -> dict[str, Any]:
        """The report as plain values for JSON, with sentences in English."""
        checks = [
            {"name": check.name, "state": check.state, "found": in_english(check.found)}
            | ({"advice": in_english(check.advice)} if check.advice else {})
            for check in self.checks
        ]
        return {"state": self.state, "checks": checks}
