"""Which devices are busy: with jobs of the queue, and with runs that were started from a terminal."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tetrad.documents import read_stored_values
from tetrad.run.heartbeat import read_beat

AUTO = "auto"


@dataclass(frozen=True)
class BusyDevice:
    """A device that a living process trains on; "auto" where it is not known yet which one."""

    device: str
    run: Path
    pid: int


def overlap(device: str, other: str) -> bool:
    """Whether two jobs on these devices could get in each other's way; "auto" may be any device."""
    return AUTO in (device, other) or _number(device) == _number(other)


def list_busy_devices(runs: Iterable[Path]) -> Iterator[BusyDevice]:
    """The devices of all living runs in these folders of runs, paused ones too, as their memory is in use."""
    for folder in runs:
        for path in folder.glob("*/heartbeat"):
            beat = read_beat(path.parent)
            if beat is not None and beat.is_alive():
                yield BusyDevice(read_device(path.parent), path.parent, beat.pid)


def read_device(run: Path) -> str:
    """The device of a run: that of its plan, or of its recipe before there is a plan."""
    for name in ("plan.toml", "recipe.toml"):
        train = read_stored_values(run / name).get("train", {})
        if isinstance(train, dict) and isinstance(device := train.get("device"), str):
            return device
    return AUTO


def _number(device: str) -> str:
    """`cuda` is `cuda:0`."""
    return device if ":" in device or device == "cpu" else f"{device}:0"
