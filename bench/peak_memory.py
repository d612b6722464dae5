"""The most memory that this process has held, on Linux."""

from pathlib import Path


def read_peak() -> float:
    """The most resident memory in MiB since the program was started.

    `ru_maxrss` would be that of the process which has started this one, if it is larger.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
