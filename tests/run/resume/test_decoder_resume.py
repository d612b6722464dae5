"""The training of a VAE's decoder survives what any other run survives, and is resumed exactly."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from killing import contents, finish
from short_runs import save_model_and_images
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file
from tetrad.run.control import send_command
from tetrad.run.crops import Crops
from tetrad.run.decoder_run import DecoderUpdates
from tetrad.run.events import Finished, Note, Phase, Progress, Sampled, Trained
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.resume import resume
from tetrad.run.status import read_status
from tetrad.run.vae_decoder import train_decoder
from tetrad.run.watch import StoppedBeforeStart
from tetrad.settings.field import replace
from tetrad.settings.toml import build_settings
from tetrad.settings.vae_decoder import DecoderRecipe
from tetrad.training import vae_decoder
from tetrad.training.loop import Step

STEPS = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("decoder"), 2)


@pytest.fixture(autouse=True)
def point_after_every_step(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_left > 0)


def make_recipe(out: Path, **save: Any) -> DecoderRecipe:
    train = {"steps": STEPS, "batch_size": 2, "crop": 64, "ema": 0.9, "learning_rate": 1e-3, "device": "cpu"}
    values = {"images": "images", "model": "tiny.safetensors", "vae": "None", "train": train}
    return build_settings(DecoderRecipe, {**values, "save": {"out": str(out), "name": "zkr", **save}})


def leave(events: Iterator[Any], is_last: Callable[[Any], bool]) -> list[Any]:
    """The events of a run until one; then it is left without a word, as a killed process leaves it."""
    seen = []
    for event in events:
        seen.append(event)
        if is_last(event):
            break
    events.close()  # type: ignore[attr-defined]
    return seen


def is_step(number: int) -> Callable[[Any], bool]:
    return lambda event: isinstance(event, Trained) and event.step == number


def codes(events: list[Any]) -> list[str]:
    return [event.code for event in events if isinstance(event, Note) and event.code.startswith(("W6", "W7"))]


@pytest.fixture(scope="module")
def whole(place: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return contents(finish(train_decoder(make_recipe(tmp_path_factory.mktemp("whole")))))


def test_it_is_resumed_exactly(whole: dict[str, Any], tmp_path: Path) -> None:
    leave(train_decoder(make_recipe(tmp_path)), is_step(3))
    leave(resume(tmp_path / "zkr"), is_step(4))
    assert contents(finish(resume(tmp_path / "zkr"))) == whole
    assert not (tmp_path / "zkr" / "resume").exists()


def test_its_points_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    folder = finish(train_decoder(make_recipe(tmp_path, keep_resume=True)))
    assert len(list((folder / "resume").glob("step-*"))) == 2


def poison(monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...]) -> None:
    original = Crops.__call__
    monkeypatch.setattr(
        Crops, "__call__", lambda self, step: original(self, step) * (torch.nan if step in steps else 1)
    )


def test_steps_with_nan_are_left_out_and_the_run_goes_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_done == 1)
    poison(monkeypatch, (2, 3, 4))
    events = list(train_decoder(make_recipe(tmp_path / "whole")))
    assert codes(events) == ["W7001"] * 3 + ["W7002"]
    assert isinstance(events[-1], Finished) and events[-1].complete
    assert all(tensor.isfinite().all() for tensor in read_weight_file(events[-1].path).tensors.values())
    leave(train_decoder(make_recipe(tmp_path / "broken")), is_step(5))
    assert contents(finish(resume(tmp_path / "broken" / "zkr"))) == contents(events[-1].folder)


def test_weights_with_nan_are_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only a bug or a broken machine could do."""
    original = DecoderUpdates.update_from

    def update_from(self: DecoderUpdates, done: int) -> Iterator[Step]:
        for step in original(self, done):
            if step.number == STEPS:
                self.parameters[0].data.fill_(torch.nan)
            yield step

    monkeypatch.setattr(DecoderUpdates, "update_from", update_from)
    recipe = make_recipe(tmp_path)
    with pytest.raises(TetradError, match="E7002"):
        list(train_decoder(replace(recipe, train=replace(recipe.train, ema=0.0))))
    assert not list((tmp_path / "zkr").glob("*.safetensors"))


def test_where_memory_runs_out_the_batch_is_divided_and_then_activations_are_computed_again(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = vae_decoder._part_loss
    errors = [2]

    def part_loss(vae: Any, images: Tensor, *rest: Any) -> Tensor:
        if errors[0]:
            errors[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(vae, images, *rest)

    monkeypatch.setattr(vae_decoder, "_part_loss", part_loss)
    seen = leave(train_decoder(make_recipe(tmp_path)), is_step(1))
    assert codes(seen) == ["W6002", "W6002"]
    first = whole["losses"][0]
    assert (seen[-1].loss, seen[-1].grad_norm) == pytest.approx((first["loss"], first["grad_norm"]), rel=1e-5)
    assert not codes(list(resume(tmp_path / "zkr")))


def test_a_stop_is_heard_while_the_images_are_read(tmp_path: Path) -> None:
    seen: list[Any] = []
    with pytest.raises(StoppedBeforeStart):
        for event in train_decoder(make_recipe(tmp_path), lambda: any(isinstance(each, Progress) for each in seen)):
            seen.append(event)
    assert not (tmp_path / "zkr").exists()
    leave(train_decoder(make_recipe(tmp_path)), is_step(3))
    *_events, last = resume(tmp_path / "zkr", lambda: True)
    assert isinstance(last, Note) and last.code == "W7501"
    assert read_status(tmp_path / "zkr").resume_step == 2


def test_it_looks_at_the_disk_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 5000, 5000))
    seen: list[Any] = []
    with pytest.raises(TetradError, match="E4204") as caught:
        seen.extend(train_decoder(make_recipe(tmp_path)))
    assert "save.keep_last" not in str(caught.value) and not any(isinstance(each, Trained) for each in seen)


def test_the_space_it_asks_for_is_close_to_what_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    monkeypatch.setattr("tetrad.run.vae_decoder.check_space", lambda need, *rest: found.append(need))
    folder = finish(train_decoder(make_recipe(tmp_path, keep_resume=True)))
    point = next(iter((folder / "resume").glob("step-*")))
    size = sum(path.stat().st_size for path in point.iterdir())
    (need,) = found
    assert 0.9 * size <= need.point <= 1.3 * size + 12_000
    assert 0.9 * (result := (folder / "zkr.safetensors").stat().st_size) <= need.result <= 1.3 * result + 12_000
    assert need.previews >= next((folder / "samples").iterdir()).stat().st_size


def test_a_request_for_previews_makes_the_sheet_and_one_for_saving_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "zkr"
    seen: list[Any] = []
    monkeypatch.setattr("tetrad.run.control._LOOK_SECONDS", 0.0)
    for event in train_decoder(make_recipe(tmp_path)):
        seen.append(event)
        if isinstance(event, Phase) and str(event.name) == "training":
            send_command(folder, "save")
            send_command(folder, "sample")
    assert next(event.step for event in seen if isinstance(event, Sampled)) < STEPS
    assert list(folder.glob("zkr-step0000000?.safetensors"))


def test_a_folder_that_takes_no_file_does_not_cost_the_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(TetradError, match="E4202") as caught:
        for event in train_decoder(make_recipe(tmp_path / "out")):
            if is_step(STEPS)(event):
                shutil.rmtree(tmp_path / "out")
                (tmp_path / "out").write_text("no folder any more")
    rescued = caught.value.sentence.values["path"]
    assert rescued.is_relative_to(tmp_path) and read_weight_file(rescued).tensors
