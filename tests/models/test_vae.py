"""The VAE gives the network's own result, whatever the image size, dtype or free memory."""

from collections.abc import Callable

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.locales import Message
from tetrad.models import vae as vaes
from tetrad.models import vae_slicing
from tetrad.models.vae import Vae, render_raw_latents


def build_network(seed: int = 0, quant: bool = True) -> AutoencoderKL:
    torch.manual_seed(seed)
    network: AutoencoderKL = AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=2,
        norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        use_quant_conv=quant,
        use_post_quant_conv=quant,
    )
    return network.requires_grad_(False).eval()


def make_images(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))


def test_an_ordinary_image_is_encoded_and_decoded_by_the_network_itself() -> None:
    vae = Vae(build_network(), 0.18215)
    mean, std = vae.encode(make_images(32, 48))
    posterior = build_network().encode(2 * make_images(32, 48) - 1).latent_dist
    assert torch.equal(mean, 0.18215 * posterior.mean) and torch.equal(std, 0.18215 * posterior.std)
    decoded = build_network().decode(mean / 0.18215).sample
    assert torch.equal(vae.decode(mean), (decoded / 2 + 0.5).clamp(0, 1))


@pytest.mark.parametrize("size", [1, 2**9, 2**11, 2**22])
@pytest.mark.parametrize("quant", [True, False])
def test_an_image_in_strips_gives_the_same_result(size: int, quant: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From strips of two rows to a single strip, to 5e-6 of a pixel's range and of a latent."""
    vae = Vae(build_network(quant=quant), 1.0)
    mean, std = vae.encode(make_images(56, 40))
    expected = vae.decode(mean)
    monkeypatch.setattr(vaes, "SLICING_MIN_LATENTS", 0)
    monkeypatch.setattr(vae_slicing, "STRIP_ELEMENTS", size)
    in_strips = vae.encode(make_images(56, 40))
    torch.testing.assert_close(in_strips[0], mean, atol=5e-6, rtol=0)
    torch.testing.assert_close(in_strips[1], std, atol=5e-6, rtol=0)
    torch.testing.assert_close(vae.decode(mean), expected, atol=5e-6, rtol=0)


def test_only_large_images_are_processed_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def record_calls(name: str) -> Callable[..., Tensor]:
        real = getattr(vae_slicing, name)

        def call(*arguments: object) -> Tensor:
            calls.append(name)
            result: Tensor = real(*arguments)
            return result

        return call

    monkeypatch.setattr(vaes, "SLICING_MIN_LATENTS", 4 * 5)
    for name in ("encode_in_strips", "decode_in_strips"):
        monkeypatch.setattr(vae_slicing, name, record_calls(name))
    vae = Vae(build_network(), 1.0)
    vae.decode(vae.encode(make_images(32, 40))[0])
    assert calls == []
    vae.decode(vae.encode(make_images(40, 40))[0])
    assert calls == ["encode_in_strips", "decode_in_strips"]


def test_an_image_is_processed_in_strips_if_gpu_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = Vae(build_network(), 1.0)
    latents = vae.encode(make_images(32, 32))[0]
    expected = vae.decode(latents)

    def raise_out_of_memory(*_: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(vae.network, "decode", raise_out_of_memory)
    torch.testing.assert_close(vae.decode(latents), expected, atol=5e-6, rtol=0)


def build_overflowing_network() -> AutoencoderKL:
    """Its activations exceed 65,504, the largest float16, like those of the first SDXL VAE; its output does not."""
    network = build_network()
    for layer in (network.decoder.up_blocks[0].resnets[0].conv1, network.encoder.down_blocks[0].resnets[0].conv1):
        layer.weight.mul_(1e6)
    return network


def test_decoding_that_overflows_in_half_precision_is_repeated_in_float32_with_a_warning() -> None:
    exact, half = Vae(build_overflowing_network(), 1.0), Vae(build_overflowing_network(), 1.0)
    half.dtype = torch.float16
    latents = exact.encode(make_images(16, 16))[0]
    assert torch.equal(half.decode(latents), exact.decode(latents))
    assert half.dtype == torch.float32
    [warning] = half.warnings
    assert warning == Message(vaes.DECODE_OVERFLOW, dtype="float16")
    half.decode(latents)
    assert len(half.warnings) == 1


def test_encoding_that_overflows_in_half_precision_is_repeated_in_float32_with_a_warning() -> None:
    exact, half = Vae(build_overflowing_network(), 1.0), Vae(build_overflowing_network(), 1.0)
    half.dtype = torch.float16
    assert torch.equal(half.encode(make_images(16, 16))[0], exact.encode(make_images(16, 16))[0])
    assert half.warnings == [Message(vaes.ENCODE_OVERFLOW, dtype="float16")]


def test_half_precision_without_overflow_is_kept() -> None:
    exact, half = Vae(build_network(), 1.0), Vae(build_network(), 1.0)
    half.dtype = torch.bfloat16
    latents = exact.encode(make_images(16, 16))[0]
    decoded = half.decode(latents)
    assert decoded.dtype == torch.float32 and not half.warnings and half.dtype == torch.bfloat16
    assert not torch.equal(decoded, exact.decode(latents))
    torch.testing.assert_close(decoded, exact.decode(latents), atol=0.1, rtol=0)


def test_latents_with_nan_are_refused_without_blaming_the_vae() -> None:
    vae = Vae(build_network(), 1.0)
    vae.dtype = torch.bfloat16
    with pytest.raises(TetradError, match="E5202 the latents contain NaN") as caught:
        vae.decode(torch.full((1, 4, 2, 2), torch.nan))
    assert caught.value.sentence.template == vaes.NAN_LATENTS and not vae.warnings


def test_a_vae_that_makes_nan_in_float32_is_reported_as_damaged() -> None:
    broken = build_network()
    broken.decoder.conv_out.bias[0] = torch.nan
    with pytest.raises(TetradError, match=r"E5202 the VAE .*damaged"):
        Vae(broken, 1.0).decode(torch.zeros(1, 4, 2, 2))


def test_an_offloaded_vae_frees_its_network_and_reloads_it_when_used() -> None:
    loads = []

    def load() -> AutoencoderKL:
        loads.append(1)
        return build_network()

    vae = Vae(build_network(), 1.0, load)
    latents = vae.encode(make_images(16, 16))[0]
    expected = vae.decode(latents)
    vae.offload()
    vae.offload()
    assert vae._network is None and vae.downsampling_factor == 8 and not loads
    assert torch.equal(vae.decode(latents), expected) and len(loads) == 1
    assert not any(tensor.requires_grad for tensor in vae.network.parameters()) and not vae.network.training


def test_a_vae_that_cannot_be_reloaded_stays_in_memory() -> None:
    vae = Vae(build_network(), 1.0)
    vae.offload()
    assert vae._network is not None
    vae.decode(torch.zeros(1, 4, 2, 2))


def test_the_error_for_a_missing_vae_names_the_ways_to_give_one() -> None:
    vae = Vae(None, 0.18215)
    vae.offload()
    assert vae.is_missing and vae.downsampling_factor == 8 and vae.networks == ()
    with pytest.raises(TetradError) as caught:
        vae.decode(torch.zeros(1, 4, 2, 2))
    assert caught.value.code == "E5201"
    assert all(way in caught.value.message for way in (".vae.safetensors", "VAE folder", "--vae", "--no-vae"))


def test_raw_latents_are_shown_as_squares_of_eight_pixels() -> None:
    latents = torch.zeros(1, 4, 2, 3)
    latents[0, 0, 1, 2] = 2.0
    shown = render_raw_latents(latents)
    assert shown.shape == (1, 3, 16, 24)
    assert shown[0, 0, 8:, 16:].eq(1).all() and shown[0, 0, :8].eq(0.5).all() and shown[0, 1:].eq(0.5).all()
