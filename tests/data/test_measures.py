"""PSNR, SSIM and grades where the answer is known."""

import pytest
import torch

from tetrad.data.measures import grade, psnr, ssim

PICTURE = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))


def test_the_same_picture_is_the_same() -> None:
    assert psnr(PICTURE, PICTURE) == 100 and ssim(PICTURE, PICTURE) == pytest.approx(1)
    assert str(grade(PICTURE, PICTURE)) == "red +0.0, green +0.0, blue +0.0; saturation +0.0 %, contrast +0.0 %"


def test_psnr_is_in_decibels_of_the_mean_square() -> None:
    assert psnr(PICTURE + 0.1, PICTURE) == pytest.approx(20, abs=1e-4)


def test_ssim_of_two_flat_pictures_is_the_luminance_term() -> None:
    """(2xy + c) / (x² + y² + c), with nothing to compare beside the means."""
    one, other = torch.full((3, 16, 16), 0.2), torch.full((3, 16, 16), 0.6)
    assert ssim(one, other) == pytest.approx((0.24 + 1e-4) / (0.4 + 1e-4), abs=1e-5)


def test_ssim_of_a_picture_and_its_negative_is_below_nothing() -> None:
    assert ssim(1 - PICTURE, PICTURE) < 0


def test_a_grade_says_what_was_done() -> None:
    shifted = grade(PICTURE / 2 + torch.tensor([0.1, 0, -0.1])[:, None, None], PICTURE / 2)
    assert shifted.shift == pytest.approx((25.5, 0, -25.5), abs=1e-3)
    luma = torch.einsum("chw,c->hw", PICTURE, torch.tensor([0.299, 0.587, 0.114]))
    pale = grade((PICTURE + luma) / 2, PICTURE)
    assert pale.saturation == pytest.approx(0.5, abs=0.01) and pale.contrast == pytest.approx(1, abs=1e-5)
    assert grade(PICTURE * 0.7, PICTURE).contrast == pytest.approx(0.7, abs=0.01)
