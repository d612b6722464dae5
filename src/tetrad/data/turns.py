"""Work that several processes do together: each takes the next part that no other one does."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

_WAIT_SECONDS = 0.5
Part = TypeVar("Part")


def take_turns(
    folder: Path,
    parts: Sequence[tuple[str, Part]],
    is_done: Callable[[Part], bool],
    work: Callable[[Part], Iterator[object]],
) -> Iterator[int]:
    """Do each part, given with a name, that is not done yet; yields the number of finished parts, often.

    A part that another process is doing is looked at again in the end, and done where that process was killed: the
    system releases its lock.  Raises OSError where there can be no locks in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting, finished = list(parts), 0
    while waiting:
        taken_by_others = []
        for name, part in waiting:
            lock = FileLock(folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock")
            try:
                with lock.acquire(timeout=0):
                    if not is_done(part):
                        for _result in work(part):
                            yield finished
            except Timeout:
                taken_by_others.append((name, part))
                continue
            finished += 1
            yield finished
        if len(taken_by_others) == len(waiting):
            time.sleep(_WAIT_SECONDS)
            yield finished
        waiting = taken_by_others
