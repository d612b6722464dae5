"""Processes that divide weights, gradients and optimizer state train as one process does, and hold a part each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
from tetrad.methods import DreamBooth
from tetrad.methods.base import Adapter
from tetrad.models.base import Model
from tetrad.settings.learning_rate import parse_learning_rate
from tetrad.training.block_rates import split_by_block
from tetrad.training.ema import Ema
from tetrad.training.gradients import Portion, compute_gradients
from tetrad.training.loop import Step, training_steps
from tetrad.training.lr_schedules import Decay, Schedule, make_schedule
from tetrad.training.optimizers import create_optimizer
from tetrad.training.processes import Packet, Processes
from tetrad.training.sharded_follower import ShardedFollower
from tetrad.training.sharded_training import (
    ShardedAdapter,
    ShardedEma,
    ShardedLeader,
    UpdateSettings,
    fill_up,
    split_into_passes,
)
from tetrad.training.state import TrainingState, capture_state, restore_state
from tetrad.training.step import NoisyBatch

OBJECTIVE = Objective(noise=Pyramid())  # whose noise depends on the whole batch
SGD = UpdateSettings("torch.optim.SGD", 0.0, [], "IN01=0.5, MID=2", max_grad_norm=0.5, ema=0.9)
ADAMW = replace(SGD, optimizer="adamw", weight_decay=0.01)


def build() -> tuple[Model, Adapter]:
    torch.set_num_threads(1)
    model = tiny.build_model(is_shallow=True)
    return model, tiny.attach(DreamBooth(), model, generator(0, 0, "method"))


def batches() -> list[Batch]:
    """An update of 3 + 2 samples, the last of them a class image; with weights and a mask."""
    latents = torch.randn(5, 4, 8, 8, generator=generator(0, 0, "z"))
    captions = ("a zkr", "zkr cat", "a photo of zkr", "red zkr", "a cat")
    weight, mask = torch.tensor([1.0, 1, 1, 1, 0.5]), torch.rand(5, 1, 8, 8, generator=generator(0, 0, "mask"))
    whole = Batch(latents, captions, weight, mask=mask, class_image_count=1)
    return [whole.take(slice(0, 3)), whole.take(slice(3, 5))]


@dataclass
class Trainer:
    """What is trained, in one process or by a leader."""

    model: Model
    adapter: Adapter
    settings: UpdateSettings
    leader: ShardedLeader | None = None

    def __post_init__(self) -> None:
        self.groups = split_by_block(self.adapter.groups(), self.model, self.settings.block_rates)
        self.parameters: list[Tensor] = [each for group in self.adapter.groups() for each in group.parameters]
        self.optimizer = create_optimizer(self.settings.optimizer, self.groups, self.settings.weight_decay)
        self.ema = ShardedEma(self.leader, 0.9) if self.leader else Ema(self.parameters, 0.9)

    def run(
        self, updates: Sequence[Sequence[Batch]], schedules: Sequence[Schedule] = (), at_once: int = 0
    ) -> list[Step]:
        return list(
            training_steps(
                self.model, self.model.condition, OBJECTIVE, updates, self.optimizer, seed=0, schedules=schedules,
                max_grad_norm=self.settings.max_grad_norm, samples_at_once=at_once,
                after_update=lambda: self.ema.update(self.parameters),
                compute=self.leader.compute if self.leader else compute_gradients,
                measure_norm=self.leader.shards.measure_norm if self.leader else None,
            )
        )  # fmt: skip

    def capture(self) -> TrainingState:
        if self.leader:
            return self.leader.capture(self.optimizer, self.ema, None)
        return capture_state(self.parameters, self.optimizer, self.ema)

    def restore(self, state: TrainingState) -> None:
        if self.leader:
            self.leader.restore(state, self.optimizer, self.ema, None)
        else:
            restore_state(state, self.parameters, self.optimizer, self.ema)

    def weights(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.adapter.weights().tensors.items()}

    @torch.no_grad()
    def predict(self) -> Tensor:
        z = torch.randn(1, 4, 8, 8, generator=generator(0, 0, "z"))
        return self.model.predict(z, torch.tensor([500]), self.model.condition(["a zkr"]))


def connect(rank: int, count: int, store: str) -> Processes:
    dist.init_process_group(
        "gloo", store=dist.FileStore(store, count), rank=rank, world_size=count, timeout=timedelta(seconds=60)
    )
    return Processes()


def follow(rank: int, count: int, store: str) -> None:
    """The other side of each test, one after the other."""
    processes = connect(rank, count, store)
    while settings := processes.receive().values.get("settings"):
        model, adapter = build()
        follower = ShardedFollower(processes, model, OBJECTIVE, adapter, UpdateSettings(**settings), lambda: None)
        while "done" not in (message := processes.receive()).values:
            if "size" in message.values:
                processes.send(0, Packet({"bytes": count_bytes(follower.shards.parameters, follower.optimizer)}))
                continue
            follower.follow(message, torch.device("cpu"))


def count_bytes(parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> int:
    """Of the weights and the optimizer's state that a process holds."""
    states = [each for state in optimizer.state.values() for each in state.values() if isinstance(each, Tensor)]
    return sum(tensor.nbytes for tensor in (*parameters, *states))


def tell(processes: Processes, values: dict[str, Any]) -> None:
    for rank in range(1, processes.count):
        processes.send(rank, Packet(values))


@pytest.fixture(scope="module", params=[2, *(pytest.param(count, marks=pytest.mark.wide) for count in (3, 4))])
def processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    store = str(tmp_path_factory.mktemp("store") / "store")
    children = [Child(follow, rank, request.param, store) for rank in range(1, request.param)]
    connected = connect(0, request.param, store)
    yield connected
    tell(connected, {})
    dist.destroy_process_group()
    for child in children:
        child.wait(20)


@pytest.fixture
def share(processes: Processes) -> Iterator[Any]:
    """A function that makes a trainer of which each process holds a part."""

    def make(settings: UpdateSettings) -> Trainer:
        tell(processes, {"settings": vars(settings)})
        model, adapter = build()
        leader = ShardedLeader(processes, model)
        return Trainer(model, ShardedAdapter(adapter, leader.shards, leader), settings, leader)

    yield make
    tell(processes, {"done": True})


def farthest(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def make_schedules(trainer: Trainer) -> list[Schedule]:
    """The rates of the groups, of which the first ends after a step."""
    texts = ["1e-3:1, 0", *["1e-3"] * (len(trainer.groups) - 1)]
    return [make_schedule(parse_learning_rate(text), Decay("constant", 3)) for text in texts]


@pytest.mark.parametrize("at_once", [0, 1])
def test_the_steps_are_those_of_one_process(share: Any, at_once: int) -> None:
    """Losses, norms, clipped updates at the rates of blocks, and averages; the processes have unequal shares."""
    alone, shared = Trainer(*build(), SGD), share(SGD)
    before = alone.weights()
    expected, found = (each.run([batches()] * 2, at_once=at_once) for each in (alone, shared))
    assert [step.loss for step in found] == pytest.approx([step.loss for step in expected], rel=1e-6)
    assert [step.grad_norm for step in found] == pytest.approx([step.grad_norm for step in expected], rel=1e-6)
    change = farthest(alone.weights(), before)
    assert change > 1e-7 and farthest(alone.weights(), shared.weights()) < 1e-5 * change + 6e-8
    with alone.ema.use_average(alone.parameters), shared.ema.use_average(shared.parameters):
        assert farthest(alone.weights(), before) < 0.9 * change
        assert farthest(alone.weights(), shared.weights()) < 1e-5 * change + 6e-8
        assert torch.allclose(alone.predict(), shared.predict(), atol=1e-5)
    assert farthest(alone.weights(), shared.weights()) < 1e-5 * change + 6e-8


def test_the_state_is_that_of_one_process_and_each_holds_its_part(share: Any, processes: Processes) -> None:
    """Also of a group whose rate has ended; what was captured in one process can be restored in several."""
    alone, shared = Trainer(*build(), ADAMW), share(ADAMW)
    for trainer in (alone, shared):
        trainer.run([batches()] * 2, make_schedules(trainer))
    expected, found = alone.capture(), shared.capture()
    assert found.values == expected.values and list(found.tensors) == list(expected.tensors)
    for name, tensor in expected.tensors.items():
        # Adam makes whole steps of the last digits of tiny gradients.
        tolerance = 0.02 * float(tensor.abs().max()) if name.startswith("optimizer") else 3e-4
        assert found.tensors[name].shape == tensor.shape, name
        assert float((found.tensors[name] - tensor).abs().max()) <= tolerance, name
    processes.send(1, Packet({"size": True}))
    held = [count_bytes(alone.parameters, alone.optimizer), processes.receive(1).values["bytes"]]
    held.append(count_bytes(shared.parameters, shared.optimizer))
    assert all(abs(part / held[0] - 1 / processes.count) < 0.01 for part in held[1:])

    shared.restore(expected)
    again = shared.capture()
    assert again.values == expected.values
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in expected.tensors.items())
    assert farthest(alone.weights(), shared.weights()) == 0
    with pytest.raises(RuntimeError, match="other shapes"):
        shared.restore(replace(expected, tensors={**expected.tensors, "trained.0": torch.zeros(1)}))


def test_a_loss_that_is_nan_changes_nothing_until_the_updates_begin_again(share: Any) -> None:
    alone, shared = Trainer(*build(), SGD), share(SGD)
    before = shared.weights()
    good = batches()
    bad = [replace(good[0], latents=good[0].latents * float("nan")), good[1]]
    assert [step.has_diverged for step in shared.run([bad, good])] == [True, True]
    assert farthest(shared.weights(), before) == 0
    assert [[step.has_diverged for step in each.run([good])] for each in (alone, shared)] == [[False], [False]]
    change = farthest(alone.weights(), before)
    assert change > 1e-7 and farthest(alone.weights(), shared.weights()) < 1e-5 * change + 6e-8


def test_the_model_from_before_training_can_be_asked(share: Any) -> None:
    shared = share(ADAMW)
    before = shared.predict()
    shared.adapter.keep_original()
    shared.run([batches()], make_schedules(shared))
    after = shared.predict()
    with shared.adapter.without_training():
        assert torch.equal(shared.predict(), before)
    assert torch.equal(shared.predict(), after) and not torch.allclose(before, after, atol=1e-4)


def test_what_is_missing_to_equal_numbers_of_passes_has_no_weight() -> None:
    noisy = [
        NoisyBatch(batch, torch.full((len(batch.weight),), 500), batch.latents, batch.latents) for batch in batches()
    ]
    whole = [Portion(each, 4, seed) for seed, each in enumerate(noisy)]
    assert [len(each) for each in split_into_passes(whole, 0)] == [3, 2]
    assert [len(each) for each in split_into_passes(whole, 2)] == [2, 1, 2]
    assert [len(each) for each in split_into_passes(whole, 8)] == [5]
    filled = fill_up([[], whole])
    assert [len(share) for share in filled] == [2, 2] and filled[1] == whole
    assert all(len(each) == 1 and each.noisy.batch.weight.sum() == 0 for each in filled[0])
    assert whole[0].noisy.batch.weight.sum() == 3
