"""Convert images to tensors and back."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB image as float32 (3, height, width) in 0…1."""
    levels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return levels.view(image.height, image.width, 3).permute(2, 0, 1).float().contiguous() / 255


def grey_to_tensor(image: Image.Image) -> Tensor:
    """A grey image as float32 (1, height, width) in 0…1."""
    levels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return levels.view(1, image.height, image.width).float() / 255


def to_array(tensor: Tensor) -> NDArray[np.uint8]:
    """A tensor (3, height, width) in 0…1 as an array (height, width, 3) in 0…255; values outside are clamped."""
    levels = (tensor.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    array: NDArray[np.uint8] = levels.permute(1, 2, 0).contiguous().cpu().numpy()
    return array


def to_image(tensor: Tensor) -> Image.Image:
    """A tensor (3, height, width) in 0…1 as an RGB image; values outside are clamped."""
    height, width = tensor.shape[1:]
    return Image.frombytes("RGB", (width, height), to_array(tensor).tobytes())
