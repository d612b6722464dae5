"""Stable Diffusion 1 and 2, and what XL shares with them: one U-Net, CLIP, four latent channels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from tetrad.diffusion.noise import DDPM, Prediction, scaled_linear, zero_terminal
from tetrad.errors import TetradError
from tetrad.models import shapes
from tetrad.models.base import Conditioning, read
from tetrad.models.prediction import Told, measured, told
from tetrad.models.text import END, WINDOW, Reading, Text, TextEncoder
from tetrad.models.vae import Vae
from tetrad.weights import Weights


@dataclass(frozen=True)
class Tower:
    """What the tensors of a text encoder do not tell; `TextEncoder` says what the last four are."""

    name: str
    activation: str
    network: type[nn.Module] = CLIPTextModel
    pad: int = END
    skip: int = 1
    last: int = 1
    normed: bool = True

    def encoder(self, network: Any) -> TextEncoder:
        return TextEncoder(self.name, network, pad=self.pad, skip=self.skip, last=self.last, normed=self.normed)


@dataclass(frozen=True)
class Published:
    """The published models of a family that predict one thing: their resolution, kohya's name for them, modelspec's."""

    side: int
    version: str
    architecture: str


class StableDiffusion:
    """The family's facts are class variables; everything else is read off the tensors."""

    family: ClassVar[str]
    title: ClassVar[str]
    towers: ClassVar[tuple[Tower, ...]]
    usual: ClassVar[Prediction | None]  # what a file predicts that says nothing of it; None: it is measured
    epsilon: ClassVar[Published]
    v: ClassVar[Published]
    scale: ClassVar[float] = 0.18215
    # What the shapes of the tensors do not tell. A file may say otherwise in its `tetrad.architecture` metadata.
    architecture: ClassVar[dict[str, Any]] = {"unet.norm_num_groups": 32, "vae.norm_num_groups": 32}
    empty_is_zero: ClassVar[bool] = False  # an empty negative prompt is zeros, not what the encoders say of no words
    dtype: torch.dtype = torch.float32

    def __init__(self, name: str, networks: Mapping[str, Any], told: Told, resolution: int, about: Mapping[str, Any]):
        self.name = name
        self.told = told
        self.about = about
        self.unet = networks["unet"]
        self.vae = Vae(networks.get("vae"), self.scale)
        self.vae.owner = name
        self.texts: Sequence[TextEncoder] = tuple(tower.encoder(networks[tower.name]) for tower in self.towers)
        self.reading = Reading()
        published = self.epsilon if told.prediction == "epsilon" else self.v
        self.resolution = resolution or published.side
        self.noise = DDPM(zero_terminal(scaled_linear()) if told.zero_terminal else scaled_linear(), told.prediction)
        self.metadata = {
            "ss_base_model_version": published.version,
            "ss_v2": str(published.version.startswith("sd_v2")),
            "modelspec.architecture": published.architecture,
            "modelspec.prediction_type": told.prediction,
        }

    @classmethod
    def predicts(cls, metadata: Mapping[str, str], prediction: str = "") -> Told | None:
        """What a file of such metadata predicts, and how we know; E5013 for a prediction nobody knows."""
        return told(prediction, metadata, cls.usual)

    @classmethod
    def build(cls, weights: Weights, name: str, prediction: str = "", vae: Weights | None = None) -> Self:
        """The networks, shaped by the tensors and filled with them, in float32; the VAE another one where it is given.

        `prediction` is for who knows better than the file. Raises E5009 where tensors are missing or left over, E5008
        for an inpainting model, E5013 for a prediction nobody knows.
        """
        about = cls.architecture | json.loads(weights.metadata.get("tetrad.architecture", "{}"))
        tensors = {part: weights.part(part) for part in ("unet", *(tower.name for tower in cls.towers))}
        for part, found in tensors.items():
            if not found:
                raise TetradError("E5009", f"{name} has no {part} inside; a whole checkpoint is needed")
        if found := (vae or weights).part("vae"):  # without one, pictures fail with a sentence when one is asked for
            tensors["vae"] = found
        if "conv_in.weight" in tensors["unet"] and tensors["unet"]["conv_in.weight"].shape[1:2] == (9,):
            raise TetradError("E5008", f"{name} is an inpainting model; give the ordinary {cls.title} one")
        try:
            with torch.device("meta"):
                networks = cls.networks(tensors, about)
        except (LookupError, ValueError) as error:  # a tensor that tells the shape is missing, or tells an odd one
            what = f"{name} does not have the layers of {cls.title} ({error})"
            raise TetradError("E5009", f"{what}; the file is damaged or of another family") from error
        for part, network in networks.items():
            shapes.fill(network, tensors[part], f"the {part} of {name}")
        known = cls.predicts(weights.metadata, prediction)
        resolution = int(weights.metadata.get("modelspec.resolution", "0").partition("x")[0])
        model = cls(name, networks, known or Told("epsilon", ""), resolution, about)
        return model if known else cls(name, networks, measured(model), resolution, about)

    @classmethod
    def networks(cls, tensors: Mapping[str, shapes.Tensors], about: shapes.About) -> dict[str, nn.Module]:
        """Networks with the tensors' shapes, made on the device that is the default."""
        built: dict[str, nn.Module] = {}
        pooled = 0
        for tower in cls.towers:
            width = about.get(f"{tower.name}.head_width", 64)
            activation = about.get(f"{tower.name}.hidden_act", tower.activation)
            configuration = shapes.text(tensors[tower.name], width, activation)
            built[tower.name] = text_network(tower.network, configuration)
            pooled = configuration.projection_dim
        built["unet"] = UNet2DConditionModel(**shapes.unet(tensors["unet"], about, pooled))
        if "vae" in tensors:
            built["vae"] = AutoencoderKL(**shapes.vae(tensors["vae"], about, cls.scale))
        return built

    def parts(self) -> dict[str, nn.Module]:
        return {"unet": self.unet} | {text.name: text.network for text in self.texts}

    def condition(self, texts: Sequence[Text], framing: Tensor | None = None) -> Conditioning:
        return read(self.texts, texts, self.reading, framing)

    def predict(self, z_t: Tensor, t: Tensor, c: Conditioning) -> Tensor:
        output: Tensor = self.unet(z_t, t, c.tokens, return_dict=False)[0]
        return output

    def weights(self) -> Weights:
        """Every tensor, and what a file must say so that the same model comes back from it."""
        parts = self.parts() | dict(zip(("vae",), self.vae.networks, strict=False))
        tensors = {f"{part}.{key}": value for part, net in parts.items() for key, value in net.state_dict().items()}
        metadata: dict[str, str] = {"modelspec.prediction_type": self.noise.prediction}
        metadata["modelspec.resolution"] = f"{self.resolution}x{self.resolution}"
        if odd := {name: value for name, value in self.about.items() if self.architecture.get(name) != value}:
            metadata["tetrad.architecture"] = json.dumps(odd)
        if flags := self.told.flags(self.usual):
            metadata["tetrad.flags"] = flags
        return Weights("checkpoint", tensors, metadata)


def text_network(kind: type[nn.Module], configuration: CLIPTextConfig) -> nn.Module:
    network = kind(configuration)
    inner: Any = getattr(network, "text_model", network)
    inner.embeddings.position_ids = torch.arange(WINDOW, device="cpu")[None]  # a buffer that no file carries
    return network


class StableDiffusion1(StableDiffusion):
    family = "sd1"
    title = "Stable Diffusion 1"
    towers = (Tower("text_encoder", "quick_gelu"),)
    usual = "epsilon"
    epsilon = Published(512, "sd_v1", "stable-diffusion-v1")
    v = Published(512, "sd_v1_v", "stable-diffusion-v1")
    architecture: ClassVar[dict[str, Any]] = StableDiffusion.architecture | {"unet.attention_head_dim": 8}


class StableDiffusion2(StableDiffusion):
    """OpenCLIP-H reads the words, without the last of its 24 layers.  The published 512 models predict ε, the 768 v."""

    family = "sd2"
    title = "Stable Diffusion 2"
    towers = (Tower("text_encoder", "gelu", pad=0, skip=2, last=2),)
    usual = None
    epsilon = Published(512, "sd_v2", "stable-diffusion-v2-512")
    v = Published(768, "sd_v2_v", "stable-diffusion-v2-768-v")
    architecture: ClassVar[dict[str, Any]] = StableDiffusion.architecture | {"unet.head_width": 64}
