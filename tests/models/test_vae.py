"""Pictures to latents and back: as the network itself says, whatever the size, the precision or the memory."""

from collections.abc import Callable

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.models import strips
from tetrad.models import vae as vaes
from tetrad.models.vae import Vae, raw_picture


def network(seed: int = 0, quant: bool = True) -> AutoencoderKL:
    torch.manual_seed(seed)
    made: AutoencoderKL = AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=2,
        norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        use_quant_conv=quant,
        use_post_quant_conv=quant,
    )
    return made.requires_grad_(False).eval()


def pictures(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))


def test_an_ordinary_picture_goes_through_as_the_network_takes_it() -> None:
    vae = Vae(network(), 0.18215)
    mean, std = vae.encode(pictures(32, 48))
    posterior = network().encode(2 * pictures(32, 48) - 1).latent_dist
    assert torch.equal(mean, 0.18215 * posterior.mean) and torch.equal(std, 0.18215 * posterior.std)
    decoded = network().decode(mean / 0.18215).sample
    assert torch.equal(vae.decode(mean), (decoded / 2 + 0.5).clamp(0, 1))


@pytest.mark.parametrize("size", [1, 2**9, 2**11, 2**22])
@pytest.mark.parametrize("quant", [True, False])
def test_a_picture_in_strips_is_the_same_picture(size: int, quant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every strip of two rows up to one strip; to five millionths of a picture's whole range, and of a latent."""
    vae = Vae(network(quant=quant), 1.0)
    mean, std = vae.encode(pictures(56, 40))
    wanted = vae.decode(mean)
    monkeypatch.setattr(vaes, "LARGE", 0)
    monkeypatch.setattr(strips, "SIZE", size)
    in_strips = vae.encode(pictures(56, 40))
    torch.testing.assert_close(in_strips[0], mean, atol=5e-6, rtol=0)
    torch.testing.assert_close(in_strips[1], std, atol=5e-6, rtol=0)
    torch.testing.assert_close(vae.decode(mean), wanted, atol=5e-6, rtol=0)


def test_only_a_large_picture_goes_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(name: str) -> Callable[..., Tensor]:
        real = getattr(strips, name)

        def call(*arguments: object) -> Tensor:
            seen.append(name)
            found: Tensor = real(*arguments)
            return found

        return call

    monkeypatch.setattr(vaes, "LARGE", 4 * 5)
    for name in ("encoded", "decoded"):
        monkeypatch.setattr(strips, name, watched(name))
    vae = Vae(network(), 1.0)
    vae.decode(vae.encode(pictures(32, 40))[0])
    assert seen == []
    vae.decode(vae.encode(pictures(40, 40))[0])
    assert seen == ["encoded", "decoded"]


def test_a_full_accelerator_is_asked_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = Vae(network(), 1.0)
    latents = vae.encode(pictures(32, 32))[0]
    wanted = vae.decode(latents)

    def full(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(vae.network, "decode", full)
    torch.testing.assert_close(vae.decode(latents), wanted, atol=5e-6, rtol=0)


def overflowing() -> AutoencoderKL:
    """Numbers inside pass 65,504, the largest of float16, and come back: as the first SDXL VAE does."""
    made = network()
    for layer in (made.decoder.up_blocks[0].resnets[0].conv1, made.encoder.down_blocks[0].resnets[0].conv1):
        layer.weight.mul_(1e6)
    return made


def test_a_vae_that_overflows_in_half_precision_is_done_again_in_float32_and_says_so() -> None:
    exact, half = Vae(overflowing(), 1.0), Vae(overflowing(), 1.0)
    half.dtype = torch.float16
    latents = exact.encode(pictures(16, 16))[0]
    assert torch.equal(half.decode(latents), exact.decode(latents))
    assert half.dtype == torch.float32
    [warning] = half.warnings
    assert "decode in float16" in warning and "float32" in warning
    half.decode(latents)
    assert len(half.warnings) == 1


def test_encoding_is_guarded_likewise() -> None:
    exact, half = Vae(overflowing(), 1.0), Vae(overflowing(), 1.0)
    half.dtype = torch.float16
    assert torch.equal(half.encode(pictures(16, 16))[0], exact.encode(pictures(16, 16))[0])
    assert "encode in float16" in half.warnings[0]


def test_half_precision_that_holds_is_left_alone() -> None:
    exact, half = Vae(network(), 1.0), Vae(network(), 1.0)
    half.dtype = torch.bfloat16
    latents = exact.encode(pictures(16, 16))[0]
    decoded = half.decode(latents)
    assert decoded.dtype == torch.float32 and not half.warnings and half.dtype == torch.bfloat16
    assert not torch.equal(decoded, exact.decode(latents))
    torch.testing.assert_close(decoded, exact.decode(latents), atol=0.1, rtol=0)


def test_latents_that_are_not_numbers_are_not_the_vaes_fault() -> None:
    vae = Vae(network(), 1.0)
    vae.dtype = torch.bfloat16
    with pytest.raises(TetradError, match="latents themselves are not numbers") as caught:
        vae.decode(torch.full((1, 4, 2, 2), torch.nan))
    assert caught.value.code == "E5202" and not vae.warnings


def test_a_vae_that_makes_no_numbers_in_float32_either_is_named() -> None:
    broken = network()
    broken.decoder.conv_out.bias[0] = torch.nan
    with pytest.raises(TetradError, match=r"E5202.*its file is damaged"):
        Vae(broken, 1.0).decode(torch.zeros(1, 4, 2, 2))


def test_a_vae_that_rests_frees_its_network_and_wakes_as_it_was() -> None:
    loads = []

    def load() -> AutoencoderKL:
        loads.append(1)
        return network()

    vae = Vae(network(), 1.0, load)
    latents = vae.encode(pictures(16, 16))[0]
    wanted = vae.decode(latents)
    vae.rest()
    vae.rest()
    assert vae._network is None and vae.factor == 8 and not loads
    assert torch.equal(vae.decode(latents), wanted) and len(loads) == 1
    assert not any(tensor.requires_grad for tensor in vae.network.parameters()) and not vae.network.training


def test_a_vae_that_could_not_be_had_again_is_kept() -> None:
    vae = Vae(network(), 1.0)
    vae.rest()
    assert vae._network is not None
    vae.decode(torch.zeros(1, 4, 2, 2))


def test_a_checkpoint_without_a_vae_names_three_ways_to_give_it_one() -> None:
    vae = Vae(None, 0.18215)
    vae.rest()
    assert vae.missing and vae.factor == 8 and vae.networks == ()
    with pytest.raises(TetradError) as caught:
        vae.decode(torch.zeros(1, 4, 2, 2))
    assert caught.value.code == "E5201"
    assert all(way in caught.value.message for way in (".vae.safetensors", "VAE folder", "--vae", "--no-vae"))


def test_bare_latents_are_a_picture_of_eight_pixels_each() -> None:
    latents = torch.zeros(1, 4, 2, 3)
    latents[0, 0, 1, 2] = 2.0
    shown = raw_picture(latents)
    assert shown.shape == (1, 3, 16, 24)
    assert shown[0, 0, 8:, 16:].eq(1).all() and shown[0, 0, :8].eq(0.5).all() and shown[0, 1:].eq(0.5).all()
