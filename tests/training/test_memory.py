"""Memory and time foretold: what is counted is what is kept."""

import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tetrad.diffusion.randomness import generator
from tetrad.methods import METHODS
from tetrad.training.dry_step import DryStep, dry_step
from tetrad.training.memory import GIB, Memory, memory, states
from tetrad.training.optimizers import OPTIMIZERS, Name, made
from tetrad.training.speed import Machine, measured, seconds

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", list(METHODS))
def test_a_dry_step_counts_what_a_real_one_keeps(kind: str) -> None:
    model = tiny.model()
    method = METHODS[kind]().decided("zkr", 8)
    counted = dry_step(model, method, width=64, height=32)
    assert all(parameter.device == CPU for parameter in model.unet.parameters())

    adapter = method.attach(model, generator(0, 0, "method"))
    learned = [parameter for group in adapter.groups().values() for parameter in group]
    weights = {p.untyped_storage()._cdata for part in model.parts().values() for p in part.parameters()}
    weights |= {parameter.untyped_storage()._cdata for parameter in learned}
    kept: dict[int, Tensor] = {}
    with saved_tensors_hooks(lambda tensor: kept.setdefault(tensor.untyped_storage()._cdata, tensor), lambda t: t):
        c = model.condition(["a photo"])
        model.predict(torch.zeros(1, 4, 4, 8), torch.tensor([5]), c).square().mean()
    numbers = sum(t.untyped_storage().nbytes() // t.itemsize for key, t in kept.items() if key not in weights)
    assert counted.kept == pytest.approx(numbers, rel=0.02)
    assert sum(shape.numel() for shape in counted.learned) == sum(p.numel() for p in learned)
    held = sum(p.numel() for part in model.parts().values() for p in part.parameters() if not p.requires_grad)
    assert counted.frozen == held


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_an_optimizers_states_are_counted(name: Name) -> None:
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((64, 128), (16, 8, 3, 3), (10,))]
    optimizer = made(name, {"unet": parameters})
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    found = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor) and t.numel() > 1]
    bytes_found = sum(tensor.nbytes for tensor in found if tensor.shape != (256,))  # eight bits' table is shared
    assert states([p.shape for p in parameters], name) == pytest.approx(bytes_found, rel=0.01)


def test_memory_is_what_stands_and_the_larger_of_what_comes_and_goes() -> None:
    parts = Memory(frozen=8, learned=4, gradients=4, optimizer=8, activations=6, other=1)
    assert parts.total == 8 + 4 + 8 + 1 + 6


def test_savers_of_memory_save_it() -> None:
    shapes = (torch.Size([320, 320, 3, 3]), *[torch.Size([64, 64])] * 20)
    step = DryStep(frozen=200, resting=200, learned=shapes, kept=10**6, kept_single=10**5, operations=10**9)
    plain = memory(step, CPU, torch.float32)
    assert memory(step, CPU, torch.float32, "adamw8bit").optimizer < plain.optimizer / 3
    assert memory(step, CPU, torch.float32, in_backward=True).gradients < plain.gradients / 1.05
    assert memory(step, CPU, torch.float32, checkpointed=True).activations < plain.activations / 3
    awake = memory(step, CPU, torch.float32, texts_rest=False)
    assert plain.frozen == 0 and awake.frozen == 800
    assert memory(step, CPU, torch.bfloat16, texts_rest=False).frozen == 400
    assert plain.other < GIB


def test_time_is_operations_over_speed() -> None:
    step = DryStep(0, 0, (torch.Size([1000]),), 0, 0, operations=10**9)
    slow, fast = Machine(1e9, 1e8), Machine(2e9, 2e8)
    assert seconds(step, slow) == pytest.approx(2 * seconds(step, fast))
    assert seconds(step, slow, checkpointed=True) > 1.3 * seconds(step, slow)
    found = measured(CPU, torch.float32, 32, 8)
    assert found.operations > 1e8 and found.weights > 1e6
