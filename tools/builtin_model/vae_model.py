"""The built-in VAE: SD1's layout with at most three eighths of its width; latent statistics are folded in later."""

from collections.abc import Mapping, Sequence

import torch
from diffusers import AutoencoderKL
from torch import Tensor

SCALING_FACTOR = 0.18215
WIDTHS = (16, 32, 64, 128)  # of the first version
WIDE = (24, 48, 96, 192)  # 7.6 million parameters: with it, the model's file has 56 MB


def new_autoencoder(widths: Sequence[int] = WIDTHS) -> AutoencoderKL:
    """3 x 64 x 64 <-> 4 x 8 x 8, with the tensor names and order of SD1."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=tuple(widths),
        layers_per_block=2,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=SCALING_FACTOR,
    )


def load_autoencoder(tensors: Mapping[str, Tensor]) -> AutoencoderKL:
    """The VAE of these tensors, frozen; its widths are those of the tensors."""
    names = [f"encoder.down_blocks.{level}.resnets.0.conv1.weight" for level in range(4)]
    autoencoder = new_autoencoder([tensors[name].shape[0] for name in names]).requires_grad_(False).eval()
    autoencoder.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return autoencoder


@torch.no_grad()
def fold_statistics(autoencoder: AutoencoderKL, mean: Tensor, transform: Tensor) -> None:
    """Make latents z into transform (z - mean), by the 1 x 1 convolutions alone; transform (4, 4), mean (4,).

    Encoding, then decoding, gives the same as before.
    """
    quant, post_quant = autoencoder.quant_conv, autoencoder.post_quant_conv
    weight, bias = quant.weight.clone(), quant.bias.clone()
    quant.weight[:4] = torch.einsum("ij,jkhw->ikhw", transform, weight[:4])
    quant.bias[:4] = transform @ (bias[:4] - mean)
    # Log variances of a sum are not linear; their mean, weighted by the shares of the sum, is close enough.
    shares = transform.square() / transform.square().sum(1, keepdim=True)
    quant.weight[4:] = torch.einsum("ij,jkhw->ikhw", shares, weight[4:])
    quant.bias[4:] = shares @ bias[4:] + transform.square().sum(1).log()
    # The decoder was trained with z and now gets z' = transform (z - mean), so z = transform⁻¹ z' + mean.
    inverse = torch.linalg.inv(transform)
    post_quant.bias += post_quant.weight[:, :, 0, 0] @ mean
    post_quant.weight.copy_((post_quant.weight[:, :, 0, 0] @ inverse)[:, :, None, None])


def make_transform(latents: Tensor, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The mean of latents (N, 4, h, w), and the matrix that gives each channel the deviation 1 / SCALING_FACTOR.

    With scaled latents `like` of the same images, by another VAE: the rotation of the whitened latents that comes
    nearest to them, so that a U-Net which was trained on those can go on.
    """
    rows = latents.movedim(1, -1).flatten(0, -2).double()
    mean = rows.mean(0)
    if like is None:
        return mean.float(), torch.diag(1 / (rows.std(0) * SCALING_FACTOR)).float()
    values, vectors = torch.linalg.eigh(torch.cov((rows - mean).T))
    whitening = vectors @ torch.diag(values.rsqrt()) @ vectors.T
    target = like.movedim(1, -1).flatten(0, -2).double()
    u, _values, v = torch.linalg.svd((target - target.mean(0)).T @ ((rows - mean) @ whitening.T))
    return mean.float(), (u @ v @ whitening / SCALING_FACTOR).float()
