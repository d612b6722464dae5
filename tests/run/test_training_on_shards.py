"""A run on tar shards learns what a run on the same files in a folder learns, in the same order."""

import tarfile
from pathlib import Path

import pytest
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad import library
from tetrad.errors import TetradError
from tetrad.run.events import Finished, Started, Trained
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.settings import Recipe


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, three images with captions, and the same in two shards."""
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    save_model_and_images(tmp_path, 3)
    for number in range(3):
        (tmp_path / "images" / f"{number}.txt").write_text(f"zkr, word{number}")
    (tmp_path / "shards").mkdir()
    for shard, numbers in enumerate([(0, 1), (2,)]):
        with tarfile.open(tmp_path / "shards" / f"{shard}.tar", "w") as archive:
            for number in numbers:
                for suffix in ("png", "txt"):
                    archive.add(tmp_path / "images" / f"{number}.{suffix}", f"{number}.{suffix}")
    return tmp_path


def recipe(place: Path, images: str) -> Recipe:
    settings = {"train.epochs": 2, "sample.every": -1, "train.batch_size": 2, "judge.scores": "off"}
    paths = {"model": str(place / "tiny.safetensors"), "data.images": str(place / images)}
    return make_recipe(place / "out", QUICK | settings | paths)


def losses_and_file(place: Path, images: str) -> tuple[list[float], bytes]:
    events = list(train(recipe(place, images)))
    [path] = [event.path for event in events if isinstance(event, Finished)]
    weights = library.read_weights(path, library.load_model(str(place / "tiny.safetensors")))
    content = b"".join(tensor.numpy().tobytes() for _name, tensor in sorted(weights.tensors.items()))
    return [event.loss for event in events if isinstance(event, Trained)], content


def test_damage_in_the_cache_stops_the_run_which_can_be_resumed(place: Path) -> None:
    folder = None
    with pytest.raises(TetradError) as caught:
        for event in train(recipe(place, "shards")):
            folder = event.folder if isinstance(event, Started) else folder
            if isinstance(event, Trained) and event.step == 1:
                for file in (place / "cache" / "records").iterdir():
                    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    assert caught.value.code == "E4163" and folder
    assert [event.step for event in resume(folder) if isinstance(event, Trained)] == [2, 3, 4]


def test_shards_are_trained_on_like_a_folder(place: Path) -> None:
    from_folder = losses_and_file(place, "images")
    assert len(from_folder[0]) == 4
    assert losses_and_file(place, "shards/{0..1}.tar") == from_folder
