"""A run looks at the free disk space before it trains, and its estimate is close to what it writes."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import short_runs
from short_runs import QUICK, save_model_and_images

from tetrad.errors import TetradError
from tetrad.run import train as train_module
from tetrad.run.disk import DiskNeed
from tetrad.run.events import Finished, Phase, PointSaved
from tetrad.run.resume.interval import SaveInterval
from tetrad.run.train import train
from tetrad.settings import Recipe

CASES: dict[str, dict[str, Any]] = {
    "lora": {"method.kind": "lora", "method.text_encoder": True, "method.rank": 8},
    "lora with an average and adafactor": {"method.kind": "lora", "train.ema": 0.9, "train.optimizer": "adafactor"},
    "dreambooth": {"method.kind": "dreambooth"},
    "dreambooth as folders": {"method.kind": "dreambooth", "save.format": "diffusers", "save.keep_last": 1},
    "textual-inversion": {"method.kind": "textual-inversion", "method.vectors": 8},
    "hypernetwork": {"method.kind": "hypernetwork", "data.class_images.count": 2, "data.class_word": "cat"},
}
LEAST, MOST = 0.9, 1.3  # of what is written
SLACK = 12_000  # bytes that an estimate may be larger by, for the metadata of a small file


DEFAULT = QUICK | {"train.steps": 5, "train.batch_size": 2, "sample.every": 2, "sample.steps": 1}
DEFAULT |= {"save.every": 2, "save.keep_resume": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("disk"), 3)


@pytest.fixture(autouse=True)
def cache(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(place)
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_left > 0)
    return tmp_path / "cache"


def make_recipe(out: Path, **settings: Any) -> Recipe:
    return short_runs.make_recipe(out, DEFAULT | settings)


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> list[DiskNeed]:
    """The estimates of the runs in a test."""
    found: list[DiskNeed] = []
    check = train_module.check_space
    monkeypatch.setattr(train_module, "check_space", lambda need, *rest: (found.append(need), check(need, *rest)))
    return found


def size_of(*paths: Path) -> int:
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.stat().st_size for file in files if file.is_file())


@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_close_to_what_a_run_writes(
    case: str, tmp_path: Path, cache: Path, needs: list[DiskNeed]
) -> None:
    *_events, finished = train(make_recipe(tmp_path, **CASES[case]))
    assert isinstance(finished, Finished)
    folder, (need,) = finished.folder, needs
    points = sorted((folder / "resume").glob("step-*"))
    results = [path for path in folder.iterdir() if path.name.startswith(finished.path.stem)]
    assert len(points) == 2 and len(results) == (2 if "folders" in case else 3)
    assert need.results == 3  # where one is kept, there are two for a moment
    written = {
        "a point": (need.point, size_of(points[-1])),
        "a result": (need.result, size_of(finished.path)),
        "previews": (need.previews, size_of(folder / "samples")),
        "logs": (need.logs, size_of(folder / "events.jsonl", folder / "metrics.jsonl")),
        "latents": (need.latents, size_of(cache / "latents")),
    }
    if need.class_images:
        written["class images"] = (need.class_images, size_of(cache / "class-images"))
    for name, (estimate, truth) in written.items():
        most = 3 if name == "previews" else MOST  # an image that is less than noise is compressed
        assert LEAST * truth <= estimate <= most * truth + SLACK, (name, estimate, truth)


def test_a_run_without_enough_space_ends_before_it_trains(
    tmp_path: Path, needs: list[DiskNeed], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 5000, 5000))

    def follow() -> Iterator[None]:
        for event in train(make_recipe(tmp_path / "out")):
            seen.append(event)
            yield

    with pytest.raises(TetradError) as caught:
        list(follow())
    assert caught.value.code == "E4204" and caught.value.exit_code == 4
    assert caught.value.sentence.values["free"] == "5.0 kB"
    assert not any(isinstance(event, PointSaved) for event in seen)
    assert "encoding the images" not in [str(event.name) for event in seen if isinstance(event, Phase)]
    assert not (tmp_path / "out" / "zkr").exists()


def test_just_enough_space_is_enough(tmp_path: Path, needs: list[DiskNeed], monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's folder and the cache are on one disk here, so it needs both."""
    next(event for event in train(make_recipe(tmp_path / "first")) if isinstance(event, PointSaved))
    enough = needs[0].folder + needs[0].latents
    for free, fits in ((enough, True), (enough - 1, False)):
        usage = shutil._ntuple_diskusage(10**12, 10**12 - free, free)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
            events = train(make_recipe(tmp_path / f"out {free}"))
            if fits:
                assert any(isinstance(event, PointSaved) for event in events)
            else:
                with pytest.raises(TetradError, match="E4204"):
                    list(events)
