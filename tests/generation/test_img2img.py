"""img2img and inpainting."""

import pytest
import tiny
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionImg2ImgPipeline
from PIL import Image
from torch import Generator, Tensor

from tetrad.diffusion.noise import DDPM, scaled_linear
from tetrad.diffusion.randomness import generator
from tetrad.diffusion.samplers import SOLVERS, InitLatents, create_scheduler, sample
from tetrad.errors import TetradError
from tetrad.generation import img2img
from tetrad.generation.generate import denoise, generate_images, with_size
from tetrad.generation.request import InitImage, Request
from tetrad.models.tokenizer import load_tokenizer

IMAGE = torch.rand(3, 32, 48, generator=generator(0, 0, "image"))


def test_denoising_strength_zero_gives_the_vae_reconstruction() -> None:
    model = tiny.build_model(is_shallow=True)
    (image,) = generate_images(model, [Request("a cat", steps=4, init_image=InitImage(IMAGE), denoising_strength=0.0)])
    assert torch.equal(image, model.vae.decode(model.vae.encode(IMAGE[None])[0])[0])


def test_a_higher_denoising_strength_changes_the_image_more() -> None:
    model = tiny.build_model(is_shallow=True)
    requests = [
        Request("a cat", steps=8, init_image=InitImage(IMAGE), denoising_strength=strength)
        for strength in (0.25, 0.5, 1.0)
    ]
    start = model.vae.encode(IMAGE[None])[0]
    changes = [(list(denoise(model, [with_size(request, model)]))[-1] - start).square().mean() for request in requests]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_pixels_outside_the_mask_are_those_of_the_init_image() -> None:
    mask = torch.zeros(1, 32, 48)
    mask[:, 8:24, 16:32] = 1
    (image,) = generate_images(
        tiny.build_model(is_shallow=True), [Request("a cat", steps=3, init_image=InitImage(IMAGE, mask))]
    )
    outside = (mask == 0).expand(3, -1, -1)
    assert torch.equal(image[outside], IMAGE[outside])
    assert not torch.allclose(image[~outside], IMAGE[~outside], atol=0.05)


@pytest.mark.parametrize("name", list(SOLVERS))
def test_every_sampler_changes_latents_inside_the_mask_only(name: str) -> None:
    noise = DDPM(scaled_linear())
    latents, mask = torch.randn(2, 4, 4, 4, generator=generator(0, 0, "z")), torch.zeros(1, 1, 4, 4)
    mask[..., 2:] = 1

    def zero(z_t: Tensor, t: Tensor, step: int) -> Tensor:  # the network of a data set that is 0 everywhere
        return z_t / noise.scales(t.round().long())[1]

    solver = create_scheduler(name, noise, 8, torch.device("cpu"))
    rng = [generator(0, n, "steps") for n in range(2)]
    eps = torch.randn(latents.shape, generator=generator(1, 0, "eps"))
    *_, z = sample(solver, zero, eps, 8, rng, InitLatents(latents, 4, mask))
    assert torch.equal(z[..., :2], latents[..., :2])
    assert z[..., 2:].abs().max() < 0.1


def test_img2img_matches_the_diffusers_pipeline() -> None:
    model = tiny.build_model(is_shallow=True)
    model.unet.register_to_config(sample_size=64)  # the pipeline warns about a smaller one
    pipeline = StableDiffusionImg2ImgPipeline(
        vae=model.vae.network,
        text_encoder=model.text_encoders[0].network,
        tokenizer=load_tokenizer(),
        unet=model.unet,
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="linspace",
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    request = Request("a cat", "blurry", 5, 6, 4.0, "Euler", init_image=InitImage(IMAGE), denoising_strength=0.5)
    theirs = pipeline(
        "a cat",
        image=model.vae.encode(IMAGE[None])[0],
        strength=0.5,
        negative_prompt="blurry",
        num_inference_steps=6,
        guidance_scale=4.0,
        generator=Generator().manual_seed(5),
        output_type="latent",
    ).images
    # As in txt2img, the noise schedules differ by rounding.
    *_, ours = denoise(model, [with_size(request, model)])
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-5)


def test_the_default_size_is_that_of_the_image_and_a_large_image_is_reduced() -> None:
    assert img2img.default_size(Image.new("RGB", (515, 300))) == (512, 296)
    width, height = img2img.default_size(Image.new("RGB", (4000, 2000)))
    assert width * height <= img2img.MAX_DEFAULT_PIXELS and abs(width - 2 * height) <= 8
    assert width % 8 == height % 8 == 0


def test_a_mask_must_have_the_images_aspect_ratio_and_a_white_area() -> None:
    image = Image.new("RGB", (64, 32))
    for mask, words in ((Image.new("RGB", (32, 32), "white"), "aspect ratio"), (Image.new("L", (128, 64)), "black")):
        with pytest.raises(TetradError, match=words) as caught:
            img2img.make_init_image(image, mask, 0, Request("a cat"))
        assert caught.value.code == "E3251"


def test_a_mask_or_a_denoising_strength_needs_an_init_image() -> None:
    for image, mask, strength in ((None, "m.png", None), (None, None, 0.5)):
        with pytest.raises(TetradError) as caught:
            img2img.require_init_image(image, mask, strength)
        assert caught.value.code == "E3206"
    img2img.require_init_image("x.png", "m.png", 0.5)


def test_the_mask_blur_softens_only_the_edge() -> None:
    half = Image.new("RGB", (64, 32))
    half.paste("white", (32, 0, 64, 32))
    soft = img2img.blur_mask(half, 4, (64, 32))
    assert soft[0, 16, 0] == 0 and soft[0, 16, 63] == 1 and 0.3 < soft[0, 16, 32] < 0.7
    assert set(img2img.blur_mask(half, 0, (64, 32)).unique().tolist()) == {0.0, 1.0}
