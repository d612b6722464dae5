"""The check-up on the first page: whether this computer can train, in a line each."""

from typing import Any

from tetrad.locales import Message, _
from tetrad.sizes import format_memory, format_size
from tetrad.web.device import Device

_LITTLE_DISK, _LITTLE_MEMORY = 10e9, 6e9  # bytes; a resume point of SDXL, and what SD 1 needs at least


def check_up(device: Device, disk: int) -> list[dict[str, Any]]:
    """What trains, how much memory it has, and how much space is left on the disk."""
    if device.is_gpu:
        gpu = Message(_("{name} with {size}"), name=device.name, size=format_memory(device.total))
    else:
        gpu = Message(_("No NVIDIA GPU was found: training uses the CPU and is slow."))
    memory = Message(_("{free} of {total} free"), free=format_memory(device.free), total=format_memory(device.total))
    space = Message(_("{size} free"), size=format_size(disk))
    return [
        _line(Message(_("GPU")), gpu, device.is_gpu),
        _line(Message(_("Memory")), memory, device.free >= _LITTLE_MEMORY),
        _line(Message(_("Disk")), space, disk >= _LITTLE_DISK),
    ]


def _line(word: Message, text: Message, is_good: bool) -> dict[str, Any]:
    return {"word": str(word), "text": str(text), "tone": "ok" if is_good else "warn"}
