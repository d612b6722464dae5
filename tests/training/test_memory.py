"""Memory and time foretold: what is counted is what is kept."""

import pytest
import tiny
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tetrad.diffusion.randomness import generator
from tetrad.methods import METHODS
from tetrad.models import FAMILIES
from tetrad.models.base import Model
from tetrad.training.dry_step import DryStep, dry_step
from tetrad.training.memory import GIB, Memory, cheapest, memory, states
from tetrad.training.optimizers import OPTIMIZERS, Name, made
from tetrad.training.speed import Machine, measured, seconds
from tetrad.weights import Weights

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
    cuda = torch.device("cuda")
    assert memory(step, cuda, torch.float32).frozen == 0 and plain.frozen == 800
    assert memory(step, cuda, torch.float32, texts_rest=False).frozen == 800
    assert memory(step, cuda, torch.bfloat16, texts_rest=False).frozen == 400
    assert plain.other < GIB


LIMITS = {  # GiB that a method must fit into, of Stable Diffusion 1 on a GPU at 512 pixels, and how
    "textual-inversion": (6, {}),
    "hypernetwork": (8, {}),
    "lora": (7, {}),
    "dreambooth": (12, {"optimizer": "adamw8bit"}),
}


@pytest.fixture(scope="module")
def stable_diffusion() -> Model:
    """Stable Diffusion 1 of full width, without its numbers."""
    width = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    with torch.device("meta"):
        parts = {"unet": UNet2DConditionModel(cross_attention_dim=768), "text_encoder": tiny.text(layers=12, **width)}
    tensors = {f"{part}.{key}": tensor for part, net in parts.items() for key, tensor in net.state_dict().items()}
    return FAMILIES["sd1"].build(Weights("checkpoint", tensors), "full width")


@pytest.mark.parametrize("kind", list(METHODS))
def test_every_method_fits_the_card_that_it_is_meant_for(kind: str, stable_diffusion: Model) -> None:
    limit, settings = LIMITS[kind]
    step = dry_step(stable_diffusion, METHODS[kind]().decided("zkr", 20), width=512, height=512)
    assert memory(step, torch.device("cuda"), torch.bfloat16, **settings).total < limit * GIB
    _, needed = cheapest(step, torch.device("cuda"), torch.bfloat16, limit * GIB)
    assert needed <= limit * GIB


def test_time_is_operations_over_speed() -> None:
    step = DryStep(0, 0, (torch.Size([1000]),), 0, 0, operations=10**9)
    slow, fast = Machine(1e9, 1e8), Machine(2e9, 2e8)
    assert seconds(step, slow) == pytest.approx(2 * seconds(step, fast))
    assert seconds(step, slow, checkpointed=True) > 1.3 * seconds(step, slow)
    found = measured(CPU, torch.float32, 32, 8)
    assert found.operations > 1e8 and found.weights > 1e6
