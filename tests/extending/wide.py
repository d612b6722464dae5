"""A fourth family: Stable Diffusion 1's layout with 16 latent channels and rectified flow.

It is not part of the program. Tests register it to check that a family is one file and one line.
"""

from typing import Any, ClassVar

import tiny
import torch
from diffusers import AutoencoderKL

from tetrad.diffusion.flow import RectifiedFlow
from tetrad.formats.ldm import SingleFileLayout
from tetrad.models import FAMILIES
from tetrad.models.base import freeze
from tetrad.models.prediction import PredictionInfo
from tetrad.models.sd import ReleasedVariant, StableDiffusion1
from tetrad.weights import Weights

CHANNELS = 16


class Wide(StableDiffusion1):
    family = "wide"
    family_title = "Wide Diffusion"
    signature: ClassVar[tuple[str, ...]] = ("cond_stage_model.wide.",)
    single_file = SingleFileLayout("Wide Diffusion", clip={"cond_stage_model.wide": "text_encoder"})
    channels = CHANNELS
    text_width = 640
    scaling_factor = 1.5305
    metadata_names: ClassVar[tuple[str, ...]] = ("wide",)
    epsilon_variant = v_variant = ReleasedVariant(512, "wide_v1", "wide-diffusion")

    def __init__(
        self, name: str, networks: Any, prediction_info: PredictionInfo, resolution: int, extra_config: Any
    ) -> None:
        super().__init__(name, networks, prediction_info, resolution, extra_config)
        self.noise = RectifiedFlow(shift=3.0)


def model() -> Wide:
    """A small one with random weights."""
    torch.manual_seed(3)
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=2,
        norm_num_groups=8,
        latent_channels=CHANNELS,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
    )
    parts = {
        "unet": tiny.build_unet(in_channels=CHANNELS, out_channels=CHANNELS),
        "text_encoder": tiny.build_text_encoder(),
        "vae": vae,
    }
    tensors = {f"{part}.{key}": value for part, net in parts.items() for key, value in net.state_dict().items()}
    metadata = tiny.build_weights().metadata | {"modelspec.prediction_type": "epsilon"}
    built = Wide.build(Weights("checkpoint", tensors, metadata), "wide")
    freeze(built)
    return built


FAMILIES[Wide.family] = Wide  # the one line
