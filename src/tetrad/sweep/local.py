"""Trains the runs of a sweep on this machine, so many at a time."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from tetrad.sweep.attempt import Attempt


class Local:
    """`at_once` runs at a time; with several GPUs each has one for itself."""

    def __init__(self, at_once: int = 1, gpus: int = 0) -> None:
        self.pool = ThreadPoolExecutor(at_once)
        self.stopped = threading.Event()
        self.slots: SimpleQueue[int] = SimpleQueue()
        self.gpus = gpus
        for number in range(at_once):
            self.slots.put(number)

    def submit(self, attempt: Attempt) -> "Future[int]":
        return self.pool.submit(self._train, attempt)

    def stop(self) -> None:
        self.stopped.set()

    def _train(self, attempt: Attempt) -> int:
        if self.stopped.is_set():
            return 0
        slot = self.slots.get()
        try:
            environment = {"CUDA_VISIBLE_DEVICES": str(slot % self.gpus)} if self.gpus > 1 else {}
            return attempt.train(self.stopped.is_set, environment)
        finally:
            self.slots.put(slot)
