"""Runs commands in processes of their own that need not import PyTorch: forks of a server that has imported it."""

import importlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

from tetrad.cli.program import COMMANDS

CONTEXT = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
CONTEXT.set_forkserver_preload(
    [
        *(f"tetrad.cli.{place.module}" for place in COMMANDS.values()),
        *("tetrad.generation.pipeline", "tetrad.models.networks", "tetrad.run.resume.resume"),
    ]
)
_POLL_SECONDS = 0.02


class Command:
    """`tetrad`, or another program, with these arguments in this environment and working directory, as it runs."""

    def __init__(self, *arguments: str | Path, program: str = "tetrad.cli:main", cwd: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._streams = [Path(self._folder.name) / name for name in ("out", "err")]
        for stream in self._streams:
            stream.touch()
        given = (program, [*map(str, arguments)], str(cwd or Path.cwd()), dict(os.environ), self._streams)
        self._process = CONTEXT.Process(target=_call, args=given)
        self._process.start()

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    def lines(self) -> Iterator[str]:
        """What it prints on stdout, line by line, until it ends."""
        with self._streams[0].open(encoding="utf-8") as file:
            rest = ""
            while True:
                was_running = self.is_running  # asked first: what is printed afterwards is read in the next round
                *whole, rest = (rest + file.read()).split("\n")
                yield from whole
                if not was_running:
                    return
                time.sleep(_POLL_SECONDS)

    def send_signal(self, number: int) -> None:
        assert self._process.pid
        os.kill(self._process.pid, number)

    def wait(self, timeout: float = 300) -> "CompletedProcess[str]":
        """Wait until it has ended; what it printed and its exit code, negative for a signal."""
        self._process.join(timeout)
        if self.is_running:
            self._process.kill()
            raise TimeoutError(f"still running after {timeout} seconds: {self._streams[1].read_text('utf-8')}")
        assert self._process.exitcode is not None
        printed = [stream.read_text("utf-8") for stream in self._streams]
        self._folder.cleanup()
        return CompletedProcess([], self._process.exitcode, *printed)


def run(*arguments: str | Path, program: str = "tetrad.cli:main", cwd: Path | None = None) -> "CompletedProcess[str]":
    """Run a command to its end."""
    return Command(*arguments, program=program, cwd=cwd).wait()


def _call(program: str, arguments: list[str], cwd: str, environment: dict[str, str], streams: list[Path]) -> None:
    """In the new process: what a shell does before a program starts."""
    for number, stream in enumerate(streams, start=1):
        file = os.open(stream, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    module, _colon, function = program.partition(":")
    sys.argv = [module.partition(".")[0], *arguments]
    getattr(importlib.import_module(module), function)()
