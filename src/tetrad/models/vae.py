"""The autoencoder between pictures and latents."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.models import strips

Reload = Callable[[], AutoencoderKL]
LARGE = 24_576  # latents of a picture above which it goes through in strips: 128 × 192 are 1024 × 1536 pixels
FACTOR = 8  # pixels per latent of every VAE of Stable Diffusion, for a model whose own is not there
NONE = (
    "no VAE is inside {}, and without one neither do pictures become latents nor latents pictures; put a VAE file "
    "beside it under the checkpoint's name with .vae.safetensors behind it, or one into the VAE folder, or name one "
    "with --vae (--no-vae shows the bare latents)"
)


class Vae:
    """diffusers' AutoencoderKL with the scale that makes its latents about unit size.

    Its weights are float32. What it computes in is `dtype`: in half precision some VAEs overflow, which is noticed,
    said in `warnings` and done again in float32. Large pictures go through in strips.
    """

    def __init__(self, network: AutoencoderKL | None, scale: float, reload: Reload | None = None) -> None:
        """`network` is None where a model came without a VAE; `reload` gives the network again from its file."""
        self.scale = scale
        self.owner = "this checkpoint"  # the file it is from, for messages
        self.mounted = False  # whether it is in the place of a model's own
        self.reload = reload
        self.dtype = torch.float32
        self.warnings: list[str] = []
        self.missing = network is None
        self.factor = 2 ** (len(network.config["block_out_channels"]) - 1) if network is not None else FACTOR
        self._network = network
        self._home: torch.device | None = None  # where it wakes, while it rests

    @property
    def network(self) -> AutoencoderKL:
        """diffusers' module, awake.  E5201 where the model came without a VAE."""
        self.check_there()
        if self._network is None:
            assert self.reload is not None, "rest keeps a network that it cannot have again"
            self._network = self.reload().requires_grad_(False).eval()
        if self._home is not None:
            self._network.to(self._home)
            self._home = None
        return self._network

    def check_there(self) -> None:
        """E5201 where the model came without a VAE, so that nothing is drawn that could not be shown."""
        if self.missing:
            raise TetradError("E5201", NONE.format(self.owner))

    @property
    def networks(self) -> tuple[AutoencoderKL, ...]:
        """The network, or nothing where the model came without one."""
        return () if self.missing else (self.network,)

    def rest(self) -> None:
        """Free the memory it takes, until it is asked for something: an accelerator's, or where that can be, all."""
        if self._network is None or self._home is not None:
            return
        home = self._network.device
        if home.type != "cpu":
            self._home = home
            self._network.to("cpu")
        elif self.reload is not None:
            self._network = None

    def encode(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std of the scaled latents (B, 4, h, w) of pictures (B, 3, 8h, 8w) in 0…1."""
        network = self.network

        def whole(pixels: Tensor) -> Tensor:
            posterior = network.encode(pixels).latent_dist
            return torch.cat([posterior.mean, posterior.std], dim=1)

        def in_strips(pixels: Tensor, hold: torch.device) -> Tensor:
            posterior = DiagonalGaussianDistribution(strips.encoded(network, pixels, hold))
            return torch.cat([posterior.mean, posterior.std], dim=1)

        pixels = 2 * pictures.to(network.device) - 1
        large = pixels[0, 0].numel() > LARGE * self.factor**2
        mean, std = self._computed(Ways(whole, in_strips), pixels, large, "encode").chunk(2, dim=1)
        return self.scale * mean, self.scale * std

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B, 3, 8h, 8w) in 0…1 of scaled latents (B, 4, h, w).  E5202 where they are no numbers."""
        network = self.network

        def whole(z: Tensor) -> Tensor:
            pictures: Tensor = network.decode(z).sample
            return pictures

        def in_strips(z: Tensor, hold: torch.device) -> Tensor:
            return strips.decoded(network, z, hold)

        z = latents.to(network.device).float() / self.scale
        pictures = self._computed(Ways(whole, in_strips), z, z[0, 0].numel() > LARGE, "decode")
        if not pictures.isfinite().all():
            blame = (
                "the VAE makes pictures of them that are not numbers; its file is damaged, so use another VAE"
                if latents.isfinite().all()
                else "the latents themselves are not numbers; the model or what was trained on it is broken"
            )
            raise TetradError("E5202", f"there is no picture: {blame}")
        return (pictures / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def _computed(self, ways: "Ways", x: Tensor, large: bool, verb: str) -> Tensor:
        """What the network makes of x in `dtype`; where that gives no numbers, in float32 from then on."""
        if self.dtype != torch.float32:
            with torch.autocast(x.device.type, self.dtype):
                result = ways(x, large).float()
            if result.isfinite().all() or not x.isfinite().all():
                return result
            name = str(self.dtype).removeprefix("torch.")
            self.warnings.append(
                f"the VAE could not {verb} in {name}: the numbers grew too large for it; it was done again in float32, "
                "and so will the rest be"
            )
            self.dtype = torch.float32
        with torch.autocast(x.device.type, enabled=False):
            return ways(x, large)


@dataclass(frozen=True)
class Ways:
    """Two ways to the same numbers: quick, or in little memory with what lies between layers on a device."""

    whole: Callable[[Tensor], Tensor]
    in_strips: Callable[[Tensor, torch.device], Tensor]

    def __call__(self, x: Tensor, large: bool) -> Tensor:
        """Whole unless x is large; where an accelerator's memory is full, in less and then in the least."""
        tries = [] if large else [self.whole]
        tries.append(lambda x: self.in_strips(x, x.device))
        for attempt in tries:
            try:
                return attempt(x)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
        return self.in_strips(x, torch.device("cpu"))


def raw_picture(latents: Tensor, factor: int = FACTOR) -> Tensor:
    """What latents (B, 4, h, w) look like without a VAE: their first three channels as colours, (B, 3, 8h, 8w) in 0…1.

    The coloured noise with a shadow of the picture in it that people see where a VAE is missing.
    """
    colours = (latents[:, :3].float() / 4 + 0.5).clamp(0, 1)
    return colours.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
