"""Pictures drawn over pictures."""

import pytest
import tiny
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionImg2ImgPipeline
from PIL import Image
from torch import Generator, Tensor

from tetrad.diffusion.noise import DDPM, scaled_linear
from tetrad.diffusion.randomness import generator
from tetrad.diffusion.samplers import SOLVERS, Canvas, sample, scheduler
from tetrad.errors import TetradError
from tetrad.generation import starts
from tetrad.generation.generate import denoised, pictures, with_size
from tetrad.generation.request import Request, Start
from tetrad.models.text import tokenizer

PICTURE = torch.rand(3, 32, 48, generator=generator(0, 0, "picture"))


def test_at_strength_zero_the_picture_is_the_vaes_reconstruction() -> None:
    model = tiny.model()
    (drawn,) = pictures(model, [Request("a cat", steps=4, start=Start(PICTURE), strength=0.0)])
    assert torch.equal(drawn, model.vae.decode(model.vae.encode(PICTURE[None])[0])[0])


def test_more_strength_goes_further_from_the_picture() -> None:
    model = tiny.model()
    asked = [Request("a cat", steps=8, start=Start(PICTURE), strength=strength) for strength in (0.25, 0.5, 1.0)]
    begun = model.vae.encode(PICTURE[None])[0]
    away = [(list(denoised(model, [with_size(request, model)]))[-1] - begun).square().mean() for request in asked]
    assert 0 < away[0] < away[1] < away[2]


def test_what_the_mask_leaves_out_is_the_pictures_own_to_the_pixel() -> None:
    mask = torch.zeros(1, 32, 48)
    mask[:, 8:24, 16:32] = 1
    (drawn,) = pictures(tiny.model(), [Request("a cat", steps=3, start=Start(PICTURE, mask))])
    outside = (mask == 0).expand(3, -1, -1)
    assert torch.equal(drawn[outside], PICTURE[outside])
    assert not torch.allclose(drawn[~outside], PICTURE[~outside], atol=0.05)


@pytest.mark.parametrize("name", list(SOLVERS))
def test_every_sampler_draws_within_a_mask_and_leaves_the_rest(name: str) -> None:
    noise = DDPM(scaled_linear())
    latents, mask = torch.randn(2, 4, 4, 4, generator=generator(0, 0, "z")), torch.zeros(1, 1, 4, 4)
    mask[..., 2:] = 1

    def zero(z_t: Tensor, t: Tensor, step: int) -> Tensor:  # a network whose data are all 0
        return z_t / noise.scales(t.round().long())[1]

    solver = scheduler(name, noise, 8, torch.device("cpu"))
    rng = [generator(0, n, "steps") for n in range(2)]
    eps = torch.randn(latents.shape, generator=generator(1, 0, "eps"))
    *_, z = sample(solver, zero, eps, 8, rng, Canvas(latents, 0.5, mask))
    assert torch.equal(z[..., :2], latents[..., :2])
    assert z[..., 2:].abs().max() < 0.1


def test_drawing_over_a_picture_is_diffusers_pipeline() -> None:
    model = tiny.model()
    model.unet.register_to_config(sample_size=64)  # the pipeline asks for it, and warns of what is less
    pipeline = StableDiffusionImg2ImgPipeline(
        vae=model.vae.network,
        text_encoder=model.texts[0].network,
        tokenizer=tokenizer(),
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
    request = Request("a cat", "blurry", 5, 6, 4.0, "Euler", start=Start(PICTURE), strength=0.5)
    theirs = pipeline(
        "a cat",
        image=model.vae.encode(PICTURE[None])[0],
        strength=0.5,
        negative_prompt="blurry",
        num_inference_steps=6,
        guidance_scale=4.0,
        generator=Generator().manual_seed(5),
        output_type="latent",
    ).images
    # As for pictures from noise: tables that differ by rounding.
    *_, ours = denoised(model, [with_size(request, model)])
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-5)


def test_a_picture_keeps_its_shape_and_a_large_one_is_made_smaller() -> None:
    assert starts.own_size(Image.new("RGB", (515, 300))) == (512, 296)
    width, height = starts.own_size(Image.new("RGB", (4000, 2000)))
    assert width * height <= starts.PIXELS and abs(width - 2 * height) <= 8
    assert width % 8 == height % 8 == 0


def test_a_mask_must_have_the_pictures_shape_and_show_something() -> None:
    picture = Image.new("RGB", (64, 32))
    for mask, words in ((Image.new("RGB", (32, 32), "white"), "another shape"), (Image.new("L", (128, 64)), "black")):
        with pytest.raises(TetradError, match=words) as caught:
            starts.start(picture, mask, 0, (64, 32))
        assert caught.value.code == "E3251"


def test_a_mask_or_a_strength_alone_is_refused() -> None:
    for picture, mask, strength in ((None, "m.png", None), (None, None, 0.5)):
        with pytest.raises(TetradError) as caught:
            starts.check_needed(picture, mask, strength)
        assert caught.value.code == "E3206"
    starts.check_needed("x.png", "m.png", 0.5)


def test_a_masks_edge_is_softened_and_no_more() -> None:
    half = Image.new("RGB", (64, 32))
    half.paste("white", (32, 0, 64, 32))
    soft = starts.soft(half, 4, (64, 32))
    assert soft[0, 16, 0] == 0 and soft[0, 16, 63] == 1 and 0.3 < soft[0, 16, 32] < 0.7
    assert set(starts.soft(half, 0, (64, 32)).unique().tolist()) == {0.0, 1.0}
