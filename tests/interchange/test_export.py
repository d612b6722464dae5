"""A run that is written as sd-scripts' configuration and read again has the same settings."""

from pathlib import Path
from typing import Any

import pytest

from tetrad.errors import TetradError
from tetrad.interchange.read import make_recipe, read_configuration
from tetrad.interchange.to_kohya import export_run

PLAN = """
[model]
path = "sd15.safetensors"
family = "sd1"
prediction = "epsilon"
[data]
images = "photos"
trigger_word = "zkr"
resolution = 512
[text]
clip_skip = 2
max_tokens = 150
[method]
kind = "{kind}"
rank = 8
alpha = 4.0
conv_rank = 4
vectors = 3
text_encoder = true
dora = true
[train]
steps = 500
steps_before = 0
batch_size = 2
gradient_accumulation = 2
scheduler = "cosine"
warmup_steps = 20
warmup_from_zero = true
optimizer = "adafactor"
weight_decay = 0.02
text_encoder_steps = 250
dtype = "bfloat16"
seed = 7
[train.learning_rates]
"other parts" = "2e-4"
text_encoder = "5e-5"
[loss]
type = "huber"
huber_c = 0.2
min_snr_gamma = 5.0
[save]
name = "mine"
every_epochs = 2
[sample]
every = 0
"""


@pytest.mark.parametrize("kind", ["lora", "dreambooth", "textual-inversion"])
def test_an_exported_run_reads_back_the_same(kind: str, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.replace("{kind}", kind))
    export = export_run(tmp_path)
    written = tmp_path / "kohya.toml"
    written.write_text(export.text)
    recipe: Any = make_recipe(read_configuration(written, kind))
    train = recipe.train
    assert (train.steps, train.batch_size, train.gradient_accumulation, train.seed) == (500, 2, 2, 7)
    assert (train.scheduler, train.warmup_steps, train.warmup_from_zero) == ("cosine", 20, True)
    assert (train.optimizer, train.weight_decay, train.precision) == ("adafactor", 0.02, "bf16")
    assert train.learning_rate(1) == 2e-4 and recipe.save.every_epochs == 2 and recipe.method.kind == kind
    assert (recipe.text.clip_skip, recipe.text.max_tokens, recipe.loss.huber_c) == (2, 150, 0.2)
    if kind == "lora":
        assert (recipe.method.rank, recipe.method.alpha, recipe.method.conv_rank) == (8, 4, 4)
        assert "method.dora" in str(export.undone[0])
    if kind == "dreambooth":
        assert train.text_encoder_share == 0.5
    if kind != "textual-inversion":
        assert train.text_encoder_learning_rate(1) == 5e-5


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TetradError, match="no plan"):
        export_run(tmp_path)


def test_a_schedule_of_torch_is_written_with_its_arguments(tmp_path: Path) -> None:
    own = 'scheduler = "cosine_annealing"\nscheduler_timescale = 400\nscheduler_min_ratio = 0.1'
    text = (
        PLAN.format(kind="lora").replace('scheduler = "cosine"', own).replace("warmup_steps = 20", "warmup_steps = 0")
    )
    (tmp_path / "plan.toml").write_text(text)
    exported = export_run(tmp_path)
    assert not any("scheduler" in str(each) for each in exported.undone)
    (tmp_path / "run.toml").write_text(exported.text)
    train = make_recipe(read_configuration(tmp_path / "run.toml")).train
    assert (train.scheduler, train.scheduler_timescale) == ("cosine_annealing", 400)
    assert train.scheduler_min_ratio == pytest.approx(0.1)


def test_intervals_in_minutes_are_named_because_sd_scripts_has_none(tmp_path: Path) -> None:
    timed = ("every = 0", "every = 0\nevery_minutes = 10.0")
    exported = export(tmp_path, "lora", timed, ("every_epochs = 2", "every_minutes = 30.0"))
    undone = " ".join(map(str, exported.undone))
    assert "sample.every_minutes" in undone and "save.every_minutes" in undone
    assert "sample_every" not in exported.text and "save_every" not in exported.text


def export(folder: Path, kind: str, *changes: tuple[str, str]) -> Any:
    text = PLAN.format(kind=kind)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "plan.toml").write_text(text)
    return export_run(folder)


def read_with(folder: Path, exported: Any) -> Any:
    """The recipe of a command that runs the exported file with its script."""
    (folder / "kohya.toml").write_text(exported.text)
    (folder / "run.sh").write_text(f"accelerate launch {exported.script} --config_file=kohya.toml")
    return make_recipe(read_configuration(folder / "run.sh"))


SDXL = ('family = "sd1"', 'family = "sdxl"')
HALF_WEIGHTS = ("dora = true", "bf16_weights = true")


def test_weights_in_bf16_are_full_bf16_of_the_script_that_reads_it(tmp_path: Path) -> None:
    exported = export(tmp_path, "dreambooth", SDXL, HALF_WEIGHTS)
    assert exported.script == "sdxl_train.py" and "full_bf16 = true" in exported.text
    assert not any("bf16_weights" in str(each) for each in exported.undone)
    assert any("rounds weights in bf16 to the nearest" in str(each) for each in exported.undone)
    assert read_with(tmp_path, exported).method.bf16_weights

    exported = export(tmp_path, "dreambooth", HALF_WEIGHTS)
    assert "full_bf16" not in exported.text and any("bf16_weights" in str(each) for each in exported.undone)


def test_text_encoders_of_a_whole_sdxl_model_are_trained_at_their_rates(tmp_path: Path) -> None:
    rates = ('text_encoder = "5e-5"', 'text_encoder = "5e-5"\ntext_encoder_2 = "0"')
    recipe = read_with(tmp_path, export(tmp_path, "dreambooth", SDXL, rates))
    assert recipe.method.text_encoder
    assert (recipe.train.text_encoder_learning_rate(1), recipe.train.text_encoder_2_learning_rate(1)) == (5e-5, 0)
    assert not read_with(
        tmp_path, export(tmp_path, "dreambooth", SDXL, ("text_encoder = true", "text_encoder = false"))
    ).method.text_encoder


@pytest.mark.parametrize("base,is_written", [("8bit", True), ("nf4", False)])
def test_a_base_in_8_bits_is_one_in_fp8(tmp_path: Path, base: str, is_written: bool) -> None:
    exported = export(tmp_path, "lora", ("seed = 7", f'seed = 7\nquantize_base = "{base}"'))
    assert ("fp8_base_unet = true" in exported.text) == is_written
    assert any(f"train.quantize_base = {base}" in str(each) for each in exported.undone) != is_written
    assert (read_with(tmp_path, exported).train.quantize_base == "8bit") == is_written
