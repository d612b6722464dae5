"""Stable Diffusion 1: one U-Net, one CLIP-L, four latent channels."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from tetrad.diffusion.noise import DDPM, Prediction, scaled_linear
from tetrad.errors import TetradError
from tetrad.models.base import Conditioning, read
from tetrad.models.text import WINDOW, Reading, Text, TextEncoder
from tetrad.models.vae import Vae
from tetrad.weights import Weights

Tensors = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)

# What the shapes of the tensors do not tell. A file may say otherwise in its `tetrad.architecture` metadata.
ARCHITECTURE = {
    "unet.attention_head_dim": 8,  # diffusers' old name for the number of heads
    "unet.norm_num_groups": 32,
    "text_encoder.head_width": 64,
    "vae.norm_num_groups": 32,
}
VAE_SCALE = 0.18215


class StableDiffusion1:
    family: ClassVar[str] = "sd1"
    title: ClassVar[str] = "Stable Diffusion 1"
    scale: ClassVar[float] = VAE_SCALE
    dtype: torch.dtype = torch.float32

    def __init__(
        self,
        name: str,
        prediction: Prediction,
        resolution: int,
        unet: nn.Module,
        text: CLIPTextModel,
        vae: AutoencoderKL,
    ) -> None:
        self.name = name
        self.resolution = resolution
        self.metadata = {
            "ss_base_model_version": "sd_v1" if prediction == "epsilon" else "sd_v1_v",
            "ss_v2": "False",
            "modelspec.architecture": "stable-diffusion-v1",
            "modelspec.prediction_type": prediction,
        }
        self.noise = DDPM(scaled_linear(), prediction)
        self.unet = unet
        self.vae = Vae(vae, VAE_SCALE)
        self.reading = Reading()
        self.texts: Sequence[TextEncoder] = (TextEncoder("text_encoder", text),)

    @classmethod
    def build(cls, weights: Weights, name: str) -> "StableDiffusion1":
        """The three networks, shaped by the tensors and filled with them, in float32.

        Raises E5009 where tensors are missing or left over, E5008 for an inpainting model.
        """
        about = ARCHITECTURE | json.loads(weights.metadata.get("tetrad.architecture", "{}"))
        unet, text, vae = (weights.part(part) for part in ("unet", "text_encoder", "vae"))
        for part, tensors in (("unet", unet), ("text_encoder", text), ("vae", vae)):
            if not tensors:
                raise TetradError("E5009", f"{name} has no {part} inside; a whole checkpoint is needed")
        if "conv_in.weight" in unet and unet["conv_in.weight"].shape[1] != 4:
            raise TetradError("E5008", f"{name} is an inpainting model; give the ordinary Stable Diffusion 1 one")
        prediction: Prediction = (
            "v" if weights.metadata.get("modelspec.prediction_type", "").startswith("v") else "epsilon"
        )
        try:
            with torch.device("meta"):
                networks = (
                    UNet2DConditionModel(**unet_configuration(unet, about)),
                    CLIPTextModel(text_configuration(text, about)),
                    AutoencoderKL(**vae_configuration(vae, about)),
                )
        except (LookupError, ValueError) as error:  # a tensor that tells the shape is missing, or tells an odd one
            what = f"{name} does not have the layers of {cls.title} ({error})"
            raise TetradError("E5009", f"{what}; the file is damaged or of another family") from error
        for part, network, tensors in zip(("unet", "text_encoder", "vae"), networks, (unet, text, vae), strict=True):
            fill(network, tensors, f"the {part} of {name}")
        networks[1].embeddings.position_ids = torch.arange(WINDOW)[None]  # a buffer that no file carries
        resolution = int(weights.metadata.get("modelspec.resolution", "512x512").partition("x")[0])
        return cls(name, prediction, resolution, *networks)

    def parts(self) -> dict[str, nn.Module]:
        return {"unet": self.unet, "text_encoder": self.texts[0].network}

    def condition(self, texts: Sequence[Text], framing: Tensor | None = None) -> Conditioning:
        return read(self.texts, texts, self.reading)

    def predict(self, z_t: Tensor, t: Tensor, c: Conditioning) -> Tensor:
        output: Tensor = self.unet(z_t, t, c.tokens, return_dict=False)[0]
        return output

    def weights(self) -> Weights:
        parts = self.parts() | {"vae": self.vae.network}
        tensors = {f"{part}.{key}": value for part, net in parts.items() for key, value in net.state_dict().items()}
        return Weights("checkpoint", tensors, {"modelspec.prediction_type": self.noise.prediction})


def unet_configuration(tensors: Tensors, about: dict[str, int]) -> dict[str, Any]:
    """Arguments of diffusers' UNet2DConditionModel, read off the tensors' names and shapes."""
    levels = count(tensors, r"down_blocks\.(\d+)\.")
    attends = [f"down_blocks.{level}.attentions.0.norm.weight" in tensors for level in range(levels)]
    first = f"down_blocks.{attends.index(True)}.attentions.0."
    return {
        "block_out_channels": [len(tensors[f"down_blocks.{n}.resnets.0.conv1.weight"]) for n in range(levels)],
        "layers_per_block": count(tensors, r"down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": ["CrossAttnDownBlock2D" if yes else "DownBlock2D" for yes in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if yes else "UpBlock2D" for yes in reversed(attends)],
        "cross_attention_dim": tensors[first + "transformer_blocks.0.attn2.to_k.weight"].shape[1],
        "use_linear_projection": tensors[first + "proj_in.weight"].ndim == 2,
        "attention_head_dim": about["unet.attention_head_dim"],
        "norm_num_groups": about["unet.norm_num_groups"],
    }


def text_configuration(tensors: Tensors, about: dict[str, int]) -> CLIPTextConfig:
    """CLIP's text configuration, read off the tensors' names and shapes."""
    words, width = tensors["embeddings.token_embedding.weight"].shape
    return CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=len(tensors["encoder.layers.0.mlp.fc1.weight"]),
        num_hidden_layers=count(tensors, r"encoder\.layers\.(\d+)\."),
        num_attention_heads=max(1, width // about["text_encoder.head_width"]),
        max_position_embeddings=WINDOW,
        hidden_act="quick_gelu",
    )


def vae_configuration(tensors: Tensors, about: dict[str, int]) -> dict[str, Any]:
    """Arguments of diffusers' AutoencoderKL, read off the tensors' names and shapes."""
    levels = count(tensors, r"encoder\.down_blocks\.(\d+)\.")
    return {
        "block_out_channels": [len(tensors[f"encoder.down_blocks.{n}.resnets.0.conv1.weight"]) for n in range(levels)],
        "layers_per_block": count(tensors, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": about["vae.norm_num_groups"],
        "scaling_factor": VAE_SCALE,
    }


def count(names: Iterable[str], pattern: str) -> int:
    """How many different numbers `pattern` finds, from the start of a name."""
    return len({found[1] for name in names if (found := re.match(pattern, name))})


def fill(network: nn.Module, tensors: Tensors, what: str) -> None:
    """Give a network on the meta device its tensors, as float32; every name and every shape must agree."""
    wanted = network.state_dict()
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        first = f"{missing[0]} is missing" if missing else f"{extra[0]} belongs to no layer"
        raise TetradError(
            "E5009",
            f"{what} does not fit: {len(missing)} tensors are missing and {len(extra)} left over ({first}); "
            "the file is damaged or of another family",
        )
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
            raise TetradError("E5009", f"{what} does not fit: {name} is {shapes}; the file is of another family")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
