"""The folders of images of OneTrainer and ai-toolkit become those of a run, each with what it has for itself."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tetrad.data.discover.dataset_config import list_dataset_config
from tetrad.data.discover.subsets import Subset
from tetrad.interchange.job import Job
from tetrad.interchange.read import make_recipe, missing_files_error, read_configuration
from tetrad.interchange.report import describe_row
from tetrad.settings.data import Data


def make_folder(path: Path, count: int = 1) -> str:
    path.mkdir()
    for number in range(count):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(path / f"{number}.png")
    return str(path)


def read(tmp_path: Path, values: dict[str, Any]) -> tuple[Job, Data]:
    (tmp_path / "run.json").write_text(json.dumps(values))
    job = read_configuration(tmp_path / "run.json")
    return job, make_recipe(job).data


def test_each_enabled_concept_of_onetrainer_is_a_folder(tmp_path: Path) -> None:
    one, two, three = (make_folder(tmp_path / name, 2) for name in ("5_one", "two", "three"))
    shuffled = {"text": {"enable_tag_shuffling": True, "keep_tags_count": 2}, "image": {"enable_random_flip": True}}
    concepts = [
        {"path": one, "balancing": 2.0, **shuffled},
        {"path": two, "balancing": 3.0, "loss_weight": 0.5, "text": {"prompt_source": "filename"}},
        {"path": "nowhere", "enabled": False},
        {"path": three, **shuffled, "image": {"enable_resolution_override": True, "resolution_override": "768"}},
    ]
    values = {"training_method": "LORA", "base_model_name": "builtin", "epochs": 1, "batch_size": 1}
    job, data = read(tmp_path, values | {"text_encoder": {"dropout_probability": 0.1}, "concepts": concepts})
    assert (data.images, data.repeats, data.flip) == (one, 2, True)
    assert data.captions.shuffle and data.captions.dropout == 0.1
    second, third = data.folders
    assert (second.images, second.repeats, second.weight, second.flip) == (two, 3, 0.5, False)
    assert second.captions and second.captions.file_names and not second.captions.shuffle
    assert second.captions.dropout == 0.1  # of the text encoders, not of a folder
    assert (third.images, third.repeats, third.resolution, third.captions) == (three, 1, 768, None)
    assert job.settings["train.steps"] == 2 * 2 + 2 * 3 + 2
    shown = {row.key: row.settings for row in job.list_rows()}
    assert shown["concepts[1].loss_weight"] == {"data.folders": {"weight": 0.5}}
    row = next(row for row in job.list_rows() if row.key == "concepts[1].path")
    assert f'data.folders = {{images = "{two}"}}' in str(describe_row(row))


def test_a_folder_that_is_not_there_is_named_unless_the_command_line_replaces_it(tmp_path: Path) -> None:
    concepts = [{"path": make_folder(tmp_path / "one")}, {"path": str(tmp_path / "gone")}]
    job, _data = read(tmp_path, {"training_method": "LORA", "model_type": "STABLE_DIFFUSION_15", "concepts": concepts})
    error = missing_files_error(job, {"model": "builtin", "data.folders": [{"images": str(tmp_path / "gone")}]})
    assert error and f"concepts[1].path = {tmp_path / 'gone'}" in error.message
    assert missing_files_error(job, {"data.folders": []}) is None


def test_each_dataset_and_resolution_of_ai_toolkit_is_a_folder(tmp_path: Path) -> None:
    one, two, reg, more = (make_folder(tmp_path / name) for name in ("one", "two", "reg", "more"))
    datasets = [
        {"folder_path": one, "resolution": [512, 768], "num_repeats": 4, "caption_ext": "txt", "shuffle_tokens": True},
        {"folder_path": two, "resolution": 1024, "trigger_word": "qqq", "loss_multiplier": 2.0, "mask_path": reg},
        {"folder_path": reg, "is_reg": True},
        {"folder_path": more, "is_reg": True, "num_repeats": 2},
    ]
    process = {"type": "sd_trainer", "trigger_word": "zkr", "network": {"type": "lora"}, "datasets": datasets}
    model = {"model": {"name_or_path": "builtin"}}
    _job, data = read(tmp_path, {"job": "extension", "config": {"name": "x", "process": [process | model]}})
    assert (data.images, data.resolution, data.trigger_word, data.repeats) == (one, 768, "zkr", 4)
    assert data.class_images.images == reg
    again, second, of_class = data.folders
    assert (again.images, again.resolution, again.repeats, again.captions) == (one, 512, 4, None)
    assert (second.images, second.resolution, second.trigger_word, second.weight) == (two, 1024, "qqq", 2.0)
    assert second.masks == reg and second.captions and not second.captions.shuffle
    assert (of_class.images, of_class.class_images, of_class.repeats) == (more, True, 2)


def test_a_subset_of_a_data_set_has_masks_and_repeats_of_its_own(tmp_path: Path) -> None:
    make_folder(tmp_path / "7_one")
    make_folder(tmp_path / "masks")
    subset = {"image_dir": "7_one", "num_repeats": 2, "conditioning_data_dir": "masks"}
    (tmp_path / "data.json").write_text(json.dumps({"datasets": [{"subsets": [subset]}]}))
    (entry,) = list_dataset_config(tmp_path / "data.json", Subset()).entries
    assert (entry.subset.masks, entry.subset.repeats) == (str(tmp_path / "masks"), 2)
