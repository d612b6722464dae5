"""The files in a run's folder: the recipe as given, the plan, the events, the metrics."""

import json
import tomllib
from pathlib import Path
from typing import Any

import plans
import pytest
import tiny
from PIL import Image

from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.run.events import Event, Finished, Note, Trained
from tetrad.run.folder import RunFolder
from tetrad.run.train import train
from tetrad.settings import Recipe, build_recipe, read_values


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and 24 images."""
    path = tmp_path_factory.mktemp("folder")
    tiny.save_shallow_checkpoint(path / "tiny.safetensors")
    (path / "images").mkdir()
    for number in range(24):
        Image.effect_noise((64, 64), 40 + number).convert("RGB").save(path / "images" / f"{number}.png")
        (path / "images" / f"{number}.txt").write_text("a zkr, red")
    return path


@pytest.fixture(autouse=True)
def cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))


def make_recipe(place: Path, name: str, **settings: Any) -> Recipe:
    """A LoRA on the images, without previews unless the settings say otherwise."""
    paths = {"model": str(place / "tiny.safetensors"), "data__images": str(place / "images")}
    paths |= {"save__out": str(place / "out"), "save__name": name}
    return plans.recipe(**paths, **{"data__resolution": 32, "method__rank": 2, "sample__every": -1} | settings)


def first_note_with(recipe: Recipe, text: str) -> Note:
    """The first note of a run that contains a text; the run is stopped there."""
    events = train(recipe)
    note = next(event for event in events if isinstance(event, Note) and text in str(event.message))
    events.close()  # type: ignore[attr-defined]
    return note


def test_a_note_shows_how_steps_follow_from_epochs_images_and_repeats(place: Path) -> None:
    recipe = make_recipe(place, "long", train__epochs=10, data__repeats=6, train__batch_size=1)
    sentence = str(first_note_with(recipe, "epochs").message)
    assert sentence.startswith("lora: rank 2, alpha 2; 1,440 steps = 10 epochs × 24 images × 6 repeats / batch 1, ")
    assert sentence.endswith("60 steps per image; learning rate 1e-4 (cosine)")
    plan = tomllib.loads((place / "out" / "long" / "plan.toml").read_text("utf-8"))
    assert plan["train"]["steps"] == 1440 and plan["train"]["repeats"] == 144 and plan["train"]["images"] == 24


def test_train_epochs_gives_the_number_of_steps(place: Path) -> None:
    events = list(train(make_recipe(place, "epochs", train__epochs=0.25, data__repeats=2, train__batch_size=4)))
    assert [event.step for event in events if isinstance(event, Trained)] == [1, 2, 3]
    assert isinstance(events[-1], Finished) and events[-1].complete and events[-1].steps == 3
    metadata = weight_files.read_safetensors_metadata(events[-1].path)
    assert json.loads(metadata["ss_dataset_dirs"]) == {"images": {"n_repeats": 2, "img_count": 24}}
    names = ("ss_max_train_steps", "ss_num_batches_per_epoch", "ss_num_epochs")
    assert [metadata[name] for name in names] == ["3", "12", "1"]


@pytest.fixture(scope="module")
def done(place: Path) -> tuple[Recipe, list[Event], Path]:
    """A run of two steps whose part learning rates differ, with one setting that has no effect."""
    recipe = make_recipe(
        place, "two", train__steps=2, train__batch_size=1, train__learning_rate=2e-3, train__scheduler="constant",
        loss__huber_c=0.5,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TETRAD_CACHE", str(place / "cache"))
        events = list(train(recipe))
    return recipe, events, place / "out" / "two"


def test_a_runs_folder_holds_its_six_entries(done: tuple[Recipe, list[Event], Path]) -> None:
    _recipe, _events, folder = done
    names = {"recipe.toml", "plan.toml", "events.jsonl", "metrics.jsonl", "samples", "two.safetensors"}
    assert {path.name for path in folder.iterdir()} == names


def test_recipe_toml_holds_the_recipe_as_given(done: tuple[Recipe, list[Event], Path]) -> None:
    recipe, _events, folder = done
    assert build_recipe(read_values(folder / "recipe.toml")) == recipe


def test_plan_toml_holds_every_decided_value(done: tuple[Recipe, list[Event], Path]) -> None:
    _recipe, _events, folder = done
    plan = tomllib.loads((folder / "plan.toml").read_text("utf-8"))
    assert plan["train"]["learning_rates"] == {"other parts": "0.002", "text_encoder": "0.001"}
    assert plan["sample"]["every"] == 0 and plan["sample"]["prompts"][0] == "a zkr, red"
    assert plan["train"]["weight_decay"] == 0.01 and plan["train"]["text_encoder_steps"] == 2
    assert plan["model"]["family"] == "sd1" and plan["data"]["resolution"] == 32


def test_each_step_records_the_learning_rate_of_each_part(done: tuple[Recipe, list[Event], Path]) -> None:
    _recipe, events, folder = done
    rates = {"unet": 2e-3, "text_encoder": 1e-3}
    steps = [event for event in events if isinstance(event, Trained)]
    assert [(event.step, event.steps, event.learning_rate) for event in steps] == [(1, 2, 2e-3), (2, 2, 2e-3)]
    assert all(event.learning_rates == rates for event in steps)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [line["learning_rates"] for line in metrics] == [rates, rates]


def test_metadata_holds_the_rate_of_a_part_without_its_groups_factors(place: Path) -> None:
    settings = {"method__plus_ratio": 16, "train__learning_rate": 2e-3, "train__steps": 1}
    events = list(train(make_recipe(place, "plus", **settings)))
    assert isinstance(events[-1], Finished)
    metadata = weight_files.read_safetensors_metadata(events[-1].path)
    rates = [metadata[f"ss_{name}"] for name in ("learning_rate", "unet_lr", "text_encoder_lr")]
    assert rates == ["0.002", "0.002", "0.001"]
    step = next(event for event in events if isinstance(event, Trained))
    assert step.learning_rates == {"unet": 2e-3, "text_encoder": 1e-3}


def test_a_continued_run_records_the_rate_of_the_right_group(place: Path) -> None:
    """The parts and the factors of LoRA+ have another order in a file than in a new LoRA."""
    settings = {"method__plus_ratio": 16, "train__text_encoder_learning_rate": 5e-4, "train__learning_rate": 2e-3}
    settings |= {"train__steps": 1, "train__scheduler": "constant"}
    *_, first = train(make_recipe(place, "first-of-two", **settings))
    assert isinstance(first, Finished)
    again = make_recipe(place, "second-of-two", **settings | {"train__steps": 2}, continue_from=str(first.path))
    events = list(train(again))
    metadata = weight_files.read_safetensors_metadata(events[-1].path)
    rates = [metadata[f"ss_{name}"] for name in ("learning_rate", "unet_lr", "text_encoder_lr")]
    assert rates == ["0.002", "0.002", "5e-4"]
    step = next(event for event in events if isinstance(event, Trained))
    assert step.learning_rate == 2e-3 and step.learning_rates == {"unet": 2e-3, "text_encoder": 5e-4}


def test_recorded_events_hold_the_text_the_template_and_the_values(done: tuple[Recipe, list[Event], Path]) -> None:
    _recipe, events, folder = done
    records = [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]
    notes = [record for record in records if record["event"] == "note"]
    assert [record["text"] for record in notes] == [str(event.message) for event in events if isinstance(event, Note)]
    [warning] = [record for record in notes if record["code"] == "W3132"]
    assert warning["values"]["setting"] == "loss.huber_c" and "{setting}" in warning["template"]
    assert warning["values"]["reason"]["template"] and warning["values"]["reason"]["text"] in warning["text"]
    phases = [record for record in records if record["event"] == "phase"]
    assert {"loading the model", "encoding the images", "training"} <= {record["name"]["text"] for record in phases}
    assert records[-1]["event"] == "finished" and records[-1]["complete"] is True


def test_a_second_run_of_the_same_name_gets_its_own_folder(tmp_path: Path) -> None:
    first, second = (RunFolder.create(tmp_path, "zkr") for _ in range(2))
    assert (first.path.name, first.name, second.path.name, second.name) == ("zkr", "zkr", "zkr-2", "zkr-2")
    assert (second.path / "samples").is_dir()


def test_a_text_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create(tmp_path, "zkr")
    folder.write("recipe.toml", "before")

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(TetradError, match="E4202"):
        folder.write("recipe.toml", "after")
    assert (folder.path / "recipe.toml").read_text() == "before"
    assert sorted(path.name for path in folder.path.iterdir()) == ["recipe.toml", "samples"]
