"""A network of which each process of a run holds a part of every tensor: FSDP2, torch's fully sharded data parallel.

A block's tensors are whole while it computes, in all processes at the same time, so each must run the network equally
often. The optimizer, the average and the state of a run are of the own parts, which are ordinary tensors.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Size, Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from tetrad.diffusion.objective import Objective
from tetrad.models.base import Model
from tetrad.models.device import is_memory_error
from tetrad.models.network_blocks import list_network_blocks
from tetrad.training.gradients import Backward, Portion, compute_gradients
from tetrad.training.processes import Processes, naming_lost_process
from tetrad.training.step import Condition
from tetrad.training.update import gradient_norm

# Of a process for the others within an update; where NCCL waits for one that has ended, it knows only by this.
_PATIENCE = timedelta(minutes=10)


class Shards:
    """This process's part of a network.  All processes must make it, and call what exchanges tensors, in one order."""

    def __init__(self, network: nn.Module, processes: Processes) -> None:
        self.network, self.processes = network, processes
        self.names = [name for name, _parameter in network.named_parameters()]
        self.shapes = [parameter.shape for parameter in network.parameters()]
        with naming_lost_peer():
            self.group = dist.new_group(timeout=_PATIENCE)
        mesh = DeviceMesh.from_group(self.group, next(network.parameters()).device.type)
        for block in (*list_network_blocks(network), network):
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
        self.modules = [module for module in network.modules() if isinstance(module, FSDPModule)]
        for module in self.modules:  # gradients are added up, since a loss is divided by the images of all processes
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
        self.visit_blocks()  # after which the parts stay where they are
        self._sharded = list(network.parameters())
        self.parameters = [nn.Parameter(part.to_local().detach()) for part in self._sharded]  # type: ignore[attr-defined]

    def visit_blocks(self) -> None:
        """Make each block whole and divide it again, so that process 0 can make the network whole for itself."""
        with naming_lost_peer():
            for module in self.modules:
                module.unshard()
                module.reshard()

    def make_whole(self) -> None:
        """Make the network whole in this process; the others visit the blocks."""
        self.network.set_reshard_after_forward(False)  # type: ignore[operator]
        with naming_lost_peer():
            for module in self.modules:
                module.unshard()

    def divide_again(self) -> None:
        """Give up what `make_whole` has gathered, without the other processes."""
        self.network.set_reshard_after_forward(True)  # type: ignore[operator]
        for module in self.modules:
            module.reshard()

    def compute(
        self,
        model: Model,
        condition: Condition,
        objective: Objective,
        portions: Sequence[Portion],
        updater: Backward,
    ) -> Tensor:
        """Give the own parameters their parts of the gradients of all processes; returns the loss of all of them.

        Each process must have as many portions.
        """
        with naming_lost_peer():
            total = compute_gradients(model, condition, objective, portions, updater, 0)
            dist.all_reduce(total, group=self.group)
        for parameter, sharded in zip(self.parameters, self._sharded, strict=True):
            gradient, sharded.grad = sharded.grad, None
            is_wanted = parameter.requires_grad and gradient is not None
            parameter.grad = gradient.to_local() if is_wanted else None  # type: ignore[union-attr]
        return total

    def measure_norm(self, gradients: list[Tensor], like: Tensor) -> Tensor:
        """The norm over the gradients of all processes, a scalar."""
        squared = gradient_norm(gradients, like).square()
        with naming_lost_peer():
            dist.all_reduce(squared, group=self.group)
        return squared.sqrt()

    @torch.no_grad()
    def collect(self, own: Tensor, shape: Size) -> Tensor:
        """In process 0 a whole tensor on the CPU, of which each process gives its own part."""
        own = own.detach().cpu().contiguous()
        if self.processes.rank:
            if own.numel():
                with naming_lost_process():
                    dist.send(own, 0)
            return own
        parts = [own]
        for size in self._count_rows(shape)[1:]:
            part = torch.empty(size, *shape[1:], dtype=own.dtype)
            if part.numel():
                with naming_lost_process():
                    dist.recv(part, len(parts))
            parts.append(part)
        return torch.cat(parts)

    @torch.no_grad()
    def distribute(self, whole: Tensor | None, shape: Size, dtype: torch.dtype) -> Tensor:
        """The own part, on the CPU, of a whole tensor that process 0 has."""
        sizes = self._count_rows(shape)
        if whole is None:
            own = torch.empty(sizes[self.processes.rank], *shape[1:], dtype=dtype)
            if own.numel():
                with naming_lost_process():
                    dist.recv(own, 0)
            return own
        own, *others = torch.split(whole.cpu(), sizes)
        for rank, part in enumerate(others, start=1):
            if part.numel():
                with naming_lost_process():
                    dist.send(part.contiguous(), rank)
        return own.clone()

    def _count_rows(self, shape: Size) -> list[int]:
        """How many rows of a tensor each process has."""
        rows = -(-shape[0] // self.processes.count)
        return [max(0, min(rows, shape[0] - rank * rows)) for rank in range(self.processes.count)]


@contextmanager
def naming_lost_peer() -> Iterator[None]:
    """E8004 where another process is lost while this one computes; errors of the computation stay as they are."""
    try:
        yield
    except RuntimeError as error:
        if is_memory_error(error) or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        with naming_lost_process():
            raise
