"""Reading past the page cache: the system copies nothing and needs no memory for data that is read only once."""

import ctypes
import mmap
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

ALIGNMENT = 4096  # of places in the file, lengths and memory; every disk accepts it


def open_direct(path: Path) -> BinaryIO:
    """Open a file to be read past the page cache, in whole blocks of `ALIGNMENT`."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_DIRECT), "rb", buffering=0)


def allocate_aligned(count: int) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    """Memory of at least this many bytes that a file may be read into directly."""
    return np.frombuffer(mmap.mmap(-1, round_up(count)), dtype=np.uint8)


def round_up(count: int) -> int:
    return -(-count // ALIGNMENT) * ALIGNMENT


def is_faster(path: Path) -> bool:
    """Whether a file can be read past the page cache, and less than half of it is in there, from where it is faster."""
    try:
        with open_direct(path) as file:
            found = file.readinto(allocate_aligned(ALIGNMENT).data)  # type: ignore[attr-defined]
            return bool(found) and _cached_share(file.fileno()) < 0.5
    except (AttributeError, OSError, ValueError):  # a system, a disk or a file that it is not possible with
        return False


def _cached_share(file: int) -> float:
    """How much of an open file is in the page cache, from 0 to 1."""
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as content:
        pages = np.empty(-(-len(content) // mmap.PAGESIZE), dtype=np.uint8)
        address = np.frombuffer(content, dtype=np.uint8).ctypes.data  # the array is gone before the file is closed
        found = ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.c_void_p(address), ctypes.c_size_t(len(content)), ctypes.c_void_p(pages.ctypes.data)
        )
    if found:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return float((pages & 1).mean())
