"""Processes that follow a run, as forks of a server that has imported PyTorch, instead of new programs."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import CONTEXT

from tetrad.run.processes import follower, team
from tetrad.run.processes.world import World


class Child:
    """A process with the interface of subprocess.Popen, as far as a team uses it."""

    def __init__(self, target: Callable[..., object], *arguments: Any) -> None:
        self.process = CONTEXT.Process(target=target, args=arguments, daemon=True)
        self.process.start()
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("child", timeout or 0)
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()


def follow(arguments: Sequence[str]) -> None:
    rank, count, store, device = arguments
    follower.follow_leader(world=World(int(rank), int(count), int(rank)), store=Path(store), device=device)


def use_forks(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """Let teams start forks; returns the list of those that are started."""
    started: list[Child] = []

    def start_child(arguments: Sequence[str], errors: Path) -> Child:
        errors.touch()
        started.append(Child(follow, arguments))
        return started[-1]

    monkeypatch.setattr(team, "start_child", start_child)
    return started
