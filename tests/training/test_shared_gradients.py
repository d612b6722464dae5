"""Several processes compute the gradients of one update as one process does, for all methods."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import tiny
import torch
import torch.distributed as dist
from child_processes import Child
from torch import Tensor

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective, Pyramid
from tetrad.diffusion.randomness import generator
from tetrad.methods import DreamBooth, Hypernetwork, Lora, MethodSettings, TextualInversion
from tetrad.methods.base import parameters_of
from tetrad.models.base import Model
from tetrad.training.gradients import Portion, compute_gradients
from tetrad.training.loop import training_steps
from tetrad.training.processes import Packet, Processes
from tetrad.training.shared_gradients import Follower, Leader, Order, divide
from tetrad.training.step import NoisyBatch

METHODS: dict[str, MethodSettings] = {
    "lora": Lora(rank=2),
    "lora with text encoder": Lora(rank=2, text_encoder=True),
    "hypernetwork": Hypernetwork(),
    "textual inversion": TextualInversion(trigger_word="zkr", vectors=2),
    "dreambooth": DreamBooth(),
}
OBJECTIVE = Objective(noise=Pyramid())  # whose noise depends on the whole batch


def build(name: str) -> tuple[Model, list[Tensor]]:
    torch.set_num_threads(1)
    model = tiny.build_model(is_shallow=True)
    parameters: list[Tensor] = [*parameters_of(tiny.attach(METHODS[name], model, generator(0, 0, "method")))]
    with torch.no_grad():
        for number, parameter in enumerate(parameters):  # so that no gradient is 0
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator(0, number, "w")))
    return model, parameters


def batches() -> list[Batch]:
    """An update of 3 + 2 samples, the last of them a class image; with weights and a mask."""
    latents = torch.randn(5, 4, 8, 8, generator=generator(0, 0, "z"))
    captions = ("a zkr", "zkr cat", "a photo of zkr", "red zkr", "a cat")
    weight, mask = torch.tensor([1.0, 1, 1, 1, 0.5]), torch.rand(5, 1, 8, 8, generator=generator(0, 0, "mask"))
    whole = Batch(latents, captions, weight, mask=mask, class_image_count=1)
    return [whole.take(slice(0, 3)), whole.take(slice(3, 5))]


def train(name: str, leader: Leader | None, built: tuple[Model, list[Tensor]]) -> tuple[list[float], list[Tensor]]:
    """The losses of two steps, and how they change the weights."""
    model, parameters = built
    before = [parameter.detach().clone() for parameter in parameters]
    steps = training_steps(
        model, model.condition, OBJECTIVE, [batches()] * 2, torch.optim.SGD(parameters, 1.0),
        seed=0, max_grad_norm=0, compute=leader.compute if leader else compute_gradients,
    )  # fmt: skip
    losses = [step.loss for step in steps]
    return losses, [after.detach() - start for after, start in zip(parameters, before, strict=True)]


def connect(rank: int, count: int, store: str) -> Processes:
    dist.init_process_group(
        "gloo", store=dist.FileStore(store, count), rank=rank, world_size=count, timeout=timedelta(seconds=60)
    )
    return Processes()


def follow(rank: int, count: int, store: str) -> None:
    """The other side of each method, one after the other; then a failure and a lack of memory."""
    processes = connect(rank, count, store)
    while (name := (message := processes.receive()).values.get("name")) != "end":
        model, parameters = build(str(name))
        follower = Follower(processes, model, OBJECTIVE, parameters, lambda: None)
        while "done" not in (message := processes.receive()).values:
            if error := message.values.get("raise"):
                follower.condition = raising(MemoryError() if error == "memory" else ValueError("of its own"))
                continue
            follower.follow(message, torch.device("cpu"))


def raising(error: Exception) -> Any:
    def condition(*_arguments: object) -> None:
        raise error

    return condition


def tell(processes: Processes, values: dict[str, Any]) -> None:
    for rank in range(1, processes.count):
        processes.send(rank, Packet(values))


@pytest.fixture(scope="module", params=[3, *(pytest.param(count, marks=pytest.mark.wide) for count in (2, 4))])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    store = str(tmp_path_factory.mktemp("store") / "store")
    children = [Child(follow, rank, request.param, store) for rank in range(1, request.param)]
    connected = connect(0, request.param, store)
    yield connected
    tell(connected, {"name": "end"})
    dist.destroy_process_group()
    for child in children:
        child.wait(20)


@pytest.mark.parametrize("name", METHODS)
def test_several_processes_change_the_weights_as_one_does(name: str, processes: Processes) -> None:
    """Five samples in two batches: the shares are not equal, and one crosses the border of a batch."""
    losses, alone = train(name, None, build(name))
    tell(processes, {"name": name})
    built = build(name)
    shared_losses, shared = train(name, Leader(processes, built[1]), built)
    tell(processes, {"done": True})
    assert shared_losses == pytest.approx(losses, rel=1e-6)
    largest = max(float(change.abs().max()) for change in alone)
    assert max(float((a - b).abs().max()) for a, b in zip(alone, shared, strict=True)) < 1e-5 * largest


class Keep:
    """Gradients as they are, without an update."""

    def backward(self, loss: Tensor) -> None:
        loss.backward()


def portions() -> list[Portion]:
    z = torch.randn(5, 4, 8, 8, generator=generator(0, 0, "z"))
    noisy = [
        NoisyBatch(batch, torch.full((len(batch.weight),), 500), z[: len(batch.weight)], batch.latents)
        for batch in batches()
    ]
    return [Portion(each, 4, seed) for seed, each in enumerate(noisy)]


def test_what_has_no_gradient_keeps_none(processes: Processes) -> None:
    """An optimizer treats a gradient of 0 as another one: its momentum goes on, and weights decay."""
    tell(processes, {"name": "lora"})
    model, parameters = build("lora")
    for parameter in parameters[:4]:
        parameter.requires_grad_(False)  # come to rest
    leader = Leader(processes, parameters)
    leader.compute(model, model.condition, OBJECTIVE, portions(), Keep(), 0)
    tell(processes, {"done": True})
    assert [parameter.grad is None for parameter in parameters] == [number < 4 for number in range(len(parameters))]


@pytest.mark.parametrize("kind,code,text", [("memory", "", "out of memory"), ("error", "E8005", "of its own")])
def test_an_error_of_another_process_is_raised_here_and_training_can_go_on(
    kind: str, code: str, text: str, processes: Processes
) -> None:
    tell(processes, {"name": "lora"})
    model, parameters = build("lora")
    leader = Leader(processes, parameters)
    processes.send(1, Packet({"raise": kind}))
    with pytest.raises(Exception, match=text) as raised:
        leader.compute(model, model.condition, OBJECTIVE, portions(), Keep(), 0)
    assert getattr(raised.value, "code", "") == code
    tell(processes, {"done": True})
    tell(processes, {"name": "lora"})
    for parameter in parameters:
        parameter.grad = None
    assert leader.compute(model, model.condition, OBJECTIVE, portions(), Keep(), 0) > 0
    tell(processes, {"done": True})


def test_an_error_of_process_0_is_raised_as_it_is_and_training_can_go_on(processes: Processes) -> None:
    tell(processes, {"name": "lora"})
    model, parameters = build("lora")
    leader = Leader(processes, parameters)
    with pytest.raises(ValueError, match="of process 0"):
        leader.compute(model, raising(ValueError("of process 0")), OBJECTIVE, portions(), Keep(), 0)
    for parameter in parameters:
        parameter.grad = None
    assert leader.compute(model, model.condition, OBJECTIVE, portions(), Keep(), 0) > 0
    tell(processes, {"done": True})


@pytest.mark.parametrize("count,sizes", [(1, [5]), (2, [2, 3]), (4, [1, 1, 1, 2]), (7, [0, 1, 1, 0, 1, 1, 1])])
def test_shares_have_all_samples_in_order(count: int, sizes: Sequence[int]) -> None:
    shares = divide(portions(), count)
    assert [sum(map(len, share)) for share in shares] == sizes
    captions = [caption for share in shares for portion in share for caption in portion.noisy.batch.captions]
    assert captions == [caption for batch in batches() for caption in batch.captions]
    class_images = [portion.noisy.batch.class_image_count for share in shares for portion in share]
    assert sum(class_images) == 1 and class_images[-1] == 1


def test_the_samples_after_a_cut_have_dropout_of_their_own() -> None:
    first, second = divide(portions()[:1], 2)
    assert first[0].dropout_seed == portions()[0].dropout_seed != second[0].dropout_seed


def test_an_order_arrives_as_it_was_sent() -> None:
    order = Order(portions(), [True, False], samples_at_once=2, loss_scale=2.0**16, gradient_checkpointing=True)
    found = Order.decode(Packet.decode(order.encode().encode()), torch.device("cpu"))
    assert (found.is_trained, found.samples_at_once, found.loss_scale) == ([True, False], 2, 2.0**16)
    assert found.gradient_checkpointing
    for sent, received in zip(order.portions, found.portions, strict=True):
        assert sent.noisy.batch.captions == received.noisy.batch.captions
        assert torch.equal(sent.noisy.z_t, received.noisy.z_t) and torch.equal(sent.noisy.t, received.noisy.t)
        assert received.noisy.batch.mask is not None and received.noisy.batch.micro_conditioning is None
        assert (sent.subjects, sent.dropout_seed) == (received.subjects, received.dropout_seed)
