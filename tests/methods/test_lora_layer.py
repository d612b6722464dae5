"""The three dropouts of a LoRA branch; they are active only in training."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tetrad.methods.lora.layer import LoraDropout, LowRankBranch, with_branch


def branch_and_layer() -> tuple[LowRankBranch, nn.Linear]:
    branch = LowRankBranch(torch.eye(64), torch.eye(64), 64.0)
    return branch, nn.Linear(64, 64, bias=False).requires_grad_(False)


def branch_output(dropout: LoraDropout) -> Callable[[Tensor], Tensor]:
    """A function that computes the branch's output alone; without dropout it is the input."""
    branch, layer = branch_and_layer()
    change = with_branch(layer, branch, 1.0, dropout)

    def output(x: Tensor) -> Tensor:
        found: Tensor = change(torch.zeros_like, x)
        return found

    return output


def test_dropout_zeroes_single_values_and_scales_up_the_others() -> None:
    torch.manual_seed(0)
    output = branch_output(LoraDropout(outputs=0.25))(torch.ones(8, 50, 64))
    assert output.unique().tolist() == pytest.approx([0, 4 / 3])
    assert (output == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_rank_dropout_zeroes_whole_ranks_of_each_image() -> None:
    torch.manual_seed(0)
    for shape, axis, kept in (((30, 50, 64), -1, (slice(None), 0)), ((30, 64), -1, (slice(None),))):
        output = branch_output(LoraDropout(ranks=0.5))(torch.ones(shape))
        assert set(output.unique().tolist()) == {0.0, 2.0}
        assert torch.equal(output, output[kept].reshape(30, *[1] * (len(shape) - 2), 64).expand(shape)), axis
        assert not torch.equal(output[0], output[1])
        assert (output == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_rank_dropout_of_a_convolution_zeroes_channels() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 1, bias=False)
    ones = torch.eye(64)[:, :, None, None]
    change = with_branch(layer, LowRankBranch(ones, ones, 64.0), 1.0, LoraDropout(ranks=0.5))
    output = change(torch.zeros_like, torch.ones(4, 64, 3, 3))
    assert torch.equal(output, output[:, :, :1, :1].expand(4, 64, 3, 3))
    assert set(output.unique().tolist()) == {0.0, 2.0}


def test_module_dropout_skips_the_branch_in_some_steps() -> None:
    torch.manual_seed(0)
    branch = branch_output(LoraDropout(branches=0.3))
    outputs = [branch(torch.ones(2, 64)).mean().item() for _ in range(400)]
    assert set(outputs) == {0.0, 1.0}  # the branch is skipped or used at full strength
    assert outputs.count(0.0) / 400 == pytest.approx(0.3, abs=0.06)


def test_there_is_no_dropout_without_gradients() -> None:
    with torch.no_grad():
        for dropout in (LoraDropout(outputs=0.9), LoraDropout(ranks=0.9), LoraDropout(branches=0.9)):
            assert torch.equal(branch_output(dropout)(torch.ones(2, 64)), torch.ones(2, 64))
