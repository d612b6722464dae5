"""The VAE: encodes images and decodes latents, with fallbacks for overflow and for little memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.models import vae_slicing

if TYPE_CHECKING:
    from tetrad.models.networks import AutoencoderKL

Reload = Callable[[], "AutoencoderKL"]
SLICING_MIN_LATENTS = 24_576  # larger images are processed in strips: 128 × 192 latents are 1024 × 1536 pixels
_DOWNSAMPLING_FACTOR = 8  # pixels per latent in every VAE of Stable Diffusion, for a model without a VAE
_MISSING_VAE_MESSAGE = _(
    "{model} has no VAE, which is needed to encode images and to decode latents; save a VAE file next to it under the "
    "same name with the ending .vae.safetensors, or put one into the VAE folder, or give one with --vae: "
    "vae-ft-mse-840000 for photos or kl-f8-anime2 for anime with Stable Diffusion 1 and 2, sdxl_vae with XL (--no-vae "
    "shows the raw latents)"
)
ENCODE_OVERFLOW = _(
    "the VAE could not encode in {dtype} because its values overflowed; it was run again in float32, which is used from"
    " now on"
)
DECODE_OVERFLOW = _(
    "the VAE could not decode in {dtype} because its values overflowed; it was run again in float32, which is used from"
    " now on"
)
NAN_LATENTS = _("the latents contain NaN or Inf; the model, or a network that is used with it, is damaged")
_NAN_IMAGES = _("the VAE decodes valid latents to NaN or Inf; its file is damaged, so use another VAE")


class Vae:
    """diffusers' AutoencoderKL with the factor that scales its latents to about unit variance.

    Its weights are float32, and it computes in `dtype`. Some VAEs overflow in half precision; then the step is repeated
    in float32, with a message in `warnings`. Large images are processed in strips.
    """

    def __init__(
        self, network: "AutoencoderKL | None", scaling_factor: float, reload: Reload | None = None, channels: int = 0
    ) -> None:
        """`network` is None for a model without a VAE; `channels` are the channels of its latents.

        `reload` loads the network again from its file.
        """
        self.scaling_factor = scaling_factor
        self.channels: int = channels if network is None else network.config["latent_channels"]
        self.source: str | Message = Message(_("this checkpoint"))  # the file it is from, for messages
        self.is_mounted = False  # whether it replaces a model's own VAE
        self.reload = reload
        self.dtype = torch.float32
        self.warnings: list[Message] = []
        self.is_missing = network is None
        self.downsampling_factor = (
            2 ** (len(network.config["block_out_channels"]) - 1) if network is not None else _DOWNSAMPLING_FACTOR
        )
        self._network = network
        self._offloaded_from: torch.device | None = None  # the device it returns to when it is used again

    @property
    def network(self) -> "AutoencoderKL":
        """diffusers' module, back on its device.  E5201 for a model without a VAE."""
        self.require_network()
        if self._network is None:
            assert self.reload is not None, "offload() drops a network only if it can be reloaded"
            self._network = self.reload().requires_grad_(False).eval()
        if self._offloaded_from is not None:
            self._network.to(self._offloaded_from)
            self._offloaded_from = None
        return self._network

    def require_network(self) -> None:
        """E5201 for a model without a VAE; called before generation starts, not only when an image is decoded."""
        if self.is_missing:
            raise TetradError("E5201", _MISSING_VAE_MESSAGE, model=self.source)

    @property
    def networks(self) -> "tuple[AutoencoderKL, ...]":
        """The network, or nothing for a model without a VAE."""
        return () if self.is_missing else (self.network,)

    def offload(self) -> None:
        """Free its GPU memory, or on a CPU its memory if it can be reloaded, until it is used again."""
        if self._network is None or self._offloaded_from is not None:
            return
        device = self._network.device
        if device.type != "cpu":
            self._offloaded_from = device
            self._network.to("cpu")
        elif self.reload is not None:
            self._network = None

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std of the scaled latents (B, 4, h, w) of images (B, 3, 8h, 8w) in 0…1."""
        from tetrad.models.networks import DiagonalGaussianDistribution

        network = self.network

        def encode_whole(pixels: Tensor) -> Tensor:
            posterior = network.encode(pixels).latent_dist
            return torch.cat([posterior.mean, posterior.std], dim=1)

        def encode_in_strips(pixels: Tensor, storage_device: torch.device) -> Tensor:
            posterior = DiagonalGaussianDistribution(vae_slicing.encode_in_strips(network, pixels, storage_device))
            return torch.cat([posterior.mean, posterior.std], dim=1)

        pixels = 2 * images.to(network.device) - 1
        is_large = pixels[0, 0].numel() > SLICING_MIN_LATENTS * self.downsampling_factor**2
        mean, std = self._run_with_float32_fallback(
            _SlicingFallback(encode_whole, encode_in_strips), pixels, is_large, ENCODE_OVERFLOW
        ).chunk(2, dim=1)
        return self.scaling_factor * mean, self.scaling_factor * std

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, 8h, 8w) in 0…1 from scaled latents (B, 4, h, w).  E5202 if they contain NaN or Inf."""
        network = self.network

        def decode_whole(z: Tensor) -> Tensor:
            images: Tensor = network.decode(z).sample
            return images

        def decode_in_strips(z: Tensor, storage_device: torch.device) -> Tensor:
            return vae_slicing.decode_in_strips(network, z, storage_device)

        z = latents.to(network.device).float() / self.scaling_factor
        images = self._run_with_float32_fallback(
            _SlicingFallback(decode_whole, decode_in_strips), z, z[0, 0].numel() > SLICING_MIN_LATENTS, DECODE_OVERFLOW
        )
        if not images.isfinite().all():
            raise TetradError("E5202", _NAN_IMAGES if latents.isfinite().all() else NAN_LATENTS)
        return (images / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def _run_with_float32_fallback(
        self, compute: "_SlicingFallback", x: Tensor, is_large: bool, warning: str
    ) -> Tensor:
        """The network's output for x in `dtype`; if that has NaN or Inf, in float32, which is used from then on."""
        if self.dtype != torch.float32:
            with torch.autocast(x.device.type, self.dtype):
                result = compute(x, is_large).float()
            if result.isfinite().all() or not x.isfinite().all():
                return result
            self.warnings.append(Message(warning, dtype=str(self.dtype).removeprefix("torch.")))
            self.dtype = torch.float32
        with torch.autocast(x.device.type, enabled=False):
            return compute(x, is_large)


@dataclass(frozen=True)
class _SlicingFallback:
    """Two functions with the same result: a fast one, and one in strips that stores activations on a given device."""

    run_whole: Callable[[Tensor], Tensor]
    run_in_strips: Callable[[Tensor, torch.device], Tensor]

    def __call__(self, x: Tensor, is_large: bool) -> Tensor:
        """Run on the whole x unless it is large; if GPU memory is full, in strips, then with activations on the CPU."""
        attempts = [] if is_large else [self.run_whole]
        attempts.append(lambda x: self.run_in_strips(x, x.device))
        for attempt in attempts:
            try:
                return attempt(x)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
        return self.run_in_strips(x, torch.device("cpu"))


def render_raw_latents(latents: Tensor, downsampling_factor: int = _DOWNSAMPLING_FACTOR) -> Tensor:
    """Latents (B, 4, h, w) shown without a VAE: the first three channels as RGB images (B, 3, 8h, 8w) in 0…1.

    This is the coloured noise with a faint image in it that people see when a VAE is missing.
    """
    colours = (latents[:, :3].float() / 4 + 0.5).clamp(0, 1)
    return colours.repeat_interleave(downsampling_factor, dim=2).repeat_interleave(downsampling_factor, dim=3)
