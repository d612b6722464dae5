"""lora-scripts' (秋叶) TOML: autosaves are sd-scripts' files, exports have the page's own keys.  mikazuki/schema"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetrad.documents import parse_toml
from tetrad.errors import TetradError
from tetrad.interchange import reasons
from tetrad.interchange.job import Entry, Job
from tetrad.interchange.kohya.blocks import WEIGHTS as BLOCK_WEIGHTS
from tetrad.interchange.kohya.read import fill_job
from tetrad.interchange.kohya.training import list_of
from tetrad.interchange.pictures import read_folder, read_folders, repeats_of
from tetrad.interchange.rules import words
from tetrad.locales import Message, _

TRAINER = "lora-scripts"
SCRIPTS = {
    "sd-lora": "train_network",
    "sdxl-lora": "sdxl_train_network",
    "sd-dreambooth": "train_db",
    "sdxl-finetune": "sdxl_train",
    "sd-textual-inversion": "train_textual_inversion",
    "sdxl-textual-inversion": "sdxl_train_textual_inversion",
}
SIGNS = frozenset(
    words(
        "model_train_type lycoris_algo network_args_custom optimizer_args_custom enable_block_weights enable_preview"
        " ui_custom_params prodigy_d0 prodigy_d_coef randomly_choice_prompt positive_prompts"
    )
)
_ARGUMENTS = {
    "lycoris_algo": "algo",
    "lokr_factor": "factor",
    "dylora_unit": "unit",
    "dropout": "dropout",
    "train_norm": "train_norm",
}
_BLOCK_FIELDS = words(
    "down_lr_weight mid_lr_weight up_lr_weight block_lr_zero_threshold enable_base_weight base_weights"
    " base_weights_multiplier"
)
_FORKS = words(
    "experimental_attention_profile_window flashattn sageattn cross_attn_fused_kv opt_channels_last"
    " pytorch_cuda_expandable_segments safeguard_enabled cooldown_poll_seconds enable_distributed_training machine_rank"
    " sync_config_from_main sync_config_keys_from_main num_machines main_process_port gpu_ids"
)
_PREVIEW = words(
    "positive_prompts negative_prompts sample_width sample_height sample_cfg sample_seed sample_steps"
    " randomly_choice_prompt prompt_file"
)
# Repeats that the program chooses for a folder without any, up to this many images.
_REPEATS = ((10, 7), (50, 5), (100, 3))


def read_lora_scripts(path: Path, entries: Mapping[str, Entry], script: str) -> Job:
    """What becomes of each key of a file of lora-scripts.  E3162 for a model type of another family."""
    job = Job(TRAINER, path, entries, script)
    _decide_type(job)
    _lay_over(job)
    _join_arguments(job)
    _skip_forks(job)
    _decide_preview(job)
    _decide_moved_images(job)
    return fill_job(job)


def _decide_type(job: Job) -> None:
    kind = job.word("model_train_type")
    if not kind:
        return
    if kind not in SCRIPTS:
        template = _("{file} is a configuration of {trainer} for {family}; Tetrad trains Stable Diffusion 1, 2 and XL")
        raise TetradError("E3162", template, file=job.path, trainer=TRAINER, family=kind)
    job.base = SCRIPTS[kind]
    job.skip("model_train_type", Message(_("it chooses the script {script}"), script=job.base))


def _lay_over(job: Job) -> None:
    """ui_custom_params is TOML that overrides everything else."""
    text = job.word("ui_custom_params")
    if "ui_custom_params" not in job.entries:
        return
    if not text:
        job.equal("ui_custom_params")
        return
    try:
        values = parse_toml(text)
    except ValueError:
        job.fail("ui_custom_params", Message(_("TOML")))
        return
    job.skip("ui_custom_params", Message(_("its keys override the fields of the page")))
    job.entries |= {key: Entry(f"ui_custom_params {key}", value) for key, value in values.items()}


def _join_arguments(job: Job) -> None:
    """Fields of the page that become arguments of the network or of the optimizer."""
    network, optimizer = list_of(job, "network_args"), list_of(job, "optimizer_args")
    is_lycoris = job.word("network_module").startswith("lycoris")
    for name, argument in _ARGUMENTS.items():
        if name not in job.entries:
            continue
        if is_lycoris and job.get(name) not in (None, False):
            network.append(f"{argument}={job.get(name)}")
            job.rename(name, f"network_args {argument}", job.get(name))
        else:
            job.skip(name, Message(_("it only counts with {value}"), value="lycoris.kohya"))
    for name, argument in (("prodigy_d0", "d0"), ("prodigy_d_coef", "d_coef")):
        if name in job.entries:
            if job.word("optimizer_type").lower() == "prodigy" and job.get(name) is not None:
                optimizer.append(f"{argument}={job.get(name)}")
                job.rename(name, f"optimizer_args {argument}", job.get(name))
            else:
                job.skip(name, Message(_("it only counts with {value}"), value="Prodigy"))
    if job.flag("enable_block_weights"):
        for name in BLOCK_WEIGHTS:
            if name in job.entries and job.get(name) is not None:
                network.append(f"{name}={job.get(name)}".replace(" ", ""))
                job.rename(name, f"network_args {name}", job.get(name))
    for name, target in (("network_args_custom", network), ("optimizer_args_custom", optimizer)):
        if name in job.entries:
            target += list_of(job, name)
            job.equal(name, Message(_("its arguments are listed one by one")))
    for name, arguments in (("network_args", network), ("optimizer_args", optimizer)):
        if arguments:
            job.entries[name] = Entry(name, arguments)
    if job.flag("enable_block_weights"):
        job.skip("enable_block_weights", Message(_("it makes the fields of the blocks count")))
        return
    for name in ("enable_block_weights", *_BLOCK_FIELDS):
        if name in job.entries:
            job.skip(name, Message(_("it only counts with {value}"), value="enable_block_weights"))


def _skip_forks(job: Job) -> None:
    """Keys that only forks have: attention kernels and machines."""
    for name in _FORKS:
        if name in job.entries:
            job.skip(name, Message(reasons.SPEED))
    if "ema_enabled" in job.entries:
        job.map("ema_enabled", {"train.ema": 0.999}) if job.flag("ema_enabled") else job.equal("ema_enabled")
    if "enable_mixed_resolution_training" in job.entries:
        name = "enable_mixed_resolution_training"
        job.leave(name, Message(_("images are trained at one resolution"))) if job.flag(name) else job.equal(name)


def _decide_preview(job: Job) -> None:
    """The preview's fields; none without enable_preview."""
    if "enable_preview" not in job.entries and not set(_PREVIEW) & set(job.entries):
        return
    on = job.flag("enable_preview")
    if "enable_preview" in job.entries:
        job.skip("enable_preview", Message(_("it says whether there are previews")))
    simple = {
        "negative_prompts": ("sample.negative_prompt", str),
        "sample_cfg": ("sample.cfg_scale", float),
        "sample_steps": ("sample.steps", int),
        "sample_seed": ("sample.seed", int),
        "sample_width": ("sample.width", int),
        "sample_height": ("sample.height", int),
    }
    for name in _PREVIEW:
        if name not in job.entries:
            continue
        if not on or job.get(name) is None:
            job.skip(name, Message(_("it only counts with {value}"), value="enable_preview"))
        elif name == "positive_prompts":
            job.map(name, {"sample.prompts": [job.word(name)]})
        elif name in simple:
            setting, kind = simple[name]
            job.map(name, {setting: kind(job.get(name))})
        elif name == "prompt_file":
            job.rename(name, "sample_prompts", job.get(name))
        elif job.flag(name):
            job.leave(name, Message(_("previews have the same prompts each time, none is chosen at random")))
        else:
            job.equal(name)


def _decide_moved_images(job: Job) -> None:
    """lora-scripts moves images of a folder without N_name folders into one; here they stay, with the same repeats."""
    folder = job.find_folder("train_data_dir")
    if folder is None or job.get("dataset_config") or read_folders(folder) or repeats_of(folder):
        return
    found = read_folder(folder)
    if found:
        repeats = next((times for most, times in _REPEATS if found.images <= most), 1)
        job.plain_repeats = repeats


def describe_preset(path: Path, values: Mapping[str, Any]) -> TetradError:
    """E3162 for a preset, which holds only what differs."""
    template = _(
        "{file} is a preset of {trainer}, which holds only what differs ({sections}); save a whole configuration"
    )
    sections = ", ".join(key for key in values if key != "metadata")
    return TetradError("E3162", template, file=path, trainer=TRAINER, sections=sections)
