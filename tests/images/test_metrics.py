"""PSNR, SSIM and colour change on images whose result is known."""

import pytest
import torch

from tetrad.images.metrics import measure_colour_change, psnr, ssim

IMAGE = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))


def test_identical_images_have_the_best_values() -> None:
    assert psnr(IMAGE, IMAGE) == 100 and ssim(IMAGE, IMAGE) == pytest.approx(1)
    assert (
        str(measure_colour_change(IMAGE, IMAGE))
        == "red +0.0, green +0.0, blue +0.0; saturation +0.0 %, contrast +0.0 %"
    )


def test_psnr_is_in_decibels_of_the_mean_square() -> None:
    assert psnr(IMAGE + 0.1, IMAGE) == pytest.approx(20, abs=1e-4)


def test_ssim_of_two_uniform_images_is_the_luminance_term() -> None:
    """(2xy + c) / (x² + y² + c): uniform images differ only in their means."""
    one, other = torch.full((3, 16, 16), 0.2), torch.full((3, 16, 16), 0.6)
    assert ssim(one, other) == pytest.approx((0.24 + 1e-4) / (0.4 + 1e-4), abs=1e-5)


def test_ssim_of_an_image_and_its_negative_is_below_zero() -> None:
    assert ssim(1 - IMAGE, IMAGE) < 0


def test_colour_change_measures_shift_saturation_and_contrast() -> None:
    shifted = measure_colour_change(IMAGE / 2 + torch.tensor([0.1, 0, -0.1])[:, None, None], IMAGE / 2)
    assert shifted.shift == pytest.approx((25.5, 0, -25.5), abs=1e-3)
    luma = torch.einsum("chw,c->hw", IMAGE, torch.tensor([0.299, 0.587, 0.114]))
    pale = measure_colour_change((IMAGE + luma) / 2, IMAGE)
    assert pale.saturation == pytest.approx(0.5, abs=0.01) and pale.contrast == pytest.approx(1, abs=1e-5)
    assert measure_colour_change(IMAGE * 0.7, IMAGE).contrast == pytest.approx(0.7, abs=0.01)
