"""The files that a run saved, each with its step, and the run's plan as plain values.  Nothing here needs torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.documents import read_stored_values
from tetrad.methods import METHODS
from tetrad.methods.artifact import Artifact
from tetrad.run.status import read_log


@dataclass(frozen=True)
class Checkpoint:
    """A file that a run saved, and after which step."""

    step: int
    path: Path

    @property
    def name(self) -> str:
        return self.path.name if self.path.is_dir() else self.path.stem


def list_checkpoints(run: Path) -> list[Checkpoint]:
    """The files of a run that are still there, by step; the result is the last of them."""
    events = run / "events.jsonl"
    records = [record for record in read_log(events) if record.get("event") == "saved"] if events.is_file() else []
    steps = {run / Path(str(record["path"])).name: int(record["step"]) for record in records}
    return [Checkpoint(step, path) for path, step in sorted(steps.items(), key=lambda item: item[1]) if path.exists()]


def read_plan(run: Path) -> dict[str, Any]:
    """The plan of a run.  ValueError where it has none."""
    if plan := read_stored_values(run / "plan.toml"):
        return plan
    raise ValueError("no plan")


def artifact_of(plan: Mapping[str, Any]) -> Artifact:
    return METHODS[plan["method"]["kind"]].artifact
