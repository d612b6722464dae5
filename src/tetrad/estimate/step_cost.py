"""A training step on torch's meta device, which has shapes but no values: its memory and operations are counted."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from tetrad.methods.base import Adapter, behavior_of, parameters_of
from tetrad.methods.settings import MethodSettings, keeps_bf16_weights, takes_bf16_weights
from tetrad.models.base import Model, denoiser_of
from tetrad.models.copying import copy_model
from tetrad.models.packed_convolutions import list_packable
from tetrad.models.quantized_layers import list_quantizable

BFLOAT16_BYTES = 2
_META = torch.device("meta")


@dataclass(frozen=True)
class StepCost:
    """What one training step of a method needs, on any device."""

    frozen_parameters: int  # parameters that are not trained, without the VAE, which is offloaded
    offloadable_parameters: int  # those of them that are not needed once captions are cached: the text encoders'
    trainable_shapes: tuple[torch.Size, ...]
    saved_elements: int  # tensor elements kept from the forward for the backward
    saved_float32_elements: int  # those of them that are float32 in any precision: the inputs of norms
    operations: int  # multiplications and additions of forward and backward
    model_parameters_trained: int = 0  # parameters of the model itself that are trained
    trainable_bytes: int = 4  # of each number that is trained
    takes_bf16_weights: bool = False  # the method can train with 2 bytes for each
    packable_parameters: int = 0  # of convolutions that a CPU may pack
    quantizable_parameters: int = 0  # of frozen layers
    largest_quantizable: int = 0  # of one of them


def measure_step_cost(model: Model, method: MethodSettings, width: int, height: int, batch_size: int = 1) -> StepCost:
    """Count a step of a method on images of width × height pixels; the model itself is not changed."""
    meta_model = copy_to_meta(model)
    own_ids = {id(parameter) for part in meta_model.parts().values() for parameter in part.parameters()}
    trainable = parameters_of(behavior_of(method).attach(method, meta_model, torch.Generator()))
    z = torch.zeros(
        batch_size,
        model.latent_channels,
        height // model.vae.downsampling_factor,
        width // model.vae.downsampling_factor,
        device=_META,
    )
    flop_counter = FlopCounterMode(display=False)
    weights = [weight for part in meta_model.parts().values() for weight in part.parameters()]
    with _count_saved_tensors([*weights, *trainable]) as saved, flop_counter:
        c = meta_model.condition(["a photo"] * batch_size)
        text_is_trainable = c.hidden_states.requires_grad
        loss = meta_model.predict(z, torch.zeros(batch_size, dtype=torch.long, device=_META), c).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
    quantizable = [layer.weight.numel() for layer in list_quantizable(denoiser_of(meta_model))]
    trainable_ids = {id(parameter) for parameter in trainable}
    frozen_sizes = {
        name: sum(p.numel() for p in part.parameters() if id(p) not in trainable_ids)
        for name, part in meta_model.parts().items()
    }
    return StepCost(
        frozen_parameters=sum(frozen_sizes.values()),
        offloadable_parameters=(
            0 if text_is_trainable else sum(size for name, size in frozen_sizes.items() if name != model.denoiser)
        ),
        trainable_shapes=tuple(parameter.shape for parameter in trainable),
        saved_elements=saved.elements,
        saved_float32_elements=saved.float32_elements,
        operations=flop_counter.get_total_flops() + saved.operations,
        model_parameters_trained=sum(parameter.numel() for parameter in trainable if id(parameter) in own_ids),
        trainable_bytes=BFLOAT16_BYTES if keeps_bf16_weights(method) else 4,
        takes_bf16_weights=takes_bf16_weights(method),
        quantizable_parameters=sum(quantizable),
        largest_quantizable=max(quantizable, default=0),
        packable_parameters=sum(layer.weight.numel() for layer in list_packable(denoiser_of(meta_model))),
    )


def attach_without_memory(model: Model, method: MethodSettings) -> tuple[Model, Adapter]:
    """A copy of the model whose tensors have shapes only, and the method's adapter attached to it."""
    meta_model = copy_to_meta(model)
    return meta_model, behavior_of(method).attach(method, meta_model, torch.Generator())


def copy_to_meta(model: Model) -> Model:
    """A copy of the model on the meta device, without adapters that are attached to it."""
    return copy_model(model, _tensor_to_meta)


def _tensor_to_meta(tensor: Tensor) -> Tensor:
    return tensor.to(_META, torch.float32 if tensor.is_floating_point() else tensor.dtype)


class _SavedTensorCounter(TorchFunctionMode):
    """Counts the tensors that functions keep for the backward: each storage once, weights not at all."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.storage_ids = {weight.untyped_storage()._cdata for weight in weights}
        self.elements = self.float32_elements = self.operations = 0
        self.current_function = ""
        self.counted_tensors: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.current_function = func.__name__
        if func is F.scaled_dot_product_attention:
            q, k = args[0], args[1]
            # q kᵀ and its product with v, two operations each; the backward does five such products.
            self.operations += 2 * (2 + 5) * q.numel() * k.shape[-2]
            output: Tensor = _FusedAttention.apply(*args[:3])  # type: ignore[no-untyped-call]
            return output
        return func(*args, **(kwargs or {}))

    def count_tensor(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.storage_ids:
            self.storage_ids.add(storage._cdata)
            self.counted_tensors.append(tensor)  # keeps it alive, or another storage could get the same address
            self.elements += storage.nbytes() // tensor.itemsize
            if self.current_function in _FLOAT32_FUNCTIONS:
                self.float32_elements += storage.nbytes() // tensor.itemsize
        return tensor


_FLOAT32_FUNCTIONS = {"group_norm", "layer_norm", "silu"}


class _FusedAttention(torch.autograd.Function):
    """The memory of fused attention: the kernel keeps its inputs, its output and a number for each row."""

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
def _count_saved_tensors(weights: Iterable[Tensor]) -> Iterator[_SavedTensorCounter]:
    """Count the tensors that are kept for the backward inside the context."""
    counter = _SavedTensorCounter(weights)
    with saved_tensors_hooks(counter.count_tensor, lambda tensor: tensor), counter:
        yield counter
