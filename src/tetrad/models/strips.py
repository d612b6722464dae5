"""A large picture through a VAE a strip at a time: the same picture, in less memory.

Tiles with blended edges, the usual way, change a picture: its colours, by what each tile happens to hold, since group
norms and attention see a whole picture. Here every layer is run on the whole picture, a strip of rows after the other.
A convolution is given the one row it sees beyond its strip, a norm has its mean and spread taken over all strips
first, and attention, at the size of the latents, needs no strips. So the result is that of the network itself, up to
the order of sums. At most two layers' outputs are held at a time, where the network holds four and as much again to
compute with; they may be held on the CPU while an accelerator computes.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]
Pieces = Iterable[tuple[int, Tensor]]  # the first row, and the rows that begin there

SIZE = 2**22  # numbers in a strip, about: 16 MiB of them in float32


def decoded(network: AutoencoderKL, z: Tensor, hold: torch.device) -> Tensor:
    """`network.decode` of unscaled latents (B, 4, h, w); what lies between layers is kept on `hold`."""
    decoder = network.decoder
    z = network.post_quant_conv(z) if network.post_quant_conv is not None else z
    x = decoder.mid_block(decoder.conv_in(z)).to(hold).contiguous()
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = resnet_block(x, resnet)
        for upsampler in block.upsamplers or ():
            x = joined(upsampled(x, upsampler.conv), 2 * x.shape[2], hold)
    return joined(convolved(x, decoder.conv_out, activated(x, decoder.conv_norm_out)), x.shape[2], z.device)


def encoded(network: AutoencoderKL, pixels: Tensor, hold: torch.device) -> Tensor:
    """Mean and log variance of unscaled latents (B, 8, h, w), as `network.encode` reads them, of pictures in -1…1."""
    encoder = network.encoder
    x = joined(convolved(pixels, encoder.conv_in), pixels.shape[2], hold)
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            x = resnet_block(x, resnet)
        for downsampler in block.downsamplers or ():
            x = joined(downsampled(x, downsampler.conv), x.shape[2] // 2, hold)
    z = encoder.mid_block(x.to(pixels.device))
    moments: Tensor = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(z)))
    return network.quant_conv(moments) if network.quant_conv is not None else moments


def resnet_block(x: Tensor, block: Any) -> Tensor:
    """diffusers' ResnetBlock2D without a time; x is overwritten where the result has its shape."""
    height = x.shape[2]
    hidden = joined(convolved(x, block.conv1, activated(x, block.norm1)), height, x.device)
    pieces = convolved(hidden, block.conv2, activated(hidden, block.norm2))
    if block.conv_shortcut is None:
        for first, part in pieces:
            x[:, :, first : first + part.shape[2]] += part.to(x.device)
        return x
    device = block.conv_shortcut.weight.device

    def shortcut(first: int, part: Tensor) -> Tensor:
        rows = x[:, :, first : first + part.shape[2]]
        added: Tensor = part + block.conv_shortcut(rows.to(device))
        return added

    return joined(((first, shortcut(first, part)) for first, part in pieces), height, x.device)


def strips(x: Tensor) -> Iterator[tuple[int, int]]:
    """Beginnings and ends of the strips of x's rows, of about `SIZE` numbers each and an even number of rows."""
    rows = max(2, SIZE // x[:, :, 0].numel() // 2 * 2)
    for first in range(0, x.shape[2], rows):
        yield first, min(first + rows, x.shape[2])


def joined(pieces: Pieces, height: int, hold: torch.device) -> Tensor:
    """Strips put together into one tensor (B, C, height, W)."""
    whole: Tensor | None = None
    for first, part in pieces:
        if whole is None:
            whole = torch.empty(*part.shape[:2], height, part.shape[3], dtype=part.dtype, device=hold)
        whole[:, :, first : first + part.shape[2]] = part
    assert whole is not None, "a picture without a row"
    return whole


def convolved(x: Tensor, conv: nn.Conv2d, before: Change = lambda part: part) -> Pieces:
    """A 3×3 convolution of before(x)."""
    height = x.shape[2]
    for first, last in strips(x):
        top, bottom = max(0, first - 1), min(height, last + 1)
        part = before(x[:, :, top:bottom].to(conv.weight.device))
        yield first, F.conv2d(F.pad(part, (1, 1, top - first + 1, last + 1 - bottom)), conv.weight, conv.bias)


def upsampled(x: Tensor, conv: nn.Conv2d) -> Pieces:
    """A 3×3 convolution of x at twice its size."""
    height = x.shape[2]
    for first, last in strips(x):
        top, bottom = max(0, first - 1), min(height, last + 1)
        part = F.interpolate(x[:, :, top:bottom].to(conv.weight.device), scale_factor=2.0, mode="nearest")
        part = part[:, :, first - top : part.shape[2] - (bottom - last)]  # of the row beyond, one of its two
        yield 2 * first, F.conv2d(F.pad(part, (1, 1, top - first + 1, last + 1 - bottom)), conv.weight, conv.bias)


def downsampled(x: Tensor, conv: nn.Conv2d) -> Pieces:
    """A 3×3 convolution of every second pixel, padded as LDM does it: on the right and below only."""
    height = x.shape[2]
    for first, last in strips(x):
        bottom = min(height, last + 1)
        part = x[:, :, first:bottom].to(conv.weight.device)
        yield first // 2, F.conv2d(F.pad(part, (0, 1, 0, last + 1 - bottom)), conv.weight, conv.bias, stride=2)


def activated(x: Tensor, norm: nn.GroupNorm) -> Change:
    """SiLU of the group norm of x (B, C, H, W), for any rows of it."""
    groups = x.view(x.shape[0], norm.num_groups, -1)
    moments = [torch.var_mean(groups[:, group].float(), dim=1, correction=0) for group in range(norm.num_groups)]
    variance, mean = (torch.stack(part, dim=1).to(norm.weight.device) for part in zip(*moments, strict=True))
    width = norm.num_channels // norm.num_groups
    scale = norm.weight * (variance + norm.eps).rsqrt().repeat_interleave(width, dim=1)
    shift = norm.bias - mean.repeat_interleave(width, dim=1) * scale
    return lambda part: F.silu(torch.addcmul(shift[:, :, None, None], part, scale[:, :, None, None]))
