"""The protocol that every model family implements, and what is the same for all of them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor, nn

from tetrad.diffusion.noise import Noise
from tetrad.formats.ldm import SingleFileLayout
from tetrad.models.clip import Text, TextEncoder, TextEncoding
from tetrad.models.layer_patterns import LayerPatterns
from tetrad.models.tokenizer import CONTEXT_LENGTH
from tetrad.models.vae import Vae
from tetrad.weights import Weights

if TYPE_CHECKING:
    from tetrad.models.prediction import PredictionInfo


@dataclass(frozen=True)
class Conditioning:
    """The inputs of the network besides the noisy latents and the time."""

    hidden_states: Tensor  # (B, L, D), for cross-attention
    pooled: Tensor | None = None  # (B, P), None if the family has none
    # (B, 6) height, width, crop top, crop left, target height, target width; None for the defaults, or if it has none
    micro_conditioning: Tensor | None = None
    empty_chunk: Tensor | None = None  # (1, 77, D), the chunk of an empty prompt; only if prompts may have any length

    @classmethod
    def stack(cls, rows: Sequence["Conditioning"]) -> "Conditioning":
        """Several conditionings as one batch; shorter ones are padded with the chunk of an empty prompt."""
        max_length = max(row.hidden_states.shape[1] for row in rows)

        def pad_hidden_states(row: Conditioning) -> Tensor:
            missing_length = max_length - row.hidden_states.shape[1]
            if not missing_length:
                return row.hidden_states
            assert row.empty_chunk is not None, "only prompts of any length can differ in length"
            chunks = row.empty_chunk.repeat(len(row.hidden_states), missing_length // row.empty_chunk.shape[1], 1)
            return torch.cat([row.hidden_states, chunks], dim=1)

        def concatenate(tensors: list[Tensor | None]) -> Tensor | None:
            present = [tensor for tensor in tensors if tensor is not None]
            return torch.cat(present) if present else None

        return cls(
            torch.cat([pad_hidden_states(row) for row in rows]),
            concatenate([row.pooled for row in rows]),
            concatenate([row.micro_conditioning for row in rows]),
            rows[0].empty_chunk,
        )


class Model(Protocol):
    """One loaded model of any family."""

    family: ClassVar[str]
    family_title: ClassVar[str]  # the family's usual name
    signature: ClassVar[tuple[str, ...]]  # prefixes of tensor names that identify a single file of the family
    single_file: ClassVar[SingleFileLayout]
    layers: ClassVar[LayerPatterns]
    denoiser: ClassVar[str]  # the part that predicts: "unet"
    channels: ClassVar[int]  # latent channels of the family's models
    # How its models' names begin in the metadata of LoRA files: kohya's, ai-toolkit's and the model spec's.
    metadata_names: ClassVar[tuple[str, ...]]
    text_width: ClassVar[int]  # cross-attention width of the released models; identifies the family of a LoRA
    steps_table: ClassVar[str]  # the name of diffusers' Align Your Steps table
    scaling_factor: ClassVar[float]  # scales latents to about unit variance
    zeros_for_empty_prompt: ClassVar[bool]  # encode an empty negative prompt as zeros instead of with the text encoders
    name: str  # the file it came from, for messages and metadata
    resolution: int  # side in pixels of the square images it was trained on
    metadata: dict[str, str]  # about this model, for files that are trained on it
    prediction_info: "PredictionInfo"  # what it predicts, and how we know
    dtype: torch.dtype  # of its forward pass; trainable weights are always float32
    noise: Noise
    vae: Vae
    text_encoders: Sequence[TextEncoder]
    text_encoding: TextEncoding  # how prompts are encoded; may be replaced

    @property
    def latent_channels(self) -> int:
        """Channels of the latents that this model denoises."""
        ...

    @property
    def width(self) -> int:
        """Channels of the denoiser's first layer, a measure of its size."""
        ...

    @classmethod
    def resolve_prediction(cls, metadata: Mapping[str, str], prediction: str = "") -> "PredictionInfo | None":
        """What a file with this metadata predicts; `prediction` overrides it.  None if it must be measured."""

    @classmethod
    def build(cls, weights: Weights, name: str, prediction: str = "", vae: Weights | None = None) -> "Model":
        """The model with networks built from the tensors' shapes and filled with them.

        `prediction` and `vae` replace the checkpoint's own if they are given.
        """
        ...

    @classmethod
    def build_released(cls) -> "Model":
        """The family's released model without weights, on the meta device: its layers and their shapes."""
        ...

    def parts(self) -> dict[str, nn.Module]:
        """The networks that a method may train, by canonical name."""
        ...

    def condition(self, texts: Sequence[Text], micro_conditioning: Tensor | None = None) -> Conditioning:
        """The conditioning of each prompt, one row per prompt, all of the same length."""
        ...

    def predict(self, z_t: Tensor, t: Tensor, c: Conditioning) -> Tensor:
        """The network's raw output for noisy latents z_t (B, C, h, w) at times t (B,)."""
        ...

    def weights(self) -> Weights:
        """All weights of the model including the VAE, by canonical name."""
        ...


def encode_texts(
    encoders: Sequence[TextEncoder],
    texts: Sequence[Text],
    encoding: TextEncoding,
    micro_conditioning: Tensor | None = None,
) -> Conditioning:
    """Prompts encoded by one text encoder, or by several whose outputs are concatenated.

    The pooled output is the last encoder's.
    """
    texts_to_encode = texts if encoding.chunk_count is not None else [*texts, ""]
    token_chunks = [encoder.tokenize(texts_to_encode, encoding) for encoder in encoders]
    chunk_count = encoding.chunk_count or max(len(chunks) for each in token_chunks for chunks in each)
    padded_chunks = [[[*chunks, *[[]] * (chunk_count - len(chunks))] for chunks in each] for each in token_chunks]
    outputs = [encoder(each, encoding) for encoder, each in zip(encoders, padded_chunks, strict=True)]
    hidden_states = (
        torch.cat([each.hidden_states for each in outputs], dim=-1) if len(outputs) > 1 else outputs[0].hidden_states
    )
    pooled = outputs[-1].pooled
    return Conditioning(
        hidden_states[: len(texts)],
        None if pooled is None else pooled[: len(texts)],
        micro_conditioning,
        hidden_states[len(texts) :, :CONTEXT_LENGTH] if len(texts_to_encode) > len(texts) else None,
    )


def freeze(model: Model) -> None:
    """Make every parameter of the model untrainable; methods unfreeze what they train."""
    for part in (*model.parts().values(), *model.vae.networks):
        part.requires_grad_(False).eval()


def move_networks(
    model: Model, device: torch.device, dtype: torch.dtype, full_precision_parts: Collection[str] = ()
) -> None:
    """Move every network to a device and dtype.

    The VAE stays in float32, since it can overflow in half precision, and so do the full-precision parts.
    """
    model.dtype = dtype
    for name, part in model.parts().items():
        # Tensor by tensor, so that a GPU never holds the whole part in float32. diffusers' own `to` warns about layers
        # to keep in float32, which these networks do not have.
        nn.Module.to(part, device, None if name in full_precision_parts else dtype)
    for network in model.vae.networks:
        network.to(device)


def denoiser_of(model: Model) -> nn.Module:
    return model.parts()[model.denoiser]


def get_model_device(model: Model) -> torch.device:
    return next(denoiser_of(model).parameters()).device


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which tensors keep their dtype; the meta device, which estimates use, has no autocast at all."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def autocast_to_model_dtype(model: Model) -> AbstractContextManager[object]:
    """A context in which the forward pass runs in the model's dtype; trainable weights stay float32."""
    uses_autocast = model.dtype != torch.float32
    return torch.autocast(get_model_device(model).type, model.dtype) if uses_autocast else nullcontext()
