"""What a family says of its text encoders, and how their networks are built from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from tetrad.models.clip import TextEncoder
    from tetrad.models.networks import CLIPTextConfig

START_TOKEN_ID, END_TOKEN_ID = 49406, 49407


@dataclass(frozen=True)
class TextEncoderSpec:
    """Settings of a text encoder that tensor shapes cannot show; `TextEncoder` explains those that it has too."""

    name: str
    activation: str
    has_projection: bool = False  # to a pooled embedding
    pad_token_id: int = END_TOKEN_ID
    default_clip_skip: int = 1
    last_layer: int = 1
    applies_final_norm: bool = True
    released_size: tuple[int, int] = (768, 12)  # width and number of layers of the released models

    def build_released_network(self) -> nn.Module:
        """The network of the released models."""
        from tetrad.models.networks import CLIPTextConfig

        width, layers = self.released_size
        sizes = {"hidden_size": width, "intermediate_size": 4 * width, "projection_dim": width}
        sizes["num_hidden_layers"] = layers
        return self.build_network(CLIPTextConfig(**sizes, hidden_act=self.activation))

    def build_network(self, configuration: CLIPTextConfig) -> nn.Module:
        """CLIP's text encoder of this configuration, on torch's current default device."""
        import torch

        from tetrad.models.networks import CLIPTextModel, CLIPTextModelWithProjection
        from tetrad.models.tokenizer import CONTEXT_LENGTH

        network: nn.Module = (CLIPTextModelWithProjection if self.has_projection else CLIPTextModel)(configuration)
        text_model: Any = getattr(network, "text_model", network)
        # A buffer that is in no file.
        text_model.embeddings.position_ids = torch.arange(CONTEXT_LENGTH, device="cpu")[None]
        return network

    def build_text_encoder(self, network: Any) -> TextEncoder:
        from tetrad.models.clip import TextEncoder

        return TextEncoder(
            self.name,
            network,
            pad_token_id=self.pad_token_id,
            default_clip_skip=self.default_clip_skip,
            last_layer=self.last_layer,
            applies_final_norm=self.applies_final_norm,
        )
