"""Stable Diffusion 1 and 2, and the class they share with XL: a U-Net, CLIP text encoders, four latent channels."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tetrad.errors import TetradError
from tetrad.formats import ldm
from tetrad.formats.ldm import SingleFileLayout
from tetrad.locales import Message, _
from tetrad.models.checks import check_channels, read_architecture, read_resolution
from tetrad.models.layer_patterns import LayerPatterns
from tetrad.models.prediction import PredictionInfo, detect_prediction, doubt_wish, measure_prediction
from tetrad.models.text_encoder_spec import TextEncoderSpec
from tetrad.weights import Weights

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from tetrad.diffusion.noise import Noise, Prediction
    from tetrad.models import infer_config
    from tetrad.models.base import Conditioning
    from tetrad.models.clip import Text, TextEncoder

_BLOCK_PATH = re.compile(r"unet\.(down|up)_blocks\.(\d+)\.(?:(?:resnets|attentions)\.(\d+)\.)?")


def unet_blocks(path: str) -> list[str]:
    """The names of the blocks that contain a layer, the smallest first.

    `unet.down_blocks.1.attentions.0.proj_in` → down_1_0, down_1, down, unet.  kohya numbers the same blocks
    consecutively: down_1_0 of Stable Diffusion 1 is number 4, after the first convolution and the three of down_0.
    """
    if match := _BLOCK_PATH.match(path):
        side, level, layer = match.groups()
        layers = [] if layer is None else [f"{side}_{level}_{layer}"]
        return [*layers, f"{side}_{level}", side, "unet"]
    return ["mid", "unet"] if path.startswith("unet.mid_block.") else [path.partition(".")[0]]


@dataclass(frozen=True)
class ReleasedVariant:
    """The released models of a family with one prediction type: resolution, kohya's and modelspec's names for them."""

    resolution: int
    kohya_version: str
    modelspec_architecture: str


class StableDiffusion:
    """The family's facts are class variables; everything else is inferred from the tensors."""

    family: ClassVar[str]
    family_title: ClassVar[str]
    text_encoder_specs: ClassVar[tuple[TextEncoderSpec, ...]]
    default_prediction: ClassVar[Prediction | None]  # that other programs assume; None: they assume none
    metadata_names: ClassVar[tuple[str, ...]]
    epsilon_variant: ClassVar[ReleasedVariant]
    v_variant: ClassVar[ReleasedVariant]
    scaling_factor: ClassVar[float] = 0.18215
    signature: ClassVar[tuple[str, ...]]
    single_file: ClassVar[SingleFileLayout]
    layers: ClassVar[LayerPatterns] = LayerPatterns(
        attention=re.compile(
            r"unet\..*attentions\.\d+\.(proj_in|proj_out|.*\.(to_q|to_k|to_v|to_out\.0)|.*\.ff\.net\.(0\.proj|2))"
        ),
        convolutions=re.compile(r"unet\..*(resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)|samplers\.0\.conv)"),
        text=re.compile(r"text_encoder(_2)?\..*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"),
        keys_and_values=re.compile(r"unet\..*\.to_([kv])"),
        text_keys=re.compile(r"unet\..*\.attn2\.to_k"),
        blocks=unet_blocks,
    )
    denoiser: ClassVar[str] = "unet"
    channels: ClassVar[int] = 4
    text_width: ClassVar[int]
    steps_table: ClassVar[str] = "StableDiffusionSigmas"
    # Settings that tensor shapes cannot show. A file's `tetrad.architecture` metadata may override them.
    default_config: ClassVar[dict[str, Any]] = {"unet.norm_num_groups": 32, "vae.norm_num_groups": 32}
    released_unet: ClassVar[dict[str, Any]] = {}  # arguments of the released models' UNet2DConditionModel
    zeros_for_empty_prompt: ClassVar[bool] = False
    dtype: torch.dtype

    def __init__(
        self,
        name: str,
        networks: Mapping[str, Any],
        prediction_info: PredictionInfo,
        resolution: int,
        extra_config: Mapping[str, Any],
    ):
        import torch

        from tetrad.diffusion.noise import DDPM, rescale_zero_terminal_snr, scaled_linear
        from tetrad.models.clip import TextEncoding
        from tetrad.models.vae import Vae

        self.name = name
        self.dtype = torch.float32
        self.prediction_info = prediction_info
        self.extra_config = extra_config
        self.unet = networks["unet"]
        self.vae = Vae(networks.get("vae"), self.scaling_factor, channels=self.latent_channels)
        self.vae.source = name
        self.text_encoders: Sequence[TextEncoder] = tuple(
            spec.build_text_encoder(networks[spec.name]) for spec in self.text_encoder_specs
        )
        self.text_encoding = TextEncoding()
        variant = self.epsilon_variant if prediction_info.prediction == "epsilon" else self.v_variant
        self.resolution = resolution or variant.resolution
        self.noise: Noise = DDPM(
            rescale_zero_terminal_snr(scaled_linear()) if prediction_info.zero_terminal_snr else scaled_linear(),
            prediction_info.prediction,
        )
        self.metadata = {
            "ss_base_model_version": variant.kohya_version,
            "ss_v2": str(variant.kohya_version.startswith("sd_v2")),
            "modelspec.architecture": variant.modelspec_architecture,
            "modelspec.prediction_type": prediction_info.prediction,
        }

    @classmethod
    def resolve_prediction(cls, metadata: Mapping[str, str], prediction: str = "") -> PredictionInfo | None:
        """What a file with this metadata predicts, and how we know; E5013 for an unknown name."""
        return detect_prediction(prediction, metadata)

    @classmethod
    def build(cls, weights: Weights, name: str, prediction: str = "", vae: Weights | None = None) -> Self:
        """The model with networks built from the tensors' shapes and filled with them, in float32.

        `prediction` and `vae` replace the checkpoint's own. Raises E5009 if tensors are missing or left over, E5008 for
        an inpainting model, E5013 for an unknown prediction.
        """
        from tetrad.models import infer_config

        extra_config = cls.default_config | read_architecture(weights.metadata, name)
        tensors = {part: weights.part(part) for part in ("unet", *(spec.name for spec in cls.text_encoder_specs))}
        for part, part_tensors in tensors.items():
            if not part_tensors:
                raise TetradError(
                    "E5009", _("{model} contains no {part}; give a complete checkpoint"), model=name, part=part
                )
        if part_tensors := (vae or weights).part("vae"):  # without one, E5201 is raised when the VAE is first used
            tensors["vae"] = part_tensors
        check_channels(tensors["unet"], cls.channels, name, cls.family_title)
        try:
            networks = cls.build_networks(tensors, extra_config)
        except (LookupError, ValueError) as error:  # a tensor that determines the shape is missing or has an odd shape
            raise TetradError(
                "E5009",
                _("{model} does not have the layers of {family} ({error}); the file is damaged or of another family"),
                model=name,
                family=cls.family_title,
                error=error,
            ) from error
        for part, network in networks.items():
            infer_config.load_state_dict(
                network, tensors[part], Message(_("the {part} of {model}"), part=part, model=name)
            )
        prediction_info = cls.resolve_prediction(weights.metadata, prediction)
        resolution = read_resolution(weights.metadata)
        model = cls(name, networks, prediction_info or PredictionInfo("epsilon", Message("")), resolution, extra_config)
        if prediction_info is None:
            return cls(name, networks, measure_prediction(model), resolution, extra_config)
        if prediction_info.is_wish:
            model.prediction_info = doubt_wish(prediction_info, measure_prediction(model), name)
        return model

    @classmethod
    def build_released(cls) -> Self:
        """The family's released model without weights, on the meta device: its layers and their shapes."""
        import torch

        from tetrad.models.networks import UNet2DConditionModel

        with torch.device("meta"):
            networks = {spec.name: spec.build_released_network() for spec in cls.text_encoder_specs}
            networks["unet"] = UNet2DConditionModel(cross_attention_dim=cls.text_width, **cls.released_unet)
        prediction_info = PredictionInfo("epsilon", Message(""))
        return cls(cls.family_title, networks, prediction_info, 0, cls.default_config)

    @classmethod
    def build_networks(
        cls, tensors: Mapping[str, infer_config.Tensors], extra_config: infer_config.ExtraConfig
    ) -> dict[str, nn.Module]:
        """Networks with the tensors' shapes, on the meta device."""
        import torch

        from tetrad.models import infer_config
        from tetrad.models.networks import AutoencoderKL, UNet2DConditionModel

        networks: dict[str, nn.Module] = {}
        pooled_width = 0
        with torch.device("meta"):
            for spec in cls.text_encoder_specs:
                head_width = extra_config.get(f"{spec.name}.head_width", 64)
                activation = extra_config.get(f"{spec.name}.hidden_act", spec.activation)
                configuration = infer_config.infer_text_encoder_config(tensors[spec.name], head_width, activation)
                networks[spec.name] = spec.build_network(configuration)
                pooled_width = configuration.projection_dim
            networks["unet"] = UNet2DConditionModel(
                **infer_config.infer_unet_config(tensors["unet"], extra_config, pooled_width)
            )
            if "vae" in tensors:
                networks["vae"] = AutoencoderKL(
                    **infer_config.infer_vae_config(tensors["vae"], extra_config, cls.scaling_factor)
                )
        return networks

    @property
    def latent_channels(self) -> int:
        channels: int = self.unet.config.in_channels
        return channels

    @property
    def width(self) -> int:
        width: int = self.unet.config.block_out_channels[0]
        return width

    def parts(self) -> dict[str, nn.Module]:
        return {"unet": self.unet} | {encoder.name: encoder.network for encoder in self.text_encoders}

    def condition(self, texts: Sequence[Text], micro_conditioning: Tensor | None = None) -> Conditioning:
        from tetrad.models.base import encode_texts

        return encode_texts(self.text_encoders, texts, self.text_encoding, micro_conditioning)

    def predict(self, z_t: Tensor, t: Tensor, c: Conditioning) -> Tensor:
        output: Tensor = self.unet(z_t, t, c.hidden_states, return_dict=False)[0]
        return output

    def weights(self) -> Weights:
        """All tensors, and the metadata from which the same model can be built again."""
        parts = self.parts() | dict(zip(("vae",), self.vae.networks, strict=False))
        tensors = {f"{part}.{key}": value for part, net in parts.items() for key, value in net.state_dict().items()}
        metadata: dict[str, str] = {"modelspec.prediction_type": self.noise.prediction}
        metadata["modelspec.resolution"] = f"{self.resolution}x{self.resolution}"
        if unusual_config := {
            name: value for name, value in self.extra_config.items() if self.default_config.get(name) != value
        }:
            metadata["tetrad.architecture"] = json.dumps(unusual_config)
        if flags := self.prediction_info.format_flags(self.default_prediction):
            metadata["tetrad.flags"] = flags
        return Weights("checkpoint", tensors, metadata)


class StableDiffusion1(StableDiffusion):
    family = "sd1"
    family_title = "Stable Diffusion 1"
    signature: ClassVar[tuple[str, ...]] = ("model.diffusion_model.input_blocks.",)
    single_file = ldm.SD1
    text_width = 768
    text_encoder_specs = (TextEncoderSpec("text_encoder", "quick_gelu"),)
    default_prediction = "epsilon"
    metadata_names: ClassVar[tuple[str, ...]] = ("sd_v1", "sd_1.", "stable-diffusion-v1")
    epsilon_variant = ReleasedVariant(512, "sd_v1", "stable-diffusion-v1")
    v_variant = ReleasedVariant(512, "sd_v1_v", "stable-diffusion-v1")
    default_config: ClassVar[dict[str, Any]] = StableDiffusion.default_config | {"unet.attention_head_dim": 8}


class StableDiffusion2(StableDiffusion):
    """OpenCLIP-H without the last of its 24 layers.  The released 512-pixel models predict ε, the 768-pixel ones v."""

    family = "sd2"
    family_title = "Stable Diffusion 2"
    signature: ClassVar[tuple[str, ...]] = ("cond_stage_model.model.",)
    single_file = SingleFileLayout("Stable Diffusion 2", openclip={"cond_stage_model.model": "text_encoder"})
    text_width = 1024
    text_encoder_specs = (
        TextEncoderSpec(
            "text_encoder", "gelu", pad_token_id=0, default_clip_skip=2, last_layer=2, released_size=(1024, 23)
        ),
    )
    released_unet: ClassVar[dict[str, Any]] = {"use_linear_projection": True}
    default_prediction = None
    metadata_names: ClassVar[tuple[str, ...]] = ("sd_v2", "sd_2.", "stable-diffusion-v2")
    epsilon_variant = ReleasedVariant(512, "sd_v2", "stable-diffusion-v2-512")
    v_variant = ReleasedVariant(768, "sd_v2_v", "stable-diffusion-v2-768-v")
    default_config: ClassVar[dict[str, Any]] = StableDiffusion.default_config | {"unet.head_width": 64}
