"""The built-in autoencoder: SD1's layout at a quarter of its width or less, and its scale folded in after training."""

import torch
from diffusers import AutoencoderKL
from torch import Tensor

SCALING_FACTOR = 0.18215


def new_autoencoder() -> AutoencoderKL:
    """3 x 64 x 64 <-> 4 x 8 x 8, names and order of the weights as in SD1."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=2,
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=SCALING_FACTOR,
    )


@torch.no_grad()
def fold_statistics(autoencoder: AutoencoderKL, mean: Tensor, deviation: Tensor) -> None:
    """Make latents * 0.18215 have mean 0 and deviation 1 in each channel, by the 1 x 1 convolutions alone.

    mean and deviation (4,) are those of the latents as trained. Encoding, then decoding, gives the same as before.
    """
    quant, post_quant = autoencoder.quant_conv, autoencoder.post_quant_conv
    gain = 1 / (deviation * SCALING_FACTOR)
    quant.weight[:4] *= gain.view(4, 1, 1, 1)
    quant.bias[:4] = (quant.bias[:4] - mean) * gain
    quant.bias[4:] += 2 * gain.log()
    # The decoder saw z; it is now given z' = (z - mean) * gain, so z = z' / gain + mean.
    post_quant.bias += post_quant.weight[:, :, 0, 0] @ mean
    post_quant.weight /= gain.view(1, 4, 1, 1)
