"""OFT: an orthogonal matrix R for each block of a layer's outputs, W' = R W.  [Qiu et al. 2023]

kohya and LyCORIS (Diag-OFT) store the same tensors; alpha is the constraint on R.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

TENSOR_NAMES = {"oft_blocks", "rescale", "alpha"}


def is_oft(tensors: Mapping[str, Tensor]) -> bool:
    return "oft_blocks" in tensors


def matches_weight(tensors: Mapping[str, Tensor], shape: torch.Size) -> bool:
    """Whether the blocks, (number, size, size), fit a weight (out, in, …); BOFT's have a dimension more."""
    blocks, rescale = tensors["oft_blocks"], tensors.get("rescale")
    if not tensors.keys() <= TENSOR_NAMES or blocks.ndim != 3 or blocks.shape[1] != blocks.shape[2]:
        return False
    return len(blocks) * blocks.shape[1] == shape[0] and (rescale is None or rescale.numel() == shape[0])


def weight_change(tensors: Mapping[str, Tensor], weight: Tensor) -> Tensor:
    """R W - W, where R = (I + Q)(I - Q)⁻¹ of each block and Q is skew-symmetric, with a limited norm."""
    blocks, limit = tensors["oft_blocks"], float(tensors.get("alpha", 0.0)) * len(weight)
    q = blocks - blocks.transpose(1, 2)
    if limit > 0:
        q = q * (limit / (q.norm() + 1e-8).clamp(min=limit))
    identity = torch.eye(q.shape[1], device=q.device)
    rotation = (identity + q) @ torch.linalg.inv(identity - q)
    rows = weight.reshape(len(blocks), blocks.shape[1], -1)
    rotated = torch.einsum("knm,kni->kmi", rotation, rows).reshape(weight.shape)
    if (rescale := tensors.get("rescale")) is not None:
        rotated = rotated * rescale.reshape(-1, *[1] * (weight.ndim - 1))
    return rotated - weight
