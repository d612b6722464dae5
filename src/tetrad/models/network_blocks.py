"""The blocks of a network, which are computed one after the other."""

from collections.abc import Iterator

from torch import nn

from tetrad.models.base import Model, denoiser_of


def list_network_blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The residual, transformer and attention blocks of a U-Net and its layers that change the size, inner ones first.

    Only a few small layers are in none of them.
    """
    for child in network.children():
        for level in child if isinstance(child, nn.ModuleList) else [child]:
            for layer in _list_items(level):
                yield from _list_items(layer)
                yield layer


def _list_items(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child


def count_largest_block(model: Model) -> int:
    """The parameters of the largest block of its U-Net, without those of blocks inside."""
    seen: set[nn.Parameter] = set()
    largest = 0
    for block in list_network_blocks(denoiser_of(model)):
        own = set(block.parameters()) - seen
        seen |= own
        largest = max(largest, sum(parameter.numel() for parameter in own))
    return largest
