"""Trains the runs of a sweep on a Ray cluster; the run of a worker that is lost goes on in another one.

All machines must see the sweep's folder, the images and the model at the same paths.
"""

import os
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.sweep.attempt import Attempt

_RETRIES = 3  # of a run whose worker was lost
_STOP = "stop"  # a file in the sweep's folder: the runs stop
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class OnRay:
    """A Ray cluster, or Ray on this machine where no address is given; then it listens on loopback only."""

    def __init__(self, address: str = "", cpus: int = 1, gpus: int = 0) -> None:
        self.ray = connect(address)
        self.attempts: list[Attempt] = []
        self.task = self.ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=_RETRIES)(_train)

    def submit(self, attempt: Attempt) -> "Future[int]":
        self.attempts.append(attempt)
        attempt.folder.joinpath(_STOP).unlink(missing_ok=True)  # of an earlier sweep
        ended: Future[int] = self.task.remote(attempt, str(Path.cwd())).future()
        return ended

    def stop(self) -> None:
        for folder in {attempt.folder for attempt in self.attempts}:
            folder.joinpath(_STOP).touch()

    def close(self) -> None:
        self.ray.shutdown()


def connect(address: str) -> Any:
    """Ray, connected.  E3193 where it is not installed or cannot be reached."""
    for name, value in _QUIET.items():
        if not address or name == "RAY_USAGE_STATS_ENABLED":
            os.environ.setdefault(name, value)
    try:
        import ray  # type: ignore[import-not-found]
    except ImportError as error:
        template = _("--on ray needs the package ray; run {command} in Tetrad's folder, or use --on local")
        command = 'python -m pip install -c constraints.txt -e ".[ray]"'
        raise TetradError("E3193", template, command=command) from error
    try:
        if address:
            ray.init(address=address, log_to_driver=False)
        else:
            ray.init(include_dashboard=False, object_store_memory=80 << 20, log_to_driver=False)
    except Exception as error:  # whatever Ray raises for an address that does not answer
        template = (
            _("the Ray cluster {address} cannot be reached ({reason}); check --address, or use --on local")
            if address
            else _("Ray cannot be started on this machine ({reason}); use --on local")
        )
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TetradError("E3193", template, address=address, reason=reason) from error
    return ray


def _train(attempt: Attempt, working_folder: str) -> int:
    """In a worker: the run, from where its folder says."""
    os.chdir(working_folder)
    stop = attempt.folder / _STOP
    return 0 if stop.exists() else attempt.train(stop.exists)
