"""The page as a person starts it: `tetrad web` in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warm_children import find_warm_python

_WARM_SERVER = Path(__file__).parent / "warm_server.py"
OpenPage = Callable[..., Any]  # what the fixture `open_page` gives


@dataclass
class Served:
    """A running page: where its start URL leads, and its process."""

    url: str  # with the token
    process: subprocess.Popen[str]
    folder: Path

    @property
    def base(self) -> str:
        return self.url.split("/start")[0]

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def end(self, number: int = signal.SIGTERM) -> float:
        """Stop the server; the seconds that it took."""
        start = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        assert self.process.stdout
        self.process.stdout.close()
        return time.monotonic() - start


def start(folder: Path, port: int = 0, options: Sequence[str] = (), is_warm: bool = False) -> Served:
    """Start the page for the folders in `folder`; returns when it can be asked.

    It is started as a person does it, or, where it `is_warm`, with children that need not import PyTorch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = [str(_WARM_SERVER), find_warm_python()] if is_warm else ["-m", "tetrad", "web"]
    command = [sys.executable, *program, "--no-browser", "--port", str(port), *options]
    environment = os.environ | {"XDG_STATE_HOME": str(folder / "state"), "OMP_NUM_THREADS": "1", "TETRAD_LANG": "en"}
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout
    return Served(process.stdout.readline().strip(), process, folder)


@contextmanager
def serving(folder: Path, is_warm: bool = False) -> Iterator[Served]:
    served = start(folder, is_warm=is_warm)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.end(signal.SIGKILL)
