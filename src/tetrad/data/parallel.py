"""Work ahead on many files in several threads, and give the results in order."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import islice
from typing import TypeVar

_MAX_THREADS = 8  # Pillow and hashlib let other threads run meanwhile, so that no processes are needed
_AHEAD = 2  # results that may wait for each thread
Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map` in threads: same results, same order, and an exception is raised where its result would be.

    Whoever stops iterating waits only for what is being worked on.
    """
    threads = min(_MAX_THREADS, count_usable_cores())
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(work, item) for item in islice(remaining, _AHEAD * threads))
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(work, item) for item in islice(remaining, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def call_once(compute: Callable[[], Result]) -> Callable[[], Result]:
    """A function that computes the result when a thread first asks for it, while others wait."""
    lock, cached = threading.Lock(), cache(compute)

    def get() -> Result:
        with lock:
            return cached()

    return get


def count_usable_cores() -> int:
    """The processor cores that this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
