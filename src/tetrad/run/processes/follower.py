"""A process that computes gradients for process 0 of a run, until that has no more to do."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from tetrad.diffusion.objective import build_objective
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.methods.base import Adapter, behavior_of, parameters_of
from tetrad.models import device as devices
from tetrad.models.base import Model, get_model_device
from tetrad.run.open_model import open_model, quantize_base
from tetrad.run.processes.team import connect, list_trained, make_greeting
from tetrad.run.processes.world import World, read_world
from tetrad.settings import Recipe
from tetrad.settings.toml import as_values, build_recipe
from tetrad.training.processes import Packet, Processes
from tetrad.training.sharded_follower import ShardedFollower
from tetrad.training.sharded_training import UpdateSettings
from tetrad.training.shared_gradients import Follower
from tetrad.weights import Weights

_LOOK_SECONDS = 1.0


class _Ended(Exception):
    """Process 0 has no more to do."""


def follow_leader(
    recipe: Recipe | None = None, world: World | None = None, store: Path | None = None, device: str = ""
) -> None:
    """Compute gradients for process 0 until it ends; its own `recipe` is only compared with that of process 0."""
    world = world or read_world()
    _leave_stopping_to_process_0()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(TetradError, _Ended):  # process 0 has ended, or says what is wrong
        processes = connect(world, devices.select_device(device or (recipe.train.device if recipe else "auto")), store)
        processes.send(0, Packet(make_greeting(as_values(recipe) if recipe else None)))
        _follow(processes, world)


def _follow(processes: Processes, world: World) -> None:
    """Open the model and attach the method as process 0 does, then compute what it sends."""
    try:
        recipe, model, start = _open(build_recipe(_receive(processes).values["recipe"]), world)
        adapter = _attach(processes, recipe, model, start)
        answer = list_trained(recipe.model, parameters_of(adapter))
    except _Ended:
        raise
    except Exception as error:  # whatever it is, process 0 is to say it
        if isinstance(error, TetradError) and error.code == "E8004":
            raise
        answer = {"reason": str(error.sentence) if isinstance(error, TetradError) else repr(error)}
        processes.send(0, Packet(answer))
        return
    processes.send(0, Packet(answer))
    packet = _receive(processes)
    follower: Follower | ShardedFollower
    objective, enable = build_objective(recipe.loss), partial(devices.enable_gradient_checkpointing, model)
    if settings := packet.values.get("updates"):
        follower = ShardedFollower(processes, model, objective, adapter, UpdateSettings(**settings), enable)
        packet = _receive(processes)
    else:
        follower = Follower(processes, model, objective, parameters_of(adapter), enable)
    while True:
        follower.follow(packet, get_model_device(model))
        packet = _receive(processes)


def _receive(processes: Processes) -> Packet:
    packet = processes.receive()
    if "end" in packet.values:
        raise _Ended
    return packet


def _open(recipe: Recipe, world: World) -> tuple[Recipe, Model, Weights | None]:
    """The model on this process's own device."""
    name = f"cuda:{world.local_rank}" if recipe.train.device == "cuda" else recipe.train.device
    model, start = open_model(recipe, devices.select_device(name, recipe.train.precision))
    return recipe, model, start


def _attach(processes: Processes, recipe: Recipe, model: Model, start: Weights | None) -> Adapter:
    """The method attached with the settings of process 0."""
    method = build_recipe({"method": _receive(processes).values["method"]}).method
    quantize_base(model, recipe.train.quantize_base)
    return behavior_of(method).attach(method, model, generator(recipe.train.seed, 0, "method"), start)


def _leave_stopping_to_process_0() -> None:
    """Ctrl-C and SIGTERM reach all processes; process 0 finishes its step, saves, and lets the others end."""
    for name in ("SIGINT", "SIGTERM", "SIGBREAK", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)


def _end_with_parent() -> None:
    """End at once where what has started this process is gone, as after a SIGKILL, instead of with the next update."""
    number = os.getppid()
    with suppress(psutil.Error):
        parent = psutil.Process(number)
        while os.getppid() == number and parent.is_running():  # Windows keeps the number of a parent that has ended
            time.sleep(_LOOK_SECONDS)
    os._exit(1)


def main() -> None:
    rank, count, store, device = sys.argv[1:]
    follow_leader(world=World(int(rank), int(count), int(rank)), store=Path(store), device=device)


if __name__ == "__main__":
    main()
