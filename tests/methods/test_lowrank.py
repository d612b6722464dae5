"""What the dropouts of one low-rank branch leave out, and that they do so while learning only."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tetrad.methods.lowrank import LeftOut, LowRank, beside


def branch_and_layer() -> tuple[LowRank, nn.Linear]:
    branch = LowRank(torch.eye(64), torch.eye(64), 64.0)
    return branch, nn.Linear(64, 64, bias=False).requires_grad_(False)


def beside_nothing(left_out: LeftOut) -> Callable[[Tensor], Tensor]:
    """The branch's own output: of the input itself, thinned."""
    branch, layer = branch_and_layer()
    change = beside(layer, branch, 1.0, left_out)

    def output(x: Tensor) -> Tensor:
        found: Tensor = change(torch.zeros_like, x)
        return found

    return output


def test_dropout_leaves_out_single_numbers_and_makes_up_for_them() -> None:
    torch.manual_seed(0)
    output = beside_nothing(LeftOut(outputs=0.25))(torch.ones(8, 50, 64))
    assert output.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (output == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_rank_dropout_leaves_out_whole_ranks_of_each_picture() -> None:
    torch.manual_seed(0)
    for shape, axis, kept in (((30, 50, 64), -1, (slice(None), 0)), ((30, 64), -1, (slice(None),))):
        output = beside_nothing(LeftOut(ranks=0.5))(torch.ones(shape))
        assert set(output.unique().tolist()) == {0.0, 2.0}
        assert torch.equal(output, output[kept].reshape(30, *[1] * (len(shape) - 2), 64).expand(shape)), axis
        assert not torch.equal(output[0], output[1])
        assert (output == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_rank_dropout_of_a_convolution_is_by_its_channels() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 1, bias=False)
    ones = torch.eye(64)[:, :, None, None]
    change = beside(layer, LowRank(ones, ones, 64.0), 1.0, LeftOut(ranks=0.5))
    output = change(torch.zeros_like, torch.ones(4, 64, 3, 3))
    assert torch.equal(output, output[:, :, :1, :1].expand(4, 64, 3, 3))
    assert set(output.unique().tolist()) == {0.0, 2.0}


def test_module_dropout_trains_some_steps_without_the_branch() -> None:
    torch.manual_seed(0)
    branch = beside_nothing(LeftOut(branches=0.3))
    outputs = [branch(torch.ones(2, 64)).mean().item() for _ in range(400)]
    assert set(outputs) == {0.0, 1.0}  # what is there is there in full
    assert outputs.count(0.0) / 400 == pytest.approx(0.3, abs=0.06)


def test_nothing_is_left_out_where_nothing_learns() -> None:
    with torch.no_grad():
        for left_out in (LeftOut(outputs=0.9), LeftOut(ranks=0.9), LeftOut(branches=0.9)):
            assert torch.equal(beside_nothing(left_out)(torch.ones(2, 64)), torch.ones(2, 64))
