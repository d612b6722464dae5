"""The blocks of a network, which are computed one after the other."""

from collections.abc import Iterator

from torch import nn


def list_network_blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The residual and attention blocks of a U-Net and its layers that change the size: all but a few small layers."""
    for child in network.children():
        for level in child if isinstance(child, nn.ModuleList) else [child]:
            for layers in level.children():
                if isinstance(layers, nn.ModuleList):
                    yield from layers
