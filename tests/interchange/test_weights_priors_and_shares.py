"""Weights in bfloat16, folders of prior prediction, shares of a run and rates of 0, as settings that say the same."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tetrad.interchange.job import Job, Outcome
from tetrad.interchange.read import make_recipe, read_configuration

FULL = {"training_method": "FINE_TUNE", "base_model_name": "m", "model_type": "STABLE_DIFFUSION_XL_10_BASE"}


def read(folder: Path, text: str, name: str = "run.sh") -> Job:
    (folder / name).write_text(text, "utf-8")
    return read_configuration(folder / name, "lora")


def command(folder: Path, script: str, options: str) -> Job:
    return read(folder, f"accelerate launch {script}.py --pretrained_model_name_or_path=m.safetensors {options}")


def onetrainer(folder: Path, **values: Any) -> Job:
    return read(folder, json.dumps(FULL | values), "run.json")


def make_folder(path: Path, captions: list[str]) -> str:
    path.mkdir()
    for number, caption in enumerate(captions):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(path / f"{number}.png")
        (path / f"{number}.txt").write_text(caption)
    return str(path)


@pytest.mark.parametrize(
    "script,options,outcome",
    [
        ("sdxl_train", "--full_bf16 --mixed_precision bf16", Outcome.MAPPED),
        ("sdxl_train", "--full_bf16 --mixed_precision bf16 --optimizer_type Lion", Outcome.NOT_DONE),
        ("sdxl_train", "--full_bf16 --mixed_precision fp16", Outcome.NOT_DONE),
        ("train_db", "--full_bf16 --mixed_precision bf16", Outcome.MEANINGLESS),
        ("sdxl_train_network", "--full_bf16 --mixed_precision bf16", Outcome.NOT_DONE),
    ],
)
def test_full_bf16_is_mapped_where_it_is_read_and_fits(
    tmp_path: Path, script: str, options: str, outcome: Outcome
) -> None:
    job = command(tmp_path, script, options)
    assert job.rows["full_bf16"].outcome is outcome
    assert getattr(make_recipe(job).method, "bf16_weights", False) == (outcome is Outcome.MAPPED)
    assert any("full_bf16" in str(reason) for reason in job.failures) == (" fp16" in options)


def test_weights_of_onetrainer_are_those_of_its_parts(tmp_path: Path) -> None:
    own = {"unet": {"weight_dtype": "BFLOAT_16"}, "train_dtype": "BFLOAT_16"}
    frozen = {"text_encoder": {"train": False}, "text_encoder_2": {"train": False}}
    whole = {"weight_dtype": "BFLOAT_16", "optimizer": {"optimizer": "ADAFACTOR", "stochastic_rounding": True}}

    assert getattr(make_recipe(onetrainer(tmp_path, **own, **frozen)).method, "bf16_weights", None) is True
    assert getattr(make_recipe(onetrainer(tmp_path, **whole)).method, "bf16_weights", None) is True
    assert onetrainer(tmp_path, **own).rows["unet.weight_dtype"].outcome is Outcome.NOT_DONE  # text encoders in fp32
    assert onetrainer(tmp_path, **whole).rows["optimizer.stochastic_rounding"].outcome is Outcome.EQUAL


@pytest.mark.parametrize(
    "values,expected",
    [
        ({"training_method": "LORA", "unet": {"weight_dtype": "NFLOAT_4"}}, "nf4"),
        ({"training_method": "EMBEDDING", "weight_dtype": "INT_8"}, "8bit"),
        ({"training_method": "LORA", "weight_dtype": "FLOAT_8", "unet": {"weight_dtype": "FLOAT_16"}}, "none"),
        ({"training_method": "LORA", "weight_dtype": "INT_W8A8"}, "8bit"),
        ({"training_method": "LORA", "text_encoder": {"weight_dtype": "NFLOAT_4"}}, "none"),
        ({"weight_dtype": "NFLOAT_4"}, "none"),  # a whole model is trained
    ],
)
def test_a_quantized_unet_of_onetrainer_is_a_quantized_base(
    tmp_path: Path, values: dict[str, Any], expected: str
) -> None:
    job = onetrainer(tmp_path, **values)
    assert make_recipe(job).train.quantize_base == expected
    outcomes = {job.rows[name].outcome for name in ("weight_dtype", "unet.weight_dtype") if name in job.rows}
    assert (Outcome.MAPPED in outcomes) == (expected != "none")


@pytest.mark.parametrize(
    "script,options,outcome",
    [
        ("sdxl_train_network", "--fp8_base --mixed_precision bf16", Outcome.MAPPED),
        ("train_network", "--fp8_base_unet --fp8_base", Outcome.MAPPED),
        ("train_db", "--fp8_base --mixed_precision bf16", Outcome.MEANINGLESS),
    ],
)
def test_fp8_base_is_a_base_in_8_bits_where_it_is_read(
    tmp_path: Path, script: str, options: str, outcome: Outcome
) -> None:
    job = command(tmp_path, script, options)
    assert {row.outcome for name, row in job.rows.items() if name.startswith("fp8_base")} == {outcome}
    assert make_recipe(job).train.quantize_base == ("8bit" if outcome is Outcome.MAPPED else "none")
    assert any("fp8_base" in str(reason) for reason in job.failures) == ("mixed_precision" not in options)


def test_quantize_of_ai_toolkit_does_nothing_for_these_families(tmp_path: Path) -> None:
    model = {"name_or_path": "m", "arch": "sdxl", "quantize": True, "qtype": "qfloat8"}
    process = {"type": "sd_trainer", "network": {"type": "lora", "linear": 8}, "model": model}
    job = read(tmp_path, yaml.safe_dump({"job": "extension", "config": {"name": "a", "process": [process]}}), "a.yaml")
    assert job.rows["model.quantize"].outcome is Outcome.MEANINGLESS
    assert make_recipe(job).train.quantize_base == "none"


def test_a_whole_model_of_ai_toolkit_has_weights_in_its_dtype(tmp_path: Path) -> None:
    process = {"type": "sd_trainer", "model": {"name_or_path": "m", "arch": "sd15"}, "train": {"dtype": "bf16"}}
    job = read(tmp_path, yaml.safe_dump({"job": "extension", "config": {"name": "a", "process": [process]}}), "a.yaml")
    assert getattr(make_recipe(job).method, "bf16_weights", None) is True
    assert make_recipe(job).train.precision == "bf16"


def test_a_concept_of_prior_prediction_is_preserved_by_its_captions_and_share(tmp_path: Path) -> None:
    own, prior = (
        make_folder(tmp_path / "own", ["zkr dog"] * 6),
        make_folder(tmp_path / "prior", ["a dog\na cat", "a dog"]),
    )
    concepts = [{"path": own}, {"path": prior, "type": "PRIOR_PREDICTION", "loss_weight": 0.6}]
    job = onetrainer(tmp_path, training_method="LORA", epochs=4, batch_size=4, concepts=concepts)
    recipe, preserve = make_recipe(job), make_recipe(job).data.preserve

    assert (recipe.data.images, recipe.data.folders) == (own, ())
    assert recipe.train.steps == 4 * 2  # of eight images in an epoch
    assert (recipe.train.batch_size, preserve.samples) == (3, 1)
    assert preserve.captions == ("a dog", "a cat")
    assert (preserve.weight, preserve.learning_rate_factor) == (pytest.approx(0.6 * 2 / 6), 1.0)


def test_a_prior_folder_of_ai_toolkit_is_preserved_with_its_weights(tmp_path: Path) -> None:
    own, prior = make_folder(tmp_path / "own", ["zkr"]), make_folder(tmp_path / "prior", ["a man"])
    datasets = [{"folder_path": own}, {"folder_path": prior, "prior_reg": True, "is_reg": True, "loss_multiplier": 0.5}]
    process = {
        "type": "sd_trainer",
        "network": {"type": "lora", "linear": 8},
        "model": {"name_or_path": "m", "arch": "sd15"},
        "datasets": datasets,
        "train": {"batch_size": 3, "reg_weight": 0.4},
    }
    job = read(tmp_path, yaml.safe_dump({"job": "extension", "config": {"name": "a", "process": [process]}}), "a.yaml")
    data = make_recipe(job).data
    assert (data.images, data.folders, data.class_images.is_enabled) == (own, (), False)
    assert (data.preserve.samples, data.preserve.captions) == (3, ("a man",))
    assert data.preserve.weight == pytest.approx(0.2)


def test_a_warm_up_that_is_a_share_waits_for_the_number_of_steps(tmp_path: Path) -> None:
    job = command(tmp_path, "train_network", "--max_train_epochs 4 --lr_warmup_steps 0.1 --lr_scheduler cosine")
    assert (job.settings["train.warmup_share"], job.settings["train.warmup_from_zero"]) == (0.1, True)
    job = onetrainer(tmp_path, learning_rate_warmup_steps=0.25)
    assert make_recipe(job).train.warmup_share == 0.25


def test_adafactor_with_its_own_rate_keeps_it(tmp_path: Path) -> None:
    options = "--optimizer_type Adafactor --learning_rate 1 --lr_scheduler cosine --lr_warmup_steps 10"
    job = command(tmp_path, "sdxl_train", options)
    train = make_recipe(job).train
    assert set(train.optimizer_args) == {"scale_parameter=True", "relative_step=True"}
    assert (train.learning_rate, train.scheduler, train.warmup_steps) == (None, "constant", 0)
    assert not [row for row in job.list_rows() if row.outcome is Outcome.NOT_DONE]
    job = onetrainer(tmp_path, optimizer={"optimizer": "ADAFACTOR"}, learning_rate=1e-5)
    assert (make_recipe(job).train.optimizer_args, str(make_recipe(job).train.learning_rate)) == ((), "1e-5")


def test_one_of_two_text_encoders_has_the_rate_0(tmp_path: Path) -> None:
    options = "--network_module networks.lora --learning_rate 1e-4 --text_encoder_lr 0 2e-5"
    train = make_recipe(command(tmp_path, "sdxl_train_network", options)).train
    assert (str(train.text_encoder_learning_rate), str(train.text_encoder_2_learning_rate)) == ("0", "2e-5")

    encoders = {"text_encoder": {"train": True, "learning_rate": 3e-6}, "text_encoder_2": {"train": False}}
    train = make_recipe(onetrainer(tmp_path, **encoders)).train
    assert (str(train.text_encoder_learning_rate), str(train.text_encoder_2_learning_rate)) == ("3e-6", "0")


def test_images_of_onetrainer_at_several_resolutions_are_used_at_each(tmp_path: Path) -> None:
    own = make_folder(tmp_path / "own", ["zkr"] * 4)
    values = {"resolution": "512, 768x768", "epochs": 3, "save_every": 1, "save_every_unit": "EPOCH"}
    recipe = make_recipe(onetrainer(tmp_path, concepts=[{"path": own}], **values))
    assert (recipe.data.resolution, [folder.resolution for folder in recipe.data.folders]) == (768, [512])
    assert (recipe.train.steps, recipe.save.every) == (12, 4)


@pytest.mark.parametrize(
    "number,unit,setting,value",
    [
        (30, "SECOND", "every_minutes", 0.5),
        (10, "MINUTE", "every_minutes", 10.0),
        (2, "HOUR", "every_minutes", 120.0),
        (9999, "HOUR", "every_minutes", 100_000.0),
        (0.001, "SECOND", "every_minutes", 0.0001),  # not 0, which is never
        (0, "MINUTE", "every", 1),
        (5, "ALWAYS", "every", 1),
        (5, "STEP", "every", 5),
        (5, "EPOCH", "every_epochs", 5),
        (0, "STEP", "", None),
        (0, "EPOCH", "", None),
        (5, "NEVER", "", None),
    ],
)
def test_intervals_of_onetrainer_keep_their_unit(
    number: float, unit: str, setting: str, value: float | None, tmp_path: Path
) -> None:
    values = {"sample_after": number, "sample_after_unit": unit, "save_every": number, "save_every_unit": unit}
    job = onetrainer(tmp_path, **values)
    asked = {key for key in values if job.rows[key].outcome is Outcome.MAPPED}
    recipe = make_recipe(job)
    if setting:
        assert asked == set(values)
        assert getattr(recipe.sample, setting) == getattr(recipe.save, setting) == value
    else:
        assert asked == {"sample_after", "sample_after_unit"} and recipe.sample.every == -1
        assert (recipe.save.every, recipe.save.every_epochs, recipe.save.every_minutes) == (0, 0, 0)


def test_a_unit_that_onetrainer_does_not_have_is_an_error(tmp_path: Path) -> None:
    job = onetrainer(tmp_path, save_every=3, save_every_unit="DAY")
    assert any("save_every_unit is 'DAY'" in str(error) and "MINUTE" in str(error) for error in job.errors)


def test_previews_of_onetrainer_come_every_ten_minutes_by_default(tmp_path: Path) -> None:
    assert make_recipe(onetrainer(tmp_path, sample_after=3)).sample.every_minutes == 3
    assert make_recipe(onetrainer(tmp_path, sample_after_unit="MINUTE")).sample.every_minutes == 10
    backup = onetrainer(tmp_path, backup_after=5, backup_after_unit="MINUTE")
    assert {backup.rows[key].outcome for key in ("backup_after", "backup_after_unit")} == {Outcome.EQUAL}
    assert make_recipe(backup).save.every_minutes == 0


def test_a_huber_error_of_onetrainer_keeps_its_delta(tmp_path: Path) -> None:
    loss = make_recipe(onetrainer(tmp_path, mse_strength=0.0, huber_strength=1.0)).loss
    assert (loss.type, loss.huber_c, loss.huber_schedule) == ("huber", 1.0, "constant")
    loss = make_recipe(onetrainer(tmp_path, mse_strength=0.0, huber_strength=1.0, huber_delta=0.2)).loss
    assert (loss.type, loss.huber_c) == ("huber", 0.2)
    job = onetrainer(tmp_path, mse_strength=1.0, huber_strength=0.5)
    assert job.rows["huber_strength"].outcome is Outcome.NOT_DONE and make_recipe(job).loss.type == "l2"
