"""The algebra of merges, and TIES and sums against other people's code."""

import pytest
import torch
from peft.utils import merge_utils
from torch import Generator, Tensor

from tetrad.merging.arithmetic import add_differences, add_weighted, dare, slerp, ties


def random_tensors(count: int, shape: tuple[int, ...] = (40, 30)) -> list[Tensor]:
    rng = Generator().manual_seed(3)
    return [torch.randn(shape, generator=rng) for _number in range(count)]


def copies(*tensors: Tensor) -> list[Tensor]:
    """Copies, since the functions may overwrite what they are given."""
    return [tensor.clone() for tensor in tensors]


def has_same_bits(tensor: Tensor, expected: Tensor) -> bool:
    return torch.equal(tensor.view(torch.int32), expected.view(torch.int32))


def test_a_weight_of_0_leaves_every_bit_of_the_other_model() -> None:
    a, b = random_tensors(2)
    a[0, 0] = -0.0
    assert has_same_bits(add_weighted(copies(a, b), (1, 0)), a)
    assert has_same_bits(add_weighted(copies(b, a), (0, 1)), a)


def test_a_weighted_sum_is_symmetric() -> None:
    a, b = random_tensors(2)
    assert torch.equal(add_weighted(copies(a, b), (1 - 0.3, 0.3)), add_weighted(copies(b, a), (0.3, 1 - 0.3)))


def test_a_sum_is_that_of_all_models_in_float64() -> None:
    tensors, weights = random_tensors(4), (0.5, 0.4, -0.2, 0.3)
    expected = sum(tensor.double() * weight for tensor, weight in zip(tensors, weights, strict=True))
    torch.testing.assert_close(add_weighted(copies(*tensors), weights).double(), expected, atol=1e-6, rtol=0)


def test_a_difference_of_nothing_adds_nothing() -> None:
    a, b = random_tensors(2)
    assert torch.equal(add_differences(a.clone(), copies(b), b, (0.7,)), a)


def test_add_difference_is_its_formula() -> None:
    a, b, c = random_tensors(3)
    expected = a.double() + 1.5 * (b.double() - c.double())
    torch.testing.assert_close(add_differences(a.clone(), [b], c, (1.5,)).double(), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_slerp_begins_at_a_and_ends_at_b(weight: float) -> None:
    a, b = random_tensors(2)
    torch.testing.assert_close(slerp(*copies(a, b), weight), b if weight else a, atol=1e-6, rtol=0)


def test_slerp_turns_by_the_same_angle_at_each_step() -> None:
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0])
    points = [slerp(*copies(a, b), number / 4) for number in range(5)]
    angles = [torch.atan2(point[1], point[0]).item() for point in points]
    torch.testing.assert_close(torch.tensor(angles).diff(), torch.full((4,), torch.pi / 8))
    torch.testing.assert_close(torch.stack(points).norm(dim=1), torch.linspace(2, 4, 5))


def test_slerp_of_parallel_tensors_is_their_weighted_sum() -> None:
    (a,) = random_tensors(1)
    torch.testing.assert_close(slerp(*copies(a, 3 * a), 0.25), 1.5 * a)
    assert torch.equal(slerp(torch.zeros(4), torch.ones(4), 0.25), torch.full((4,), 0.25))


def test_ties_and_dare_of_one_model_that_keep_everything_are_add_difference() -> None:
    a, b, c = random_tensors(3)
    expected = add_differences(a.clone(), [b.clone()], c, (0.7,))
    torch.testing.assert_close(ties(a.clone(), [b], c, (0.7,), 1.0), expected, atol=1e-6, rtol=0)
    assert torch.equal(dare(a.clone(), [b], c, (0.7,), 1.0, Generator().manual_seed(1)), expected)


@pytest.mark.parametrize("density", [0.2, 0.5, 0.9])
def test_ties_is_that_of_peft(density: float) -> None:
    base, *others = random_tensors(4)
    weights = (1.0, 0.5, 0.8)
    differences = [other - base for other in others]
    theirs = merge_utils.ties(differences, torch.tensor(weights), density, majority_sign_method="total")
    ours = ties(torch.zeros_like(base), others, base, weights, density)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_dare_keeps_a_random_share_and_the_sum() -> None:
    a, b = torch.zeros(200_000), torch.ones(200_000)
    merged = dare(a.clone(), [b], torch.zeros_like(a), (0.5,), 0.25, Generator().manual_seed(1))
    assert set(merged.unique().tolist()) == {0.0, 2.0}
    assert abs(merged.mean().item() - 0.5) < 0.01
    assert torch.equal(merged, dare(a, [b], torch.zeros_like(a), (0.5,), 0.25, Generator().manual_seed(1)))
