"""A training step without numbers, on torch's meta device: what it would keep in memory, how much it would compute."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from tetrad.methods.base import Method
from tetrad.models.base import Model

META = torch.device("meta")


@dataclass(frozen=True)
class DryStep:
    """What one step of one method does, however fast the machine."""

    frozen: int  # numbers that do not learn, without the VAE, which rests
    resting: int  # those of them that are not needed once captions are remembered
    learned: tuple[torch.Size, ...]
    kept: int  # numbers kept from the forward for the backward
    kept_single: int  # those of them that are float32 whatever the rest is: what norms read
    operations: int  # multiplications and additions of forward and backward


def dry_step(model: Model, method: Method, width: int, height: int, batch_size: int = 1) -> DryStep:
    """A step of a method on pictures of so many pixels; the model itself is not touched."""
    empty = skeleton(model)
    adapter = method.attach(empty, torch.Generator())
    learned = [parameter for group in adapter.groups().values() for parameter in group]
    z = torch.zeros(batch_size, 4, height // 8, width // 8, device=META)
    counted = FlopCounterMode(display=False)
    weights = [weight for part in empty.parts().values() for weight in part.parameters()]
    with keeping([*weights, *learned]) as kept, counted:
        c = empty.condition(["a photo"] * batch_size)
        text_learns = c.tokens.requires_grad
        loss = empty.predict(z, torch.zeros(batch_size, dtype=torch.long, device=META), c).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
    ids = {id(parameter) for parameter in learned}
    sizes = {
        name: sum(p.numel() for p in part.parameters() if id(p) not in ids) for name, part in empty.parts().items()
    }
    return DryStep(
        frozen=sum(sizes.values()),
        resting=0 if text_learns else sum(size for name, size in sizes.items() if name != "unet"),
        learned=tuple(parameter.shape for parameter in learned),
        kept=kept.numbers,
        kept_single=kept.single,
        operations=counted.get_total_flops() + kept.operations,
    )


def skeleton(model: Model) -> Model:
    """The model again, its networks without their numbers; what was attached to it does not come along."""
    networks = [*model.parts().values(), *([model.vae.networks[0]] if model.vae.networks else [])]
    tensors = {id(tensor): tensor for network in networks for tensor in [*network.parameters(), *network.buffers()]}
    empty = {number: without_numbers(tensor) for number, tensor in tensors.items()}
    return copy.deepcopy(model, dict(empty))


def without_numbers(tensor: Tensor) -> Tensor:
    moved = tensor.detach().to(META, torch.float32 if tensor.is_floating_point() else tensor.dtype)
    return nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved


class Kept(TorchFunctionMode):
    """Counts what functions called under it keep for the backward, each storage once and weights not at all."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.known = {weight.untyped_storage()._cdata for weight in weights}
        self.numbers = self.single = self.operations = 0
        self.calling = ""
        self.alive: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calling = func.__name__
        if func is F.scaled_dot_product_attention:
            q, k = args[0], args[1]
            # q kᵀ and its product with v, two operations each; the backward does five such products.
            self.operations += 2 * (2 + 5) * q.numel() * k.shape[-2]
            output: Tensor = FusedAttention.apply(*args[:3])  # type: ignore[no-untyped-call]
            return output
        return func(*args, **(kwargs or {}))

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.alive.append(tensor)  # or another storage would get its address
            self.numbers += storage.nbytes() // tensor.itemsize
            if self.calling in SINGLE:
                self.single += storage.nbytes() // tensor.itemsize
        return tensor


SINGLE = {"group_norm", "layer_norm", "silu"}


class FusedAttention(torch.autograd.Function):
    """As much of attention as memory sees: a fused kernel keeps what it reads, what it says and a number a row."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        output = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, output, torch.empty(q.shape[:-1], device=q.device))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        q, k, v, *_ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


@contextmanager
def keeping(weights: Iterable[Tensor]) -> Iterator[Kept]:
    """What is kept is counted within, backward included."""
    kept = Kept(weights)
    with saved_tensors_hooks(kept.keep, lambda tensor: tensor), kept:
        yield kept
