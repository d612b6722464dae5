"""Tensors that are read and computed only when they are written, so that a large checkpoint needs little memory.

The formats' functions from dict to dict work on them as on any tensor: they see shapes and dtypes, and what they do
is done again, to the data, by `compute`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import torch
from torch import Tensor

from tetrad.formats.tensor_streams import TensorFile


class DeferredTensor(Tensor):
    """A tensor on the meta device with the function that computes its data; what is done to it is deferred too."""

    compute: Callable[[], Tensor]
    sources: frozenset[str]  # the names of the tensors that it is computed from

    @classmethod
    def build(cls, meta: Tensor, compute: Callable[[], Tensor], sources: Iterable[str]) -> Self:
        deferred: Self = Tensor._make_subclass(cls, meta)
        deferred.compute, deferred.sources = compute, frozenset(sources)
        return deferred

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **options)
        sources = list_sources(_list_deferred(args))

        def compute() -> Any:
            return function(*_compute_all(args), **options)

        if isinstance(result, Tensor):
            return cls.build(result, compute, sources)
        if isinstance(result, tuple | list) and all(isinstance(each, Tensor) for each in result):
            return tuple(
                cls.build(each, lambda index=index: compute()[index], sources)  # type: ignore[misc]
                for index, each in enumerate(result)
            )
        return result


def defer_tensors(file: TensorFile) -> dict[str, Tensor]:
    """The tensors of an open file by its own names."""
    return {
        name: DeferredTensor.build(
            torch.empty(layout.shape, dtype=layout.dtype, device="meta"),
            lambda name=name: file.read_tensor(name),  # type: ignore[misc]
            [name],
        )
        for name, layout in file.items()
    }


def compute_tensor(tensor: Tensor) -> Tensor:
    """The data of a deferred tensor; any other tensor itself."""
    return tensor.compute() if isinstance(tensor, DeferredTensor) else tensor


def list_sources(tensors: Iterable[Tensor]) -> frozenset[str]:
    """The names of all tensors that these are computed from."""
    return frozenset[str]().union(*(each.sources for each in _list_deferred([*tensors])))


def _compute_all(values: Any) -> Any:
    """Arguments of a function of torch with the data of the deferred tensors among them."""
    return (
        type(values)(_compute_all(each) for each in values)
        if isinstance(values, tuple | list)
        else compute_tensor(values)
    )


def _list_deferred(values: Any) -> list[DeferredTensor]:
    if isinstance(values, tuple | list):
        return [each for value in values for each in _list_deferred(value)]
    return [values] if isinstance(values, DeferredTensor) else []
