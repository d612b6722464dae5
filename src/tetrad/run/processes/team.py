"""Process 0 and the processes that it leads: started here, or by torchrun."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch import Tensor

from tetrad import __version__, library
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.base import Adapter, parameters_of
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec, Precision
from tetrad.run.plan import Plan, TrainPlan
from tetrad.run.processes.world import World, read_world
from tetrad.settings import Recipe
from tetrad.settings.field import replace
from tetrad.settings.toml import as_values, flatten
from tetrad.training.processes import FOREVER, Packet, Processes
from tetrad.training.sharded_training import ShardedAdapter, ShardedLeader, UpdateSettings
from tetrad.training.shared_gradients import Leader, failure_error

NAMES: Mapping[torch.dtype, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
JOIN_SECONDS = 120.0  # until all processes have imported what they need
_LEAVE_SECONDS = 5.0
_LOOK_SECONDS = 0.05


class Team:
    """The processes of a run, led by this one."""

    def __init__(self, recipe: Recipe, world: World, device: DeviceSpec, store: Path | None) -> None:
        self.recipe, self.world, self.device, self.store = recipe, world, device, store
        self.children = start_children(world.count, store, device.device.type) if store else []
        self.threads_alone = torch.get_num_threads()  # of a CPU, if this process had it for itself
        self.processes: Processes | None = None

    @property
    def count(self) -> int:
        return self.world.count

    def adapt(self, recipe: Recipe) -> Recipe:
        """The recipe of a run by so many processes, whoever has started them."""
        return replace(recipe, train=replace(recipe.train, processes=self.count))

    def meet(self) -> None:
        """Meet the other processes, and let them open the model of the recipe in the precision that is used here.

        E8004 where one has ended, E8006 where one has another program or another recipe.
        """
        self.processes = connect(self.world, self.device, self.store, self.children)
        own = make_greeting(as_values(self.recipe))
        for rank in self._others():
            _compare(rank, own, self.processes.receive(rank).values)
        train = replace(self.recipe.train, precision=NAMES[self.device.dtype], device=self.device.device.type)
        self._tell({"recipe": as_values(replace(self.recipe, train=train))})

    def attach(self, plan: Plan, adapter: Adapter, model: Model) -> tuple[Adapter, Leader]:
        """Let all processes attach the method; what this one trains of it, and what it leads the others with.

        E8005 where one of them fails, E8006 where it trains something else or from another model.
        """
        assert self.processes
        parameters = parameters_of(adapter)
        self._tell({"method": as_values(plan.method)})
        own = list_trained(self.recipe.model, parameters)
        for rank in self._others():
            found = self.processes.receive(rank).values
            if reason := found.get("reason"):
                raise failure_error(rank, reason)
            _compare(rank, own, found)
        if plan.train.sharding == "none":
            return adapter, Leader(self.processes, parameters, plan.train.gradient_checkpointing)
        self._tell({"updates": vars(update_settings(plan.train))})
        leader = ShardedLeader(self.processes, model, self.find_failure, plan.train.gradient_checkpointing)
        return ShardedAdapter(adapter, leader.shards, leader), leader

    def find_failure(self) -> TetradError | None:
        """E8005 with the reason that a process started here has left, if one has ended by an error of its own."""
        deadline = time.monotonic() + _LEAVE_SECONDS
        while self.store and time.monotonic() < deadline:
            for rank, child in enumerate(self.children, start=1):
                if code := child.poll():
                    was_killed = code < 0
                    return None if was_killed else failure_error(rank, read_reason(rank, self.store))
            time.sleep(_LOOK_SECONDS)
        return None

    def close(self) -> None:
        """Let all processes end; those that were started here are gone afterwards."""
        deadline = time.monotonic()
        if self.processes and not self.processes.is_busy:
            for rank in self._others():
                with suppress(TetradError):  # one that has ended, or hangs, does not keep it from the others
                    self.processes.send(rank, Packet({"end": True}), timedelta(seconds=_LEAVE_SECONDS))
            deadline = time.monotonic() + _LEAVE_SECONDS
        for child in self.children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
            child.kill()
            child.wait()
        if self.processes:
            dist.destroy_process_group()

    def _others(self) -> range:
        return range(1, self.count)

    def _tell(self, values: Mapping[str, Any]) -> None:
        assert self.processes
        for rank in self._others():
            self.processes.send(rank, Packet(values))


@contextmanager
def start_team(recipe: Recipe, device: DeviceSpec) -> Iterator[Team | None]:
    """The processes that share the updates of a run, until it ends; None for a run in one process.

    E8003 where there cannot be as many.
    """
    world, wanted = read_world(), recipe.train.processes
    if world.count > 1 and wanted not in (1, world.count):
        template = _(
            "torchrun has started {count} processes, but train.processes is {wanted}; leave it out, or start as many"
        )
        raise TetradError("E8003", template, count=world.count, wanted=wanted)
    if max(world.count, wanted) == 1:
        yield None
        return
    check_device(device, wanted, recipe.train.allow_slower)
    with tempfile.TemporaryDirectory() as folder:
        is_started_here = world.count == 1
        store = Path(folder) / "store" if is_started_here else None  # the file by which they find each other
        team = Team(recipe, World(0, wanted) if is_started_here else world, device, store)
        try:
            yield team
        finally:
            team.close()


def check_device(device: DeviceSpec, count: int, allow_slower: bool) -> None:
    """E8003 where the device cannot be shared by `count` processes of this machine, or has one for each of them not."""
    kind = device.device.type
    if not dist.is_available() or kind not in ("cpu", "cuda"):
        template = _("several processes need a CPU or CUDA, and this run uses {device}; set train.processes to 1")
        raise TetradError("E8003", template, device=kind)
    if kind == "cuda" and device.device.index:
        template = _(
            "train.device is {device}, but with several processes each uses its own GPU; set it to cuda, and choose the"
            " GPUs with CUDA_VISIBLE_DEVICES"
        )
        raise TetradError("E8003", template, device=device.device)
    if kind == "cuda" and count > torch.cuda.device_count():
        template = _("train.processes is {count}, but this machine has {available} GPUs; each process needs its own")
        raise TetradError("E8003", template, count=count, available=torch.cuda.device_count())
    cores = count_cores()
    if kind == "cpu" and count > cores and not allow_slower:
        template = _(
            "{count} processes on {cores} CPU cores would be slower than one; use --processes {cores} or fewer, or"
            " train anyway with --allow-slower"
        )
        raise TetradError("E3191", template, count=count, cores=cores)


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count(logical=False) or 1


def start_children(count: int, store: Path, device: str) -> list["subprocess.Popen[bytes]"]:
    """Start the processes after the first on this machine."""
    return [
        start_child([str(rank), str(count), str(store), device], _errors_of(rank, store)) for rank in range(1, count)
    ]


def start_child(arguments: Sequence[str], errors: Path) -> "subprocess.Popen[bytes]":
    """A process that follows this one; what it prints about an error goes to a file."""
    with errors.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "tetrad.run.processes.follower", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
        )


def _errors_of(rank: int, store: Path) -> Path:
    return store.with_name(f"errors-{rank}")


def read_reason(rank: int, store: Path) -> str:
    """The last line of what a process has printed about its error."""
    *_lines, reason = ["no message", *_errors_of(rank, store).read_text("utf-8", "replace").splitlines()]
    return reason


def connect(
    world: World, device: DeviceSpec, store: Path | None, children: Sequence["subprocess.Popen[bytes]"] = ()
) -> Processes:
    """Meet the other processes: those of one machine by the file `store`, and they talk on loopback only.

    E8004 where one ends before, or is not there in time.
    """
    backend = "cpu:gloo,cuda:nccl" if device.device.type == "cuda" else "gloo"
    if device.device.type == "cuda":
        torch.cuda.set_device(world.local_rank)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, count_cores() // world.count))
    if store is None:
        dist.init_process_group(backend, timeout=FOREVER)
        return Processes()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    meeting_place = dist.FileStore(  # type: ignore[attr-defined]
        str(store), world.count
    )
    meeting_place.set_timeout(timedelta(seconds=JOIN_SECONDS))
    meeting_place.set(f"here {world.rank}", "")
    _wait_for(children, meeting_place, store)
    dist.init_process_group(backend, store=meeting_place, rank=world.rank, world_size=world.count, timeout=FOREVER)
    return Processes()


def _wait_for(children: Sequence["subprocess.Popen[bytes]"], meeting_place: Any, store: Path) -> None:
    """Wait until all are there; one that has ended is seen at once."""
    deadline = time.monotonic() + JOIN_SECONDS
    while not meeting_place.check([f"here {rank}" for rank in range(1, len(children) + 1)]):
        ended = [rank for rank, child in enumerate(children, start=1) if child.poll() is not None]
        if ended or time.monotonic() > deadline:
            missing = (rank for rank in range(1, len(children) + 1) if not meeting_place.check([f"here {rank}"]))
            number = ended[0] if ended else next(missing, len(children))
            template = _("process {number} of the run could not be started: {reason}")
            raise TetradError("E8004", template, number=number, reason=read_reason(number, store))
        time.sleep(_LOOK_SECONDS)


def update_settings(train: TrainPlan) -> UpdateSettings:
    """What all processes must know where each updates its own part."""
    return UpdateSettings(
        train.optimizer,
        train.weight_decay,
        list(train.optimizer_args),
        train.block_rates,
        train.max_grad_norm,
        train.ema,
    )


def make_greeting(recipe: dict[str, Any] | None) -> dict[str, Any]:
    """What the processes of a run must have in common; `recipe` is None where process 0 gives it."""
    return {"Tetrad": __version__, "torch": version("torch"), "recipe": recipe, "host": platform.node()}


def list_trained(model: str, parameters: Sequence[Tensor]) -> dict[str, Any]:
    """What the processes of a run must train alike."""
    shapes = [list(parameter.shape) for parameter in parameters]
    return {"model": list(library.get_model_hashes(model)), "shapes": shapes, "host": platform.node()}


def _compare(rank: int, own: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """E8006 for the first value that differs; a process need not have all."""
    known = {key: each for key, each in found.items() if each is not None}
    ours, theirs = ({name: json.dumps(each) for name, each in flatten(values).items()} for values in (own, known))
    for name in sorted(ours):
        is_missing = found.get(name.partition(".")[0]) is None
        if name == "host" or is_missing or ours[name] == theirs.get(name):
            continue
        template = _(
            "the processes of the run disagree: {name} is {own} in process 0 and {other} in process {number} on {host};"
            " start all with the same recipe, files and versions"
        )
        values = {"name": name, "own": ours[name], "other": theirs.get(name, "-"), "number": rank}
        raise TetradError("E8006", template, host=found["host"], **values)
