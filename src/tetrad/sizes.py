"""Sizes as people read them: GB of 10⁹ bytes for files and disks, as file managers count, and GiB for memory."""

_FILE_UNITS = ("B", "kB", "MB", "GB", "TB")
_MEMORY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def format_size(size: float) -> str:
    """The size of a file, or space on a disk: `2.1 GB`, `84 MB`, `1.5 kB`, `12 B`."""
    return _format(size, 1000, _FILE_UNITS)


def format_memory(size: float) -> str:
    """Memory of the computer or of a GPU: `3.8 GiB`, `790 MiB`."""
    return _format(size, 1024, _MEMORY_UNITS)


def _format(size: float, step: int, units: tuple[str, ...]) -> str:
    """A figure from 10 on needs no decimals."""
    unit = 0
    while size >= step - 0.5 and unit < len(units) - 1:  # 999.6 kB are not 1000 kB, but 1.0 MB
        size, unit = size / step, unit + 1
    return f"{size:.{1 if unit and size < 9.95 else 0}f} {units[unit]}"
