"""A run on several processes: the same steps as on one, one sentence where it stops, and resumed by any number."""

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bitsandbytes_stand_in
import pytest
import tiny
import torch
from child_processes import Child, use_forks
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.errors import TetradError
from tetrad.models.device import DeviceSpec
from tetrad.run.events import Finished, Note, Trained
from tetrad.run.processes import follower, speed, team
from tetrad.run.processes.world import World, read_world, refuse_several_processes
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.settings import Recipe
from tetrad.settings.toml import as_values
from tetrad.training.processes import Packet

FAST = QUICK | {
    "method.rank": 2,
    "train.steps": 5,
    "train.batch_size": 2,
    "train.gradient_accumulation": 2,
    "train.allow_slower": True,
    "train.ema": 0.9,
    "sample.every": 4,
    "sample.steps": 1,
    "sample.before_training": False,
    "save.every": 2,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("place"), 3)


@pytest.fixture(autouse=True)
def working_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))


def recipe(out: Path, **changes: Any) -> Recipe:
    return make_recipe(out, FAST | {key.replace("__", "."): value for key, value in changes.items()})


def read_losses(folder: Path) -> dict[int, float]:
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return {record["step"]: record["loss"] for record in map(json.loads, lines)}


def test_a_run_that_loses_a_process_says_so_and_one_process_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With previews, saved files and an average, which only process 0 makes."""
    children = use_forks(monkeypatch)
    killed_at = 0.0
    events = []
    with pytest.raises(TetradError, match="a process of this run has ended") as raised:
        for event in train(recipe(tmp_path / "shared", train__processes=2)):
            events.append(event)
            if isinstance(event, Trained) and event.step == 3:
                children[0].kill()
                killed_at = time.monotonic()
    assert raised.value.code == "E8004" and time.monotonic() - killed_at < 15
    assert "the weights of step 3 are saved" in raised.value.message
    sentences = [str(event.message) for event in events if isinstance(event, Note)]
    assert any("2 processes share each update: it sees 4 images" in sentence for sentence in sentences)
    assert all(child.poll() is not None for child in children)

    folder = tmp_path / "shared" / "zkr"
    *_, finished = resume(folder, processes=1)
    assert isinstance(finished, Finished) and finished.complete
    *_, alone = train(recipe(tmp_path / "alone"))
    assert isinstance(alone, Finished)
    losses = read_losses(alone.folder)
    assert read_losses(folder) == pytest.approx(losses, rel=1e-5) and len(losses) == 5
    names = {path.name for path in alone.folder.iterdir()} - {"resume"}
    assert names <= {path.name for path in folder.iterdir()}
    assert len(list((folder / "samples").iterdir())) == len(list((alone.folder / "samples").iterdir()))


def free_port() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


def train_as(environment: Mapping[str, str], made: Recipe) -> None:
    os.environ.update(environment)
    assert not list(train(made))


@pytest.mark.parametrize("seed,reason", [(0, ""), (7, "train.seed is 0 in process 0 and 7 in process 1 on")])
def test_torchrun_starts_the_processes_of_one_run(
    seed: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only process 0 writes; processes with different recipes do not begin."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "LOCAL_RANK": "0"}
    child = Child(train_as, common | {"RANK": "1"}, recipe(tmp_path, train__steps=1, train__seed=seed))
    for name, value in (common | {"RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    events = train(recipe(tmp_path, train__steps=1))
    if reason:
        with pytest.raises(TetradError, match=reason) as raised:
            list(events)
        assert raised.value.code == "E8006" and not list(tmp_path.iterdir())
    else:
        *_, finished = events
        assert isinstance(finished, Finished) and [path.name for path in tmp_path.iterdir()] == ["zkr"]
    assert child.wait(20) == 0


@pytest.mark.parametrize(
    "changes,code,sentence",
    [
        ({"train__processes": 5}, "E3191", "5 processes cannot share an update of 4 images"),
        ({"train__processes": 1000, "train__batch_size": 256}, "E3191", "CPU cores would be slower than one"),
        ({"train__processes": 2, "train__device": "cuda"}, "E8001", "no device"),
    ],
)
def test_what_cannot_be_faster_is_refused(
    changes: dict[str, Any], code: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_forks(monkeypatch)
    monkeypatch.setattr(team, "count_cores", lambda: 5)
    with pytest.raises(TetradError, match=sentence) as raised:
        list(train(recipe(tmp_path, train__allow_slower=False, **changes)))
    assert raised.value.code == code and not list(tmp_path.iterdir())


def test_fused_backward_does_not_wait_for_other_processes(tmp_path: Path) -> None:
    with pytest.raises(TetradError, match="does not work with several processes") as raised:
        recipe(tmp_path, train__processes=2, train__fused_backward=True, train__gradient_accumulation=1)
    assert raised.value.code == "E3133"


@pytest.mark.parametrize(
    "name,reason", [("cuda:1", "each uses its own GPU"), ("cuda", "has 2 GPUs"), ("mps", "a CPU or CUDA")]
)
def test_each_process_needs_a_device(name: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TetradError, match=reason) as raised:
        team.check_device(DeviceSpec(torch.device(name), torch.float32), 3, allow_slower=True)
    assert raised.value.code == "E8003"


def test_the_speed_of_all_is_told_and_being_slower_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pair: Any = type("Pair", (), {"count": 2})()
    updates: Any = None
    monkeypatch.setattr(speed, "_measure", lambda *_arguments: (2.0, 1.25))
    assert [str(note.message) for note in speed.check_speed(pair, updates, 0)] == [
        "2 processes need 1.25 s for the gradients of an update, and one process needs 2.00 s: 1.60 times as fast"
    ]
    monkeypatch.setattr(speed, "_measure", lambda *_arguments: (2.0, 2.5))
    with pytest.raises(TetradError, match="leave out --processes") as raised:
        list(speed.check_speed(pair, updates, 0))
    assert raised.value.code == "E3191"


class Recorded:
    """The connection of a process, with what process 0 will send it."""

    rank, count = 1, 2

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages, self.sent = list(messages), list[Packet]()

    def receive(self, rank: int = 0) -> Packet:
        return Packet(self.messages.pop(0))

    def send(self, rank: int, message: Packet) -> None:
        self.sent.append(message)


def test_a_process_that_has_no_such_model_tells_process_0(tmp_path: Path) -> None:
    processes: Any = Recorded({"recipe": as_values(recipe(tmp_path, model="nowhere.safetensors"))})
    follower._follow(processes, World(1, 2, 1))
    assert "nowhere.safetensors" in processes.sent[0].values["reason"]


def test_a_process_quantizes_its_model_as_process_0_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bitsandbytes_stand_in.install(monkeypatch)
    model, values = tiny.build_model(is_shallow=True), as_values(recipe(tmp_path, train__quantize_base="8bit"))
    monkeypatch.setattr(follower, "open_model", lambda *given: (model, None))
    processes: Any = Recorded({"recipe": values}, {"method": values["method"]}, {"end": True})
    with pytest.raises(follower._Ended):
        follower._follow(processes, World(1, 2, 1))
    assert "reason" not in processes.sent[0].values
    assert any(hasattr(layer, "quantized") for layer in model.parts()["unet"].modules())


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1", "LOCAL_RANK": "0"}


def test_the_environment_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_world({}) == World() and not World().is_follower
    assert read_world({"WORLD_SIZE": "8"}) == World()  # left over from something else
    assert read_world(TORCHRUN) == World(1, 4, 0) and read_world(TORCHRUN).is_follower
    with pytest.raises(TetradError, match="RANK=4, WORLD_SIZE=4"):
        read_world(TORCHRUN | {"RANK": "4"})


def test_a_run_of_one_process_refuses_torchrun_and_a_wrong_number_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (TORCHRUN | {"RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TetradError, match="torchrun has started 4") as raised:
        refuse_several_processes("the training of a VAE decoder")  # type: ignore[arg-type]
    assert raised.value.code == "E8003"
    with pytest.raises(TetradError, match="has started 4 processes, but train"):
        list(train(recipe(tmp_path, train__processes=2)))
