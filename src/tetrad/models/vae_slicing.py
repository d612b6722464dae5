"""Encodes and decodes large images with a VAE strip by strip: the same result in less memory.

The usual tiles with blended edges change an image's colours, because group norms and attention must see the whole
image. Here every layer runs on the whole image, one strip of rows after the other. A convolution gets the one extra row
that it needs on each side of a strip, a norm first takes mean and variance over all strips, and attention runs at the
size of the latents and needs no strips. So the result is the network's own, up to the order of summation. At most two
layers' outputs are kept at a time, while the network keeps four and as much again for computing. They may be kept on
the CPU while a GPU computes.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from tetrad.models.networks import AutoencoderKL

_RowTransform = Callable[[Tensor], Tensor]
_Strips = Iterable[tuple[int, Tensor]]  # the first row, and the rows that begin there

STRIP_ELEMENTS = 2**22  # approximate number of elements in a strip: 16 MiB in float32


def decode_in_strips(network: "AutoencoderKL", z: Tensor, storage_device: torch.device) -> Tensor:
    """`network.decode` of unscaled latents (B, 4, h, w); layer outputs are kept on `storage_device`."""
    decoder = network.decoder
    z = network.post_quant_conv(z) if network.post_quant_conv is not None else z
    x = decoder.mid_block(decoder.conv_in(z)).to(storage_device).contiguous()
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = _apply_resnet_block(x, resnet)
        for upsampler in block.upsamplers or ():
            x = _join_strips(_upsample_strips(x, upsampler.conv), 2 * x.shape[2], storage_device)
    return _join_strips(
        _convolve_strips(x, decoder.conv_out, _make_norm_activation(x, decoder.conv_norm_out)), x.shape[2], z.device
    )


def encode_in_strips(network: "AutoencoderKL", pixels: Tensor, storage_device: torch.device) -> Tensor:
    """Mean and log variance of unscaled latents (B, 8, h, w), like `network.encode`, for images in -1…1."""
    encoder = network.encoder
    x = _join_strips(_convolve_strips(pixels, encoder.conv_in), pixels.shape[2], storage_device)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            x = _apply_resnet_block(x, resnet)
        for downsampler in block.downsamplers or ():
            x = _join_strips(_downsample_strips(x, downsampler.conv), x.shape[2] // 2, storage_device)
    z = encoder.mid_block(x.to(pixels.device))
    moments: Tensor = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(z)))
    return network.quant_conv(moments) if network.quant_conv is not None else moments


def _apply_resnet_block(x: Tensor, block: Any) -> Tensor:
    """diffusers' ResnetBlock2D without time embedding; x is overwritten if the result has the same shape."""
    height = x.shape[2]
    hidden = _join_strips(_convolve_strips(x, block.conv1, _make_norm_activation(x, block.norm1)), height, x.device)
    strips = _convolve_strips(hidden, block.conv2, _make_norm_activation(hidden, block.norm2))
    if block.conv_shortcut is None:
        for first_row, part in strips:
            x[:, :, first_row : first_row + part.shape[2]] += part.to(x.device)
        return x
    device = block.conv_shortcut.weight.device

    def add_shortcut(first_row: int, part: Tensor) -> Tensor:
        rows = x[:, :, first_row : first_row + part.shape[2]]
        output: Tensor = part + block.conv_shortcut(rows.to(device))
        return output

    return _join_strips(((first, add_shortcut(first, part)) for first, part in strips), height, x.device)


def _iterate_strips(x: Tensor) -> Iterator[tuple[int, int]]:
    """First row and end of each strip of x: about STRIP_ELEMENTS elements, and an even number of rows."""
    rows = max(2, STRIP_ELEMENTS // x[:, :, 0].numel() // 2 * 2)
    for first_row in range(0, x.shape[2], rows):
        yield first_row, min(first_row + rows, x.shape[2])


def _join_strips(strips: _Strips, height: int, storage_device: torch.device) -> Tensor:
    """The strips as one tensor (B, C, height, W)."""
    result: Tensor | None = None
    for first_row, part in strips:
        if result is None:
            result = torch.empty(*part.shape[:2], height, part.shape[3], dtype=part.dtype, device=storage_device)
        result[:, :, first_row : first_row + part.shape[2]] = part
    assert result is not None, "an image without rows"
    return result


def _convolve_strips(x: Tensor, conv: nn.Conv2d, transform: _RowTransform = lambda part: part) -> _Strips:
    """A 3×3 convolution of transform(x)."""
    height = x.shape[2]
    for first_row, last_row in _iterate_strips(x):
        top, bottom = max(0, first_row - 1), min(height, last_row + 1)
        part = transform(x[:, :, top:bottom].to(conv.weight.device))
        yield (
            first_row,
            F.conv2d(F.pad(part, (1, 1, top - first_row + 1, last_row + 1 - bottom)), conv.weight, conv.bias),
        )


def _upsample_strips(x: Tensor, conv: nn.Conv2d) -> _Strips:
    """A 3×3 convolution of x at twice its size."""
    height = x.shape[2]
    for first_row, last_row in _iterate_strips(x):
        top, bottom = max(0, first_row - 1), min(height, last_row + 1)
        part = F.interpolate(x[:, :, top:bottom].to(conv.weight.device), scale_factor=2.0, mode="nearest")
        # The extra row on each side has become two rows, of which the convolution needs one.
        part = part[:, :, first_row - top : part.shape[2] - (bottom - last_row)]
        yield (
            2 * first_row,
            F.conv2d(F.pad(part, (1, 1, top - first_row + 1, last_row + 1 - bottom)), conv.weight, conv.bias),
        )


def _downsample_strips(x: Tensor, conv: nn.Conv2d) -> _Strips:
    """A 3×3 convolution with stride 2 and LDM's padding: only on the right and at the bottom."""
    height = x.shape[2]
    for first_row, last_row in _iterate_strips(x):
        bottom = min(height, last_row + 1)
        part = x[:, :, first_row:bottom].to(conv.weight.device)
        yield first_row // 2, F.conv2d(F.pad(part, (0, 1, 0, last_row + 1 - bottom)), conv.weight, conv.bias, stride=2)


def _make_norm_activation(x: Tensor, norm: nn.GroupNorm) -> _RowTransform:
    """A function that applies the group norm of the whole x (B, C, H, W), then SiLU, to any of its rows."""
    groups = x.view(x.shape[0], norm.num_groups, -1)
    moments = [torch.var_mean(groups[:, group].float(), dim=1, correction=0) for group in range(norm.num_groups)]
    variance, mean = (torch.stack(part, dim=1).to(norm.weight.device) for part in zip(*moments, strict=True))
    width = norm.num_channels // norm.num_groups
    scale = norm.weight * (variance + norm.eps).rsqrt().repeat_interleave(width, dim=1)
    shift = norm.bias - mean.repeat_interleave(width, dim=1) * scale
    return lambda part: F.silu(torch.addcmul(shift[:, :, None, None], part, scale[:, :, None, None]))
