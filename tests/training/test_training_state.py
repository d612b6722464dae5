"""The state of any optimizer can be written down as tensors and plain values, and set again."""

import json
from typing import Any

import torch
from torch import nn

from tetrad.training.state import capture_state, restore_state


class Wrapping(torch.optim.SGD):
    """It puts the tensors of its state into a dict of their own, and reads them without one, as bitsandbytes does."""

    def state_dict(self) -> dict[str, Any]:
        whole = super().state_dict()
        return {**whole, "state": {number: {"step": 3, "wrapped": each} for number, each in whole["state"].items()}}


def step(parameter: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    parameter.square().sum().backward()
    optimizer.step()


def test_tensors_that_an_optimizer_puts_into_a_dict_are_tensors_of_the_state() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = Wrapping([parameter], lr=0.1, momentum=0.9)
    step(parameter, optimizer)
    state = capture_state([parameter], optimizer)
    assert state.tensors.keys() == {"trained.0", "optimizer.0.momentum_buffer"}
    assert json.loads(json.dumps(dict(state.values))) == {"optimizer.0.step": 3}
    kept = {name: tensor.clone() for name, tensor in state.tensors.items()}
    other = nn.Parameter(torch.zeros(3))
    resumed = Wrapping([other], lr=0.1, momentum=0.9)
    restore_state(type(state)(kept, state.values), [other], resumed)
    step(parameter, optimizer)
    step(other, resumed)
    assert torch.equal(parameter, other)
