"""The connection of the processes that train one run together: process 0 leads, the others do what it sends them.

Messages are JSON and tensors in the form of a safetensors file, so that nothing that arrives is run as a program.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor

from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.locales import _

FOREVER = timedelta(days=30)  # a process that has nothing to do, as while another generates previews
_BUCKET_BYTES = 64 << 20  # of the tensors that are exchanged at once
_HEADER = "tetrad"
_NOTHING = "nothing"  # safetensors needs a tensor


@dataclass(frozen=True)
class Packet:
    """What one process tells another: plain values, and tensors by name, on the CPU."""

    values: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def encode(self) -> bytes:
        copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.tensors.items()}
        content: bytes = safetensors.torch.save(
            copies or {_NOTHING: torch.zeros(1)}, {_HEADER: json.dumps(self.values)}
        )
        return content

    @classmethod
    def decode(cls, content: bytes) -> "Packet":
        size = int.from_bytes(content[:8], "little")
        header = parse_json(content[8 : 8 + size].decode("utf-8"))
        tensors = safetensors.torch.load(content)
        tensors.pop(_NOTHING, None)
        return cls(parse_json(header["__metadata__"][_HEADER]), tensors)


class Processes:
    """This process among all those of a run.  E8004 where another one has ended, or does not answer in time."""

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self.bytes_exchanged = 0  # by this process
        self.is_busy = False  # whether the others are in the middle of an update, so that they take no message

    def send(self, rank: int, packet: Packet, patience: timedelta = FOREVER) -> None:
        content = torch.frombuffer(bytearray(packet.encode()), dtype=torch.uint8)
        with naming_lost_process():
            for part in (torch.tensor([len(content)]), content):
                work = dist.isend(part, rank)
                assert work is not None
                work.wait(patience)
        self.bytes_exchanged += len(content)

    def receive(self, rank: int = 0) -> Packet:
        with naming_lost_process():
            size = torch.zeros(1, dtype=torch.int64)
            dist.recv(size, rank)
            content = torch.empty(int(size), dtype=torch.uint8)
            dist.recv(content, rank)
        self.bytes_exchanged += len(content)
        return Packet.decode(content.numpy().tobytes())

    @torch.no_grad()
    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes the values that process 0 has; in place."""
        for bucket in _iterate_buckets(tensors):
            flat = torch.cat([tensor.detach().flatten() for tensor in bucket])
            with naming_lost_process():
                dist.broadcast(flat, 0)
            self.bytes_exchanged += flat.nbytes
            if self.rank:
                _copy_back(flat, bucket)

    @torch.no_grad()
    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace the tensors of process 0 by the sums over all processes; those of the others become undefined."""
        for bucket in _iterate_buckets(tensors):
            flat = torch.cat([tensor.detach().flatten() for tensor in bucket])
            with naming_lost_process():
                dist.reduce(flat, 0)
            self.bytes_exchanged += flat.nbytes
            if not self.rank:
                _copy_back(flat, bucket)

    def take_highest(self, values: Tensor, patience: timedelta = FOREVER) -> Tensor:
        """The highest of each value over all processes, for each of them."""
        highest = values.clone()
        with naming_lost_process():
            work = dist.all_reduce(highest, dist.ReduceOp.MAX, async_op=True)
            assert work is not None
            work.wait(patience)
        return highest


def _iterate_buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in order, in groups of about `_BUCKET_BYTES` and of one dtype."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        is_full = sum(each.nbytes for each in bucket) >= _BUCKET_BYTES
        if bucket and (is_full or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _copy_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


@contextmanager
def naming_lost_process() -> Iterator[None]:
    """E8004 instead of the errors of torch, which name sockets and its own source files."""
    try:
        yield
    except RuntimeError as error:
        if "timed out" not in str(error).lower():
            raise lost_process_error() from error
        template = _("a process of this run does not answer any more; tetrad resume continues from the last saved step")
        raise TetradError("E8004", template) from error


def lost_process_error() -> TetradError:
    """E8004, for a process that has ended."""
    template = _("a process of this run has ended; tetrad resume continues from the last saved step")
    return TetradError("E8004", template)
