"""How many images of an update are computed at once: as many as fit, and what the run then does."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import plans
import pytest
import short_runs
import torch
from torch import Tensor

from tetrad.estimate.forecast import MemoryForecast
from tetrad.estimate.memory import MemoryOptions
from tetrad.models import device as devices
from tetrad.models.device import DeviceSpec
from tetrad.models.sd import StableDiffusion
from tetrad.run import resolve
from tetrad.run import resolve_memory as memory
from tetrad.run.events import Note
from tetrad.run.resolve_memory import MemoryPlan, decides_to_pack, parts_notes, resolve_memory
from tetrad.run.train import train
from tetrad.settings import Train

FREE = 10


def forecast(samples: int) -> MemoryForecast:
    """A sample needs two bytes, with gradient checkpointing one."""
    return MemoryForecast(2 * samples, samples, FREE, (MemoryOptions(), 0))


@pytest.mark.parametrize(
    "batch_samples,settings,expected",
    [
        (1, {}, (1, False)),
        (1, {"gradient_accumulation": 5}, (5, False)),
        (1, {"gradient_accumulation": 7}, (4, False)),
        (3, {"gradient_accumulation": 2}, (4, False)),
        (64, {}, (4, False)),
        (3, {"gradient_accumulation": 4, "gradient_checkpointing": True}, (8, True)),
        (2, {"gradient_accumulation": 4, "processes": 2}, (4, False)),
        (6, {"fused_backward": True}, (6, True)),  # which computes all at once
    ],
)
def test_as_many_samples_as_fit_are_computed_at_once(
    batch_samples: int, settings: dict[str, Any], expected: tuple[int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "get_free_memory", lambda device: FREE)
    found = resolve_memory(Train(**settings), batch_samples, torch.device("cpu"), forecast)
    assert (found.samples_at_once, found.gradient_checkpointing) == expected
    assert found.forecast == forecast(expected[0])


def test_batches_are_not_joined_where_nobody_knows_how_much_memory_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "get_free_memory", lambda device: 0)
    assert resolve_memory(Train(gradient_accumulation=4), 2, torch.device("cpu"), lambda n: None).samples_at_once == 2


def test_class_images_and_preserved_images_count() -> None:
    def samples(**settings: Any) -> int:
        recipe = plans.recipe(
            train__batch_size=2,
            train__gradient_accumulation=3,
            data__class_word="cat",
            data__images="images",
            **settings,
        )
        return plans.plan(recipe).train.samples_per_update

    assert samples() == 6
    assert samples(data__class_images__images="class") == 12
    assert samples(data__preserve__samples=1) == 9


@pytest.mark.parametrize("fitting,sizes", [(4, [4, 4]), (1, [1] * 8)])
def test_a_run_computes_them_so_and_says_it(
    fitting: int, sizes: Sequence[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(short_runs.save_model_and_images(tmp_path, image_count=4))
    monkeypatch.setattr(
        resolve,
        "forecast_memory",
        lambda model, method, train, resolution, samples, *others: MemoryForecast(
            samples, samples, fitting, (MemoryOptions(), 0)
        ),
    )
    seen: list[int] = []
    original = StableDiffusion.predict

    def predict(self: StableDiffusion, z_t: Tensor, *arguments: Any) -> Tensor:
        if torch.is_grad_enabled():
            seen.append(len(z_t))
        return original(self, z_t, *arguments)

    monkeypatch.setattr(StableDiffusion, "predict", predict)
    settings = {"train.steps": 2, "train.batch_size": 2, "train.gradient_accumulation": 2, "sample.every": -1}
    notes = [
        str(event.message)
        for event in train(short_runs.make_recipe(tmp_path / "out", short_runs.QUICK | settings))
        if isinstance(event, Note)
    ]
    assert seen == list(sizes)
    said = "the 4 images of an update are computed at once"
    assert (said if sizes[0] == 4 else "of the 4 images of an update, 1 is computed at a time") in notes


def test_nothing_is_said_where_a_batch_is_computed_as_it_is() -> None:
    assert not list(parts_notes(plans.plan(plans.recipe(train__batch_size=4)).train))


CPU = DeviceSpec(torch.device("cpu"), torch.float32)
ROOM = MemoryForecast(6, 3, FREE, (MemoryOptions(), 0), packing_bytes=4)


@pytest.mark.parametrize(
    "forecast,settings,gain,expected",
    [
        (ROOM, {}, 1.2, True),
        (ROOM, {}, 1.1, False),  # it is not faster here
        (ROOM, {"processes": 2}, 1.2, False),
        (ROOM, {"quantize_base": "nf4"}, 1.2, False),
        (ROOM, {"device": DeviceSpec(torch.device("cuda"), torch.float32)}, 1.2, False),
        (None, {}, 1.2, False),  # a small model
        (replace(ROOM, packing_bytes=5), {}, 1.2, False),  # there is no room for it
        (replace(ROOM, packing_bytes=0), {}, 1.2, False),  # DreamBooth trains the convolutions
        (replace(ROOM, free_bytes=0), {}, 1.2, False),
    ],
)
def test_convolutions_are_packed_where_a_cpu_is_faster_with_it_and_memory_is_left(
    forecast: MemoryForecast | None,
    settings: dict[str, Any],
    gain: float,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[Any, ...]] = []

    def measure(*size: Any) -> float:
        asked.append(size)
        return gain

    monkeypatch.setattr(memory, "measure_packing_gain", measure)
    device = settings.pop("device", CPU)
    assert decides_to_pack(Train(**settings), MemoryPlan(3, False, forecast), plans.shared(), 64, device) == expected
    assert set(asked) <= {(plans.shared().width, 64 // plans.shared().vae.downsampling_factor, 3, torch.float32)}
