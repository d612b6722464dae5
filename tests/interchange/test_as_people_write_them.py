"""Configurations as people write them: shell lists, files named in commands, texts for numbers, forgotten types."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tetrad.errors import TetradError
from tetrad.interchange.job import Job, Outcome
from tetrad.interchange.read import make_recipe, missing_files_error, read_configuration

POWERSHELL = """# 训练脚本
$pretrained_model = "./sd-models/model.ckpt" # base model path | 底模路径
$network_dim = 32 # 常用 4~128
$ext_args = [System.Collections.ArrayList]::new()
if ($use_8bit) { [void]$ext_args.Add("--use_8bit_adam") }
python -m accelerate.commands.launch "./scripts/train_network.py" `
  --pretrained_model_name_or_path=$pretrained_model `
  --network_dim=$network_dim `
  --xformers --shuffle_caption $ext_args
"""
BASH = """model=m.ckpt
extArgs=()
if [[ $lion == 1 ]]; then extArgs+=("--use_lion_optimizer"); fi
python train_network.py --pretrained_model_name_or_path=$model --network_dim=16 "${extArgs[@]}" > log.txt 2>&1 &
"""


def read(folder: Path, text: str, name: str) -> Job:
    (folder / name).write_bytes(text.replace("\n", "\r\n").encode())
    return read_configuration(folder / name, "lora")


def onetrainer(folder: Path, **values: Any) -> Job:
    fixed = {"training_method": "LORA", "base_model_name": "m", "model_type": "STABLE_DIFFUSION_15"}
    return read(folder, json.dumps(fixed | values), "run.json")


def ai_toolkit(folder: Path, **process: Any) -> Job:
    values = {"type": "sd_trainer", "model": {"name_or_path": "m", "arch": "sd15"}, "network": {"linear": 4}} | process
    return read(folder, yaml.safe_dump({"job": "extension", "config": {"name": "a", "process": [values]}}), "run.yaml")


@pytest.mark.parametrize(
    "name,text,rank,option",
    [("a.ps1", POWERSHELL, 32, "--use_8bit_adam"), ("a.sh", BASH, 16, "--use_lion_optimizer")],
)
def test_a_list_that_a_script_fills_is_left_out_and_named(
    tmp_path: Path, name: str, text: str, rank: int, option: str
) -> None:
    job = read(tmp_path, text, name)
    assert job.settings["method.rank"] == rank and not job.failures
    assert any(option in str(note) for note in job.notes)
    assert not [row.key for row in job.list_rows() if row.outcome is Outcome.NOT_DONE]


def test_a_command_ends_where_the_shell_ends_it(tmp_path: Path) -> None:
    text = 'cd x && python train_network.py --network_dim 4 --output_name "<a> & b" --learning_rate 1e-4; echo done\n'
    job = read(tmp_path, text, "a.sh")
    assert {row.key for row in job.list_rows() if row.is_given} == {"--network_dim", "--learning_rate", "--output_name"}
    with pytest.raises(TetradError, match="E3162"):
        read(tmp_path, "python train_network.py --network_dim 4 && python train_network.py --network_dim 8\n", "b.sh")


def test_the_file_that_a_command_names_counts_after_its_own_options(tmp_path: Path) -> None:
    command = "accelerate launch --config_file acc.yaml train_network.py --config_file run --network_dim 8\n"
    job = read(tmp_path, command, "a.sh")
    assert job.rows["config_file"].outcome is Outcome.NOT_DONE and missing_files_error(job)
    (tmp_path / "run.toml").write_text('[a]\nnetwork_dim = 64\nmax_train_epochs = 3\nshuffle_caption = "false"\n')
    job = read(tmp_path, command, "a.sh")
    recipe = make_recipe(job)
    assert (job.settings["method.rank"], recipe.train.epochs, recipe.data.captions.shuffle) == (8, 3, False)
    assert any("shuffle_caption" in str(note) for note in job.notes)


def test_a_misspelled_option_and_a_switch_with_a_value_are_said(tmp_path: Path) -> None:
    job = read(
        tmp_path, "python train_network.py --network_dims=4 --enable_bucket=True --shuffle_caption True\n", "a.sh"
    )
    assert "--network_dim?" in str(job.rows["network_dims"].reason)
    assert job.rows["True"].key == "True"
    said = " ".join(map(str, job.failures))
    assert "--network_dims" in said and "--enable_bucket=True" in said


@pytest.mark.parametrize(
    "name,text,words",
    [
        (
            "a.toml",
            "network_dim = 4\nlearning_rate = 1e-4\nlearning_rate = 2e-4\n",
            ("line 3", "learning_rate", "again"),
        ),
        ("a.json", '{\n "network_dim": 8, // rank\n "epoch": 1\n}', ("line 2", "comment")),
        ("a.yaml", "job: extension\nconfig:\n  process: [{network: lora}]\n", ("network", "'lora'", "table")),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(TetradError) as caught:
        read(tmp_path, text, name)
    assert all(word in caught.value.message for word in words)


def test_a_list_or_a_switch_is_no_number_and_no_path(tmp_path: Path) -> None:
    text = 'network_module = "networks.lora"\ntrain_data_dir = ["d"]\nnetwork_dim = true\nlearning_rate = 1e-4\n'
    said = " ".join(error.message for error in read(tmp_path, text, "a.toml").errors)
    assert "train_data_dir is ['d']" in said and "network_dim is True" in said


def test_block_weights_of_lora_scripts_are_arguments_of_the_network(tmp_path: Path) -> None:
    text = 'network_module = "networks.lora"\nnetwork_dim = 4\nlearning_rate = 1e-4\nmid_lr_weight = 0.5\n'
    job = read(tmp_path, text + "enable_block_weights = true\n", "a.toml")
    assert make_recipe(job).train.block_rates == "MID=0.5"
    job = read(tmp_path, text + "enable_block_weights = false\n", "a.toml")
    assert not make_recipe(job).train.block_rates


def test_arguments_in_additional_parameters_replace_those_of_the_page(tmp_path: Path) -> None:
    page = {
        "LoRA_type": "LyCORIS/LoCon",
        "network_dim": 8,
        "network_alpha": 8,
        "conv_dim": 4,
        "max_resolution": "512,512",
    }
    job = read(tmp_path, json.dumps(page | {"additional_parameters": '--network_args "dora_wd=True"'}), "a.json")
    assert (job.settings["method.dora"], job.settings["method.conv_rank"]) == (True, 8)
    assert next(row for row in job.list_rows() if row.key == "conv_dim").outcome is Outcome.MEANINGLESS


def test_arguments_of_onetrainers_optimizers_are_those_of_ours(tmp_path: Path) -> None:
    adafactor = {"optimizer": "ADAFACTOR", "eps": 1e-20, "eps2": 0.01, "decay_rate": -0.8}
    train = make_recipe(onetrainer(tmp_path, optimizer=adafactor)).train
    assert set(train.optimizer_args) == {"eps=(1e-20, 0.01)", "decay_rate=-0.8"}
    usual = {
        "optimizer": "ADAMW_8BIT",
        "min_8bit_size": 4096,
        "percentile_clipping": 100,
        "block_wise": True,
        "eps": 1e-8,
    }
    job = onetrainer(tmp_path, optimizer=usual | {"is_paged": False})
    assert make_recipe(job).train.optimizer_args == () and not job.failures
    prodigy = {"optimizer": "PRODIGY", "growth_rate": "inf", "d_coef": 2.0}
    assert make_recipe(onetrainer(tmp_path, optimizer=prodigy)).train.optimizer_args == ("d_coef=2.0",)


def test_a_fused_backward_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    fused = {"optimizer": "ADAFACTOR", "fused_back_pass": True}
    job = onetrainer(tmp_path, optimizer=fused, gradient_accumulation_steps=2, training_method="FINE_TUNE")
    assert not make_recipe(job).train.fused_backward and job.failures


def test_previews_keep_what_stands_beside_their_prompts(tmp_path: Path) -> None:
    sample = {
        "prompt": "a cat",
        "negative_prompt": "bad",
        "width": 513,
        "seed": 7,
        "diffusion_steps": 30,
        "cfg_scale": 5.0,
    }
    found = make_recipe(onetrainer(tmp_path, samples=[sample], concepts=[{"path": "d", "balancing": 2.6}]))
    previews = found.sample
    assert (previews.prompts, previews.negative_prompt, previews.width) == (("a cat",), "bad", 512)
    assert (previews.seed, previews.steps, previews.cfg_scale, found.data.repeats) == (7, 30, 5.0, 3)
    section = {"sample_every": 0, "seed": 3, "prompts": ["a [trigger] --n ugly --d 5 --g 4"]}
    previews = make_recipe(ai_toolkit(tmp_path, sample=section, trigger_word="zkr")).sample
    assert (previews.prompts, previews.negative_prompt, previews.seed) == (("a zkr",), "ugly", 3)
    assert (previews.cfg_scale, previews.every) == (4.0, -1)


def test_a_variable_of_the_environment_is_no_name(tmp_path: Path) -> None:
    job = ai_toolkit(tmp_path, training_folder="${OUT}")
    assert job.rows["process.training_folder"].outcome is Outcome.NOT_DONE and "save.out" not in job.settings


def test_a_schedule_free_optimizer_has_no_schedule_there_either(tmp_path: Path) -> None:
    options = "--optimizer_type AdamWScheduleFree --lr_scheduler cosine --lr_warmup_steps 100"
    train = make_recipe(read(tmp_path, f"python train_network.py {options}\n", "a.sh")).train
    assert (train.scheduler, train.warmup_steps) == ("constant", 0)
    train = make_recipe(onetrainer(tmp_path, optimizer={"optimizer": "SCHEDULE_FREE_ADAMW"})).train
    assert (train.scheduler, train.warmup_steps) == ("constant", 0)


@pytest.mark.parametrize(
    "options,kept",
    [
        ("--save_every_n_epochs 2 --save_last_n_epochs 3", 3),  # files
        ("--save_every_n_steps 10 --save_last_n_steps 30", 4),  # at step 50 those of 20, 30, 40 and 50
    ],
)
def test_as_many_files_are_kept_as_by_sd_scripts(tmp_path: Path, options: str, kept: int) -> None:
    assert make_recipe(read(tmp_path, f"python train_network.py {options}\n", "a.sh")).save.keep_last == kept


def test_rates_of_both_text_encoders_stand_in_a_list_of_newer_pages(tmp_path: Path) -> None:
    page = {"LoRA_type": "Standard", "max_resolution": "1024,1024", "unet_lr": 1e-4}
    train = make_recipe(read(tmp_path, json.dumps(page | {"text_encoder_lr": [1e-5, 5e-6]}), "a.json")).train
    assert (str(train.text_encoder_learning_rate), str(train.text_encoder_2_learning_rate)) == ("1e-5", "5e-6")
    job = read(tmp_path, json.dumps(page | {"text_encoder_lr": []}), "a.json")
    assert job.settings["method.text_encoder"] is False


def test_rotations_of_onetrainer_have_blocks_of_their_own_size(tmp_path: Path) -> None:
    method: Any = make_recipe(onetrainer(tmp_path, peft_type="OFT_2", oft_block_size=8, lora_rank=64)).method
    assert (method.algorithm, method.rank, method.conv_rank, method.alpha) == ("oft", 8, 8, None)


def test_schedules_of_ai_toolkit_go_on_in_each_pass(tmp_path: Path) -> None:
    passes = {"steps": 100, "gradient_accumulation_steps": 4}
    restarts = passes | {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_params": {"T_0": 25}}
    train = make_recipe(ai_toolkit(tmp_path, train=restarts)).train
    assert (train.steps, train.scheduler_cycles) == (25, 4)
    warmup = passes | {"lr_scheduler": "constant_with_warmup", "lr_scheduler_params": {"num_warmup_steps": 40}}
    assert make_recipe(ai_toolkit(tmp_path, train=warmup)).train.warmup_steps == 10


def test_a_network_of_another_family_is_an_error(tmp_path: Path) -> None:
    job = read(tmp_path, "python train_network.py --network_module networks.lora_flux\n", "a.sh")
    assert [error.code for error in job.errors] == ["E3162"]


LORA = 'network_module = "networks.lora"\npretrained_model_name_or_path = "m"\ntrain_data_dir = "d"\n'


@pytest.mark.parametrize(
    "line,key",
    [
        ("max_train_epochs = 1e400", "max_train_epochs"),
        ("network_dim = nan", "network_dim"),
        ("network_args = ['conv_dim=x']", "network_args conv_dim"),
        ("resolution = '1024x1024'", "resolution"),
        ("noise_offset = '0,05'", "noise_offset"),
        ("learning_rate = '1e-4, 5e-5'", "learning_rate"),
        ("seed = 'random'", "seed"),
    ],
)
def test_a_value_that_is_no_number_is_one_error_with_its_key(tmp_path: Path, line: str, key: str) -> None:
    job = read(tmp_path, LORA + line, "run.toml")
    assert [error.code for error in job.errors] == ["E3163"] and f"{key} is " in job.errors[0].message


def test_an_empty_section_is_none(tmp_path: Path) -> None:
    assert onetrainer(tmp_path, unet=None).rows["unet"].outcome is Outcome.EQUAL
    assert ai_toolkit(tmp_path, train=None).rows["process.train"].outcome is Outcome.EQUAL


def test_a_windows_file_in_gbk_with_comments_in_chinese_is_read(tmp_path: Path) -> None:
    text = (
        "# 训练配置\r\n[model]\r\npretrained_model_name_or_path = 'C:\\Users\\我\\sd15.safetensors'  # 底模\r\n"
        "[train]\r\noptimizer_args = 'weight_decay=0.1 betas=(0.9,0.99)'\r\nnetwork_module = 'lycoris.kohya'\r\n"
        "network_args = 'algo=locon conv_dim=8'\r\nmax_train_steps = '1000'\r\n"
    )
    (tmp_path / "run.toml").write_bytes(text.encode("gbk"))
    recipe: Any = make_recipe(read_configuration(tmp_path / "run.toml"))
    assert (recipe.model, recipe.method.conv_rank, recipe.train.steps) == ("C:\\Users\\我\\sd15.safetensors", 8, 1000)
    assert set(recipe.train.optimizer_args) == {"betas=(0.9, 0.99)"} and recipe.train.weight_decay == 0.1
