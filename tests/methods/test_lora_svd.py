"""Low-rank approximations are nearly the best of their rank, and say exactly what they lose."""

import torch

from tetrad.methods.lora.svd import RankLimit, factorize, factorize_product


def make_matrix(out: int, ins: int, decay: float) -> torch.Tensor:
    """A matrix whose singular values fall like those of a trained change."""
    rng = torch.Generator().manual_seed(0)
    side = min(out, ins)
    left, right = (torch.linalg.qr(torch.randn(length, side, generator=rng)).Q for length in (out, ins))
    return (left * torch.arange(1, side + 1) ** -decay) @ right.T


def test_a_large_matrix_is_approximated_as_well_as_its_singular_values_allow() -> None:
    matrix = make_matrix(800, 560, 0.7)
    squares = torch.linalg.svdvals(matrix).double().square()
    factors = factorize(matrix, RankLimit(32))
    lost = float((matrix - factors.up @ factors.down).double().square().sum())
    assert abs(lost - factors.lost) < 1e-4 * factors.total
    assert factors.squares.sum() > 0.999 * squares[:32].sum()
    assert len(factorize(matrix, RankLimit(energy=0.7)).squares) in range(1, 140)
    held = factorize(matrix, RankLimit(energy=0.7))
    assert 0.7 <= 1 - held.lost / held.total < 0.72


def test_a_product_is_decomposed_exactly_and_what_cancels_out_is_no_rank() -> None:
    rng = torch.Generator().manual_seed(1)
    up, down = torch.randn(40, 6, generator=rng), torch.randn(6, 50, generator=rng)
    factors = factorize_product(torch.cat([up, up, -up], 1), torch.cat([down, down, down]), RankLimit())
    assert len(factors.squares) == 6
    torch.testing.assert_close(factors.up @ factors.down, up @ down, atol=1e-5, rtol=1e-5)
    assert len(factorize_product(torch.cat([up, -up], 1), torch.cat([down, down]), RankLimit()).squares) == 0
