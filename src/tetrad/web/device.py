"""This computer in figures: its graphics card, memory and disk, without loading torch."""

import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tetrad.locales import Message, _
from tetrad.run.heartbeat import read_beat
from tetrad.sizes import format_memory, format_size

_FRESH_SECONDS = 4.0
_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Device:
    """What trains here: a graphics card with its own memory, or the processor with the computer's; in bytes."""

    name: str  # "" for the processor
    total: int
    free: int

    @property
    def is_gpu(self) -> bool:
        return bool(self.name)


class Devices:
    """The first graphics card, asked for at most every few seconds; the processor where there is none."""

    def __init__(self) -> None:
        self._device: Device | None = None
        self._asked = 0.0
        self._has_gpu = shutil.which(_QUERY[0]) is not None
        self._lock = threading.Lock()

    def read_device(self) -> Device:
        with self._lock:
            if self._device is None or time.monotonic() - self._asked > _FRESH_SECONDS:
                self._device = (query_gpu() if self._has_gpu else None) or read_processor()
                self._asked = time.monotonic()
            return self._device


def query_gpu() -> Device | None:
    """The first card that the driver's own program names; None where it cannot."""
    try:
        answer = subprocess.run(_QUERY, capture_output=True, text=True, timeout=5, check=True).stdout
        name, total, free = (part.strip() for part in answer.splitlines()[0].rsplit(",", 2))
        return Device(name.removeprefix("NVIDIA ").removeprefix("GeForce "), int(total) << 20, int(free) << 20)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def read_processor() -> Device:
    memory = psutil.virtual_memory()
    return Device("", memory.total, memory.available)


def free_disk(folder: Path) -> int:
    """The free bytes of the disk that a folder is on, or will be on."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(existing).free


def describe_device(device: Device, disk: int) -> dict[str, object]:
    """The strip in the header."""
    values = {"free": format_memory(device.free), "total": format_memory(device.total)}
    return {
        "name": device.name or str(Message(_("CPU"))),
        "title": str(Message(_("GPU memory") if device.is_gpu else _("Memory"))),
        "used": round(100 * (1 - device.free / max(1, device.total))),
        "free": str(Message(_("memory: {free} of {total} free"), **values)),
        "disk": str(Message(_("disk: {size} free"), size=format_size(disk))),
    }


def memory_of_run(folder: Path) -> dict[str, str] | None:
    """The memory that a run's process uses, with that of the computer's; None for a process that is elsewhere."""
    beat = read_beat(folder)
    try:
        used = psutil.Process(beat.pid).memory_info().rss if beat and beat.is_alive() else 0
    except psutil.Error:
        return None
    total = psutil.virtual_memory().total
    return {"used": format_memory(used), "detail": f"/ {format_memory(total)}"} if used else None
