"""What every model family gives the rest of the program."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor, nn

from tetrad.diffusion.noise import DDPM
from tetrad.models.text import WINDOW, Reading, Text, TextEncoder
from tetrad.models.vae import Vae
from tetrad.weights import Weights

if TYPE_CHECKING:
    from tetrad.models.prediction import Told


@dataclass(frozen=True)
class Conditioning:
    """What the network reads beside the noisy latent."""

    tokens: Tensor  # (B, L, D), what cross-attention reads
    pooled: Tensor | None = None  # (B, P), where the family has one
    framing: Tensor | None = None  # (B, 6) height, width, crop top, left, target height, width; where it reads them
    empty: Tensor | None = None  # (1, 77, D), an empty text's chunk, where texts are as long as they like

    @classmethod
    def stacked(cls, rows: Sequence["Conditioning"]) -> "Conditioning":
        """One conditioning of several, row after row; shorter ones are filled up with an empty text's chunks."""
        longest = max(row.tokens.shape[1] for row in rows)

        def filled(row: Conditioning) -> Tensor:
            short = longest - row.tokens.shape[1]
            if not short:
                return row.tokens
            assert row.empty is not None, "only texts of any length can differ in length"
            chunks = row.empty.repeat(len(row.tokens), short // row.empty.shape[1], 1)
            return torch.cat([row.tokens, chunks], dim=1)

        def together(tensors: list[Tensor | None]) -> Tensor | None:
            given = [tensor for tensor in tensors if tensor is not None]
            return torch.cat(given) if given else None

        return cls(
            torch.cat([filled(row) for row in rows]),
            together([row.pooled for row in rows]),
            together([row.framing for row in rows]),
            rows[0].empty,
        )


class Model(Protocol):
    """One loaded model, whatever its family."""

    family: ClassVar[str]
    title: ClassVar[str]  # what people call the family
    scale: ClassVar[float]  # what makes its latents about unit size
    empty_is_zero: ClassVar[bool]  # an empty negative prompt is zeros, not what the encoders say of no words
    name: str  # the file it came from, for messages and metadata
    resolution: int  # the side in pixels of the squares it was trained on
    metadata: dict[str, str]  # what files made with this model say of it
    told: "Told"  # what it predicts, and how we know
    dtype: torch.dtype  # what its forward computes in; what learns is float32 all the same
    noise: DDPM
    vae: Vae
    texts: Sequence[TextEncoder]
    reading: Reading  # how texts are read, replaceable

    @classmethod
    def predicts(cls, metadata: Mapping[str, str], prediction: str = "") -> "Told | None":
        """What a file of such metadata predicts, `prediction` for who knows better; None where it must be measured."""

    @classmethod
    def build(cls, weights: Weights, name: str, prediction: str = "", vae: Weights | None = None) -> "Model":
        """Networks shaped by the tensors and filled with them; another prediction or VAE where one is given."""
        ...

    def parts(self) -> dict[str, nn.Module]:
        """The networks a method may change, by canonical name."""
        ...

    def condition(self, texts: Sequence[Text], framing: Tensor | None = None) -> Conditioning:
        """What the network reads of each text, one row a text, all of one length."""
        ...

    def predict(self, z_t: Tensor, t: Tensor, c: Conditioning) -> Tensor:
        """The network's raw output for noisy latents z_t (B, C, h, w) at times t (B,)."""
        ...

    def weights(self) -> Weights:
        """Everything the model is, VAE included, by canonical name."""
        ...


def read(
    encoders: Sequence[TextEncoder], texts: Sequence[Text], reading: Reading, framing: Tensor | None = None
) -> Conditioning:
    """Texts through one encoder or several side by side; pooled by the last one that pools."""
    asked = texts if reading.chunks is not None else [*texts, ""]
    tokens = [encoder.tokens(asked, reading) for encoder in encoders]
    length = reading.chunks or max(len(chunks) for each in tokens for chunks in each)
    full = [[[*chunks, *[[]] * (length - len(chunks))] for chunks in each] for each in tokens]
    encoded = [encoder(each, reading) for encoder, each in zip(encoders, full, strict=True)]
    hidden = torch.cat([each.tokens for each in encoded], dim=-1) if len(encoded) > 1 else encoded[0].tokens
    pooled = encoded[-1].pooled
    return Conditioning(
        hidden[: len(texts)],
        None if pooled is None else pooled[: len(texts)],
        framing,
        hidden[len(texts) :, :WINDOW] if len(asked) > len(texts) else None,
    )


def freeze(model: Model) -> None:
    """Nothing in the model learns until a method says so."""
    for part in (*model.parts().values(), *model.vae.networks):
        part.requires_grad_(False).eval()


def to(model: Model, device: torch.device, dtype: torch.dtype, whole: Collection[str] = ()) -> None:
    """Move every network; the VAE stays in float32, where half precision overflows, and so do the `whole` parts."""
    model.dtype = dtype
    for name, part in model.parts().items():
        # Tensor by tensor, so that a GPU never holds all of it unrounded. diffusers' own warns of layers to be kept
        # whole, of which these have none.
        nn.Module.to(part, device, None if name in whole else dtype)
    for network in model.vae.networks:
        network.to(device)


def device_of(model: Model) -> torch.device:
    return next(model.parts()["unet"].parameters()).device


def precision(model: Model) -> AbstractContextManager[object]:
    """Under this a forward computes in the model's own numbers; what learns stays float32."""
    half = model.dtype != torch.float32
    return torch.autocast(device_of(model).type, model.dtype) if half else nullcontext()
