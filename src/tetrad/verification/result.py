"""The results of a verification: findings about the file itself, and a verdict for each program that may read it."""

from dataclasses import dataclass, field
from typing import Any, Literal

from tetrad.errors import TetradError
from tetrad.inspection import Inspection
from tetrad.locales import Message, _, in_english

READERS = ("A1111", "ComfyUI", "diffusers", "kohya")
_TITLES = {"A1111": "A1111, Forge"}  # which reads as A1111 does
_CANNOT = ("no", "differently")


@dataclass(frozen=True)
class Finding:
    """One thing that was checked of a file; `names` are the tensors that it is about."""

    label: str  # a template: "whole", "finite"
    state: Literal["ok", "warn", "bad"]
    found: Message
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Whether a program loads a file, by its own rules.

    `partly`: it ignores some keys. `differently`: it computes something else from them. `no`: it fails, or nothing of
    the file has an effect there.
    """

    reader: str
    outcome: Literal["loads", "partly", "differently", "no"]
    reason: Message
    ignored: tuple[str, ...] = ()

    @property
    def is_usable(self) -> bool:
        return self.outcome not in _CANNOT


@dataclass
class Verification:
    """What was checked of a file, and which programs load it."""

    inspection: Inspection
    findings: list[Finding] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    # Of a LoRA: ‖ΔW‖ / ‖W‖, or without a base model the root mean square of ΔW.
    change_by_layer: dict[str, float] = field(default_factory=dict)

    @property
    def path(self) -> str:
        path: str = self.inspection.path  # the front of `inspection` has no types
        return path

    def verdict_of(self, reader: str) -> Verdict | None:
        """The verdict of a program; None where its rules for this type of file are not known."""
        return next((verdict for verdict in self.verdicts if verdict.reader == reader), None)

    def group_verdicts(self) -> list[tuple[list[str], Verdict]]:
        """Programs with one outcome for one reason, so that it is said once, and the first of their verdicts."""
        groups: dict[tuple[str, Message], list[Verdict]] = {}
        for verdict in self.verdicts:
            groups.setdefault((verdict.outcome, verdict.reason), []).append(verdict)
        return [([_TITLES.get(each.reader, each.reader) for each in group], group[0]) for group in groups.values()]

    def check(self, readers: tuple[str, ...] = ()) -> None:
        """E5481 where the file is damaged, E5482 where one of these programs cannot use it."""
        for finding in self.findings:
            if finding.state == "bad":
                raise TetradError("E5481", _("{path} is damaged: {reason}"), path=self.path, reason=finding.found)
        for reader in readers:
            verdict = self.verdict_of(reader)
            if verdict is None:
                template = _("{path} is {type}; it is not known whether {reader} loads such files")
                raise TetradError("E5482", template, path=self.path, type=self.inspection.what, reader=reader)
            if not verdict.is_usable:
                template = _("{path} cannot be used in {reader}: {reason}")
                raise TetradError("E5482", template, path=self.path, reader=reader, reason=verdict.reason)

    def as_record(self) -> dict[str, Any]:
        """The verification as plain values for programs, in English."""
        return {
            "path": self.path,
            "type": self.inspection.kind,
            "what": in_english(self.inspection.what),
            "facts": in_english(self.inspection.facts),
            "findings": [in_english(vars(each)) for each in self.findings],
            "change_by_layer": self.change_by_layer,
            "readers": {each.reader: _as_record(each) for each in self.verdicts},
        }


def _as_record(verdict: Verdict) -> dict[str, Any]:
    return {
        "loads": verdict.outcome,
        "reason": in_english(verdict.reason),
        "ignored_count": len(verdict.ignored),
        "ignored": list(verdict.ignored),
    }
