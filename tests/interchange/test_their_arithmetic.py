"""A run by another trainer's configuration has that trainer's length, rates, batches and loss weights."""

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from interchange.other_trainers import (
    CLASS_REPEATS,
    CLASS_SIZES,
    REPEATS,
    SIZES,
    Run,
    ai_toolkit,
    kohya_ss,
    onetrainer,
    sd_scripts,
)
from PIL import Image

from tetrad.interchange.job import Job
from tetrad.interchange.kohya_ss.read import find_tab
from tetrad.interchange.read import make_recipe, read_configuration
from tetrad.settings import Recipe
from tetrad.training.lr_schedules import Decay

CASES = Path(__file__).parent / "cases"
_ABSOLUTE = re.compile(r"""(?<=["'=\s])/(?=[a-z_]+/|[a-z]+["'\s])""")
# What is no run of a trainer: each is refused with a sentence that says what it is.
NO_RUN = {
    "kohya-dataset-01.toml": "E3162",
    "kohya-dataset-02.toml": "E3162",
    "kohya-dataset-03.toml": "E3162",
    "lora-scripts-06.toml": "E3162",  # a preset
    "onetrainer-concepts-01.json": "E3162",
    "ai-toolkit-01.yaml": "E3162",  # a slider of texts alone
    "kohya-toml-03.toml": "E3167",  # cut off before its script could be told
}
# Their rate is above 0.1 for an optimizer that does not find its own: the method's own rate is used.
OTHER_RATE = {"gui-lora-05", "kohya-toml-02", "kohya-toml-05"}
# Their schedule is not here, or their own trainer does not start with it.
OTHER_SCHEDULE = {"gui-finetune-01", "gui-lora-02", "kohya-cli-15", "kohya-toml-02"}


def names() -> list[str]:
    return sorted(path.name for path in CASES.iterdir() if path.is_file() and path.name not in NO_RUN)


@pytest.mark.parametrize("name", names())
def test_length_rates_batches_and_weights_are_the_other_trainers(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    job = read_with_images(name)
    recipe, their = make_recipe(job), derive(name, job)
    stem = Path(name).stem
    if recipe.train.epochs:  # a data set of its own, whose images this test does not make
        assert job.settings.get("data.images") is None or str(job.settings["data.images"]).endswith((".toml", ".json"))
    else:
        assert recipe.train.steps == their.steps
    if recipe.train.batch_size:  # not that of a data set
        assert count_images(recipe) == their.images or (their.images % 2 and recipe.data.class_images.is_enabled)
    assert (recipe.train.learning_rate is None) == (stem in OTHER_RATE)
    if stem not in OTHER_RATE | OTHER_SCHEDULE and not recipe.train.epochs:
        check_rates(recipe, their)
    ours = {"min_snr_gamma": recipe.loss.min_snr_gamma, "debiased": float(recipe.loss.debiased)}
    assert {**ours, "prior": recipe.data.class_images.weight} == their.weights


def check_rates(recipe: Recipe, their: Run) -> None:
    """Both rates at every update; polynomial ends at 1e-7 there."""
    train = recipe.train
    decay = Decay(
        train.scheduler or "constant",
        their.steps,
        train.warmup_steps,
        train.scheduler_cycles,
        train.scheduler_power,
        train.warmup_from_zero,
    )
    assert train.learning_rate is not None
    trains_text = getattr(recipe.method, "text_encoder", False)
    assert trains_text == (their.text_rate is not None)
    for update in range(1, their.steps + 1):
        factor = decay(update)
        assert train.learning_rate(update) * factor == pytest.approx(their.rate(update), rel=1e-9, abs=1e-15)
        if their.text_rate and train.text_encoder_learning_rate:
            expected = their.text_rate(update)
            assert train.text_encoder_learning_rate(update) * factor == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert not trains_text or train.text_encoder_learning_rate is not None


def count_images(recipe: Recipe) -> float:
    """Images of an update, of either kind."""
    train = recipe.train
    return train.batch_size * train.gradient_accumulation * (2 if recipe.data.class_images.is_enabled else 1)


def read_with_images(name: str) -> Job:
    """Read a case again after the folders that it names were made; absolute paths are moved into this folder."""
    path = Path(name)
    path.write_bytes(_ABSOLUTE.sub("", (CASES / name).read_bytes().decode()).encode())
    job = read_configuration(path)
    images = str(job.settings.get("data.images", ""))
    is_flat = job.has_plain_folder or job.get("in_json") or job.trainer in ("OneTrainer", "ai-toolkit")
    if images and not images.endswith((".toml", ".json")):
        inner = (
            Path(images)
            if is_flat or re.match(r"\d+_", Path(images).name)
            else Path(images, f"{REPEATS}_xyzword person")
        )
        make_images(inner, SIZES)
    if reg := job.settings.get("data.class_images.images"):
        make_images(Path(str(reg), f"{CLASS_REPEATS}_person"), CLASS_SIZES)
    return read_configuration(path)


def make_images(folder: Path, sizes: tuple[tuple[int, int], ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(folder / f"{number}.png")


def derive(name: str, job: Job) -> Run:
    """The run by the other trainer's arithmetic, from the file's own values."""
    text = Path(name).read_text("utf-8-sig")
    has_class_images = "data.class_images.images" in job.settings
    is_flat = bool(job.has_plain_folder or job.get("in_json"))
    values: dict[str, Any] = {}
    if job.trainer == "ai-toolkit":
        return ai_toolkit(yaml.safe_load(text)["config"]["process"][0])
    if name.endswith(".json"):
        values = json.loads(text)
        if job.trainer == "OneTrainer":
            return onetrainer(values)
        values, script = kohya_ss(values, find_tab(values), has_class_images)
    elif name.endswith(".toml"):
        for key, value in tomllib.loads(text).items():
            values |= value if isinstance(value, Mapping) else {key: value}
        values["is_toml"], script = True, job.base
    else:
        values, script = parse_command(text), job.base
    run = sd_scripts(values, script, has_class_images, is_flat)
    own_repeats = re.match(r"(\d+)_", Path(str(job.settings.get("data.images", ""))).name)
    return (
        run
        if not own_repeats or is_flat
        else sd_scripts(values | {"dataset_repeats": int(own_repeats[1])}, script, has_class_images, True)
    )


def parse_command(text: str) -> dict[str, Any]:
    """`--key value` and `--key=value` of the one command in a text, with flags as True."""
    printed = re.search(r"\['.*?'\]", text)
    joined = re.sub(r"[\\^]\n", " ", text)
    line = next(line for line in joined.splitlines() if ".py" in line)
    words = re.findall(r"'([^']*)'", printed[0]) if printed else shlex.split(line)
    values: dict[str, Any] = {}
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            values[key] = value if equals else True if following.startswith("--") else following
    return values
