"""Keys of other trainers for optimizers, schedules, blocks, time steps and masks become settings that say the same."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tetrad.interchange.job import Job, Outcome
from tetrad.interchange.optimizers import _ARGUMENTS
from tetrad.interchange.read import make_recipe, read_configuration
from tetrad.settings.optimizers import OPTIMIZERS

LORA = """network_module = "networks.lora"
pretrained_model_name_or_path = "model.safetensors"
network_train_unet_only = true
learning_rate = 1e-4
"""


def read(tmp_path: Path, text: str, name: str = "run.toml") -> Job:
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return read_configuration(path, "lora")


def onetrainer(tmp_path: Path, text: str) -> Job:
    start = '{"training_method": "LORA", "base_model_name": "m.safetensors", "model_type": "STABLE_DIFFUSION_15", '
    return read(tmp_path, start + text + "}", "run.json")


@pytest.mark.parametrize("name", list(_ARGUMENTS))
def test_every_argument_that_is_mapped_is_one_of_the_class(name: str) -> None:
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    module, _dot, class_name = OPTIMIZERS[name].path.rpartition(".")
    known = inspect.signature(getattr(import_module(module), class_name).__init__).parameters
    assert set(_ARGUMENTS[name]) <= set(known)


@pytest.mark.parametrize(
    "text,expected",
    [
        (
            'optimizer_type = "Prodigy"\noptimizer_args = ["decouple=True", "d_coef=2.0", "betas=0.9,0.99"]',
            {
                "train.optimizer": "prodigy",
                "train.optimizer_args": ["decouple=True", "d_coef=2.0", "betas=(0.9, 0.99)"],
                "train.weight_decay": 0.0,
            },
        ),
        (
            'lr_scheduler_type = "CosineAnnealingLR"\nlr_scheduler_args = ["T_max=1000", "eta_min=2e-5"]\n'
            "max_train_steps = 1500",
            {
                "train.scheduler": "cosine_annealing",
                "train.scheduler_timescale": 1000,
                "train.scheduler_min_ratio": pytest.approx(0.2),
            },
        ),
        (
            'optimizer_type = "DAdaptAdam"\noptimizer_args = ["decouple=True", "weight_decay=0.1"]',
            {
                "train.optimizer": "dadaptadam",
                "train.optimizer_args": ["weight_decouple=True"],
                "train.weight_decay": 0.1,
            },
        ),
        (
            'optimizer_type = "prodigyplus.ProdigyPlusScheduleFree"',
            {"train.optimizer": "prodigyplusschedulefree", "train.optimizer_args": None},
        ),
        (
            'lr_scheduler = "cosine_with_min_lr"\nlr_scheduler_min_lr_ratio = 0.1',
            {"train.scheduler": "cosine", "train.scheduler_min_ratio": 0.1},
        ),
        (
            'lr_scheduler = "warmup_stable_decay"\nlr_decay_steps = 0.25\nmax_train_steps = 400',
            {"train.scheduler": "warmup_stable_decay", "train.decay_steps": 100},
        ),
        (
            'network_args = ["down_lr_weight=0,0.5,1,1,1,1,1,1,1,1,1,1", "mid_lr_weight=2", "up_lr_weight=sine+0.25"]',
            {"train.block_rates": "IN00=0, IN01=0.5, " + "".join(f"IN{n:02}=1, " for n in range(2, 12))
             + "MID=2, OUT=sine+0.25"},
        ),
        ("min_timestep = 100\nmax_timestep = 900", {"loss.min_timestep": 100, "loss.max_timestep": 900}),
        ('loss_type = "huber"', {"loss.huber_schedule": "snr"}),
        (
            'masked_loss = true\nconditioning_data_dir = "masks"',
            {"loss.normalize_masks": False, "data.masks": "masks"},
        ),
        ("noise_offset = 0.1\nmultires_noise_iterations = 6", {"loss.noise_offset": 0.1, "loss.pyramid_layers": 6}),
        ("min_snr_gamma = 5\ndebiased_estimation_loss = true", {"loss.min_snr_gamma": 5.0, "loss.debiased": True}),
    ],
)  # fmt: skip
def test_keys_of_sd_scripts(text: str, expected: dict[str, Any], tmp_path: Path) -> None:
    job = read(tmp_path, LORA + text)
    assert {key: job.settings.get(key) for key in expected} == expected
    make_recipe(job)
    assert not [row.key for row in job.list_rows() if row.outcome is Outcome.NOT_DONE]


def test_a_class_is_not_imported_because_a_file_names_it(tmp_path: Path) -> None:
    job = read(tmp_path, LORA + 'optimizer_type = "bitsandbytes.optim.AdEMAMix8bit"')
    assert job.settings["train.optimizer"] == "adamw"
    (row,) = [row for row in job.list_rows() if row.key == "optimizer_type"]
    assert row.outcome is Outcome.NOT_DONE and "program code" in str(row.reason)


def test_two_text_encoders_have_their_own_rates(tmp_path: Path) -> None:
    text = LORA.replace("network_train_unet_only = true\n", "text_encoder_lr = [1e-5, 2e-5]\n")
    settings = read(tmp_path, text).settings
    assert settings["train.text_encoder_learning_rate"] == 1e-5
    assert settings["train.text_encoder_2_learning_rate"] == 2e-5


def test_rates_by_block_of_sdxl_are_factors(tmp_path: Path) -> None:
    rates = ",".join(["1e-5", "0", *["2e-5"] * 21])
    start = 'pretrained_model_name_or_path = "x"\noutput_dir = "o"\nlearning_rate_te1 = 0\nlearning_rate = 1e-5\n'
    text = f'{start}block_lr = "{rates}"'
    path = tmp_path / "run.toml"
    path.write_text(text)
    assert read_configuration(path, "dreambooth").settings["train.block_rates"] == ", ".join(["1", "0", *["2"] * 21])


@pytest.mark.parametrize(
    "text,expected",
    [
        (
            '"optimizer": {"optimizer": "PRODIGY", "beta1": 0.8, "decouple": false, "d_coef": 0.5}',
            {
                "train.optimizer": "prodigy",
                "train.optimizer_args": ["betas=(0.8, 0.999)", "decouple=False", "d_coef=0.5"],
            },
        ),
        (
            '"learning_rate_scheduler": "REX", "learning_rate_min_factor": 0.1',
            {"train.scheduler": "rex", "train.scheduler_min_ratio": 0.1},
        ),
        (
            '"min_noising_strength": 0.1, "max_noising_strength": 0.8',
            {"loss.min_timestep": 100, "loss.max_timestep": 800},
        ),
        (
            '"timestep_distribution": "LOGIT_NORMAL", "noising_weight": 0.5, "noising_bias": -0.2, "__version": 11',
            {"loss.timestep_distribution": "logit_normal", "loss.timestep_mean": -0.2, "loss.timestep_std": 1.5},
        ),
        (
            '"masked_training": true, "unmasked_weight": 0.1, "normalize_masked_area_loss": true',
            {"data.alpha_mask": True, "data.unmasked_weight": 0.1, "loss.normalize_masks": True},
        ),
        (
            '"masked_training": true, "masked_prior_preservation_weight": 0.7',
            {"data.unmasked_prior_weight": 0.7, "data.unmasked_weight": 0.1, "data.unmasked_probability": 0.1},
        ),
    ],
)  # fmt: skip
def test_keys_of_onetrainer(text: str, expected: dict[str, Any], tmp_path: Path) -> None:
    job = onetrainer(tmp_path, text)
    assert {key: job.settings.get(key) for key in expected} == expected
    make_recipe(job)


def test_keys_of_ai_toolkit(tmp_path: Path) -> None:
    text = """job: extension
config:
  name: x
  process:
    - type: sd_trainer
      network: {type: lora, linear: 16, linear_alpha: 16}
      datasets: [{folder_path: images, mask_path: masks, mask_min_value: 0.1}]
      train: {steps: 100, lr: 1e-4, optimizer: prodigy, content_or_style: content, max_denoising_steps: 899,
              batch_size: 2, inverted_mask_prior: true, diff_output_preservation: true,
              diff_output_preservation_class: dog, diff_output_preservation_multiplier: 0.5}
      model: {name_or_path: m.safetensors, arch: sd15}
"""
    settings = read(tmp_path, text, "run.yaml").settings
    expected = {
        "train.optimizer": "prodigy", "train.learning_rate": 1.0, "loss.timestep_distribution": "content",
        "loss.min_timestep": 100, "loss.max_timestep": 1000, "data.masks": "masks", "data.unmasked_weight": 0.1,
        "data.unmasked_prior_weight": 0.5, "data.preserve.samples": 2, "data.preserve.weight": 0.5,
        "data.preserve.captions": ["dog"], "data.preserve.learning_rate_factor": 1.0,
    }  # fmt: skip
    assert {key: settings.get(key) for key in expected} == expected


def test_what_a_file_says_about_itself_is_one_table(tmp_path: Path) -> None:
    job = read(tmp_path, LORA + 'metadata_author = "me"\nmetadata_title = "mine"\nmetadata_tags = ""\n')
    assert make_recipe(job).save.about == {"author": "me", "title": "mine"}
    assert job.rows["metadata_title"].settings == {"save.about": {"title": "mine"}}
