"""Which of a run's processes this is, as torchrun and Tetrad itself tell it by variables of the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tetrad.errors import TetradError
from tetrad.locales import Message, _

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class World:
    """This process among those of its run."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0  # among those on this machine; it is the number of its GPU

    @property
    def is_follower(self) -> bool:
        """Whether this process computes gradients for another one, which is the run."""
        return self.rank > 0


def read_world(environment: Mapping[str, str] = os.environ) -> World:
    """What torchrun has set; one process where it has set nothing.  E8003 for a value that is no number."""
    values = [environment.get(name, "") for name in _VARIABLES]
    if not all(values):
        return World()
    rank, count, local_rank = *values[:2], environment.get("LOCAL_RANK", "0")
    if not all(text.isdecimal() for text in (rank, count, local_rank)) or int(rank) >= int(count):
        template = _(
            "RANK={rank}, WORLD_SIZE={count} and LOCAL_RANK={local_rank} in the environment do not name a process of a"
            " run; start it with torchrun, or unset them"
        )
        raise TetradError("E8003", template, rank=rank, count=count, local_rank=local_rank)
    return World(int(rank), int(count), int(local_rank))


def refuse_several_processes(task: Message) -> None:
    """E8003 where torchrun has started this program several times for something that one process does."""
    count = read_world().count
    if count > 1:
        template = _("{task} runs in one process, but torchrun has started {count}; start it without torchrun")
        raise TetradError("E8003", template, task=task, count=count)
