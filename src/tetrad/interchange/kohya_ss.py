"""kohya_ss' configurations (JSON): what its page makes of them before sd-scripts reads them.  kohya_gui/*_gui.py"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange import reasons
from tetrad.interchange.arithmetic import kohya_ss_fine_tuning_steps, kohya_ss_steps
from tetrad.interchange.commands import parse_words
from tetrad.interchange.job import Entry, Job
from tetrad.interchange.kohya.keys import FLAGS, KEYS, LISTS
from tetrad.interchange.kohya.read import fill_job
from tetrad.interchange.kohya.training import folder_of
from tetrad.interchange.pictures import read_folder, read_folders
from tetrad.locales import Message, _

TRAINER = "kohya_ss"
_RENAMED = {
    "max_resolution": "resolution",
    "optimizer": "optimizer_type",
    "lora_network_weights": "network_weights",
    "caption_extention": "caption_extension",
}
# A value of 0 is not handed on to sd-scripts.
_ZERO_IS_NONE = frozenset(
    "max_train_steps max_train_epochs save_every_n_epochs save_every_n_steps sample_every_n_epochs sample_every_n_steps"
    " save_last_n_epochs save_last_n_steps save_last_n_epochs_state save_last_n_steps_state min_snr_gamma noise_offset"
    " multires_noise_iterations ip_noise_gamma adaptive_noise_scale clip_skip min_timestep max_timestep vae_batch_size"
    " v_pred_like_loss unet_lr seed fused_optimizer_groups blocks_to_swap scale_weight_norms network_dropout".split()
)
_LORA_TYPES = {
    "Standard": "networks.lora", "Kohya LoCon": "networks.lora", "Kohya DyLoRA": "networks.dylora",
    "LoRA-FA": "networks.lora_fa", "Kohya LoHa": "networks.loha", "Kohya LoKr": "networks.lokr",
}  # fmt: skip
_LYCORIS_TYPES = {
    "LyCORIS/LoCon": "locon", "LyCORIS/LoHa": "loha", "LyCORIS/LoKr": "lokr", "LyCORIS/iA3": "ia3",
    "LyCORIS/DyLoRA": "dylora", "LyCORIS/GLoRA": "glora", "LyCORIS/Diag-OFT": "diag-oft", "LyCORIS/BOFT": "boft",
    "LyCORIS/Native Fine-Tuning": "full",
}  # fmt: skip
_OTHER_FAMILIES = ("Flux1", "Flux1 OFT", "SD3", "LyCORIS/Flux", "Lumina")
_NETWORK_ARGUMENTS = (
    "conv_dim conv_alpha rank_dropout module_dropout block_dims block_alphas conv_block_dims conv_block_alphas"
    " down_lr_weight mid_lr_weight up_lr_weight block_lr_zero_threshold"
).split()
_LYCORIS_ARGUMENTS = (
    "rank_dropout_scale factor use_cp use_tucker use_scalar decompose_both train_norm train_on_input bypass_mode"
    " dora_wd constrain rescaled unit"
).split()
_BUTTONS = (
    "model_list save_as_bool use_latent_files create_caption create_buckets generate_caption_database"
    " generate_image_buckets caption_metadata_filename latent_metadata_filename full_path train_dir gui_version"
).split()
_ACCELERATE = (
    "num_machines multi_gpu gpu_ids main_process_port num_cpu_threads_per_process dynamo_mode dynamo_use_dynamic"
    " dynamo_use_fullgraph extra_accelerate_launch_args dynamo_backend num_processes"
).split()
_OTHER_FAMILY = (
    "ae clip_g clip_l t5xxl flux1_clip_l flux1_t5xxl t5xxl_device t5xxl_dtype t5xxl_max_token_length apply_t5_attn_mask"
    " flux1_cache_text_encoder_outputs flux1_cache_text_encoder_outputs_to_disk sd3_cache_text_encoder_outputs"
    " sd3_cache_text_encoder_outputs_to_disk sd3_text_encoder_batch_size sd3_fused_backward_pass"
    " flux_fused_backward_pass single_blocks_to_swap double_blocks_to_swap blockwise_fused_optimizers mem_eff_save"
    " train_blocks save_clip save_t5xxl enable_all_linear t5xxl_lr sd3_clip_l sd3_t5xxl clip_l_dropout_rate"
    " clip_g_dropout_rate t5_dropout_rate lumina_checkbox flux1_checkbox sd3_checkbox"
).split()
# What the page has where a file lacks a key; version 26.
_DEFAULTS = {
    "epoch": 1, "train_batch_size": 1, "max_train_steps": 1600, "save_every_n_epochs": 1, "lr_warmup": 10,
    "optimizer": "AdamW8bit", "max_grad_norm": 1, "max_resolution": "512,512", "enable_bucket": True,
    "min_bucket_reso": 256, "max_bucket_reso": 2048, "caption_extension": ".txt", "lr_scheduler": "cosine",
}  # fmt: skip


def find_tab(values: Mapping[str, Any]) -> str:
    """The tab of the page: LoRA, TI, Finetuning or DreamBooth; the file does not say it."""
    if "LoRA_type" in values or "network_dim" in values:
        return "LoRA"
    if "token_string" in values:
        return "TI"
    return "Finetuning" if {"image_folder", "generate_caption_database", "create_caption"} & set(values) else "DreamBooth"


def read_kohya_ss(path: Path, values: Mapping[str, Any]) -> Job:
    """What becomes of each key of a configuration of kohya_ss."""
    tab = find_tab(values)
    is_xl = values.get("sdxl") is True or values.get("sdxl_checkbox") is True
    bases = {"LoRA": "train_network", "TI": "train_textual_inversion", "Finetuning": "fine_tune", "DreamBooth": "train_db"}
    base = f"sdxl_{bases[tab]}" if is_xl and tab in ("LoRA", "TI") else "sdxl_train" if is_xl else bases[tab]
    entries = {_RENAMED.get(key, key): Entry(key, value) for key, value in values.items()}
    job = Job(TRAINER, path, entries, base)
    job.has_plain_folder = tab == "Finetuning"
    _check_family(job)
    _skip_own_keys(job, tab)
    _decide_type(job, tab)
    _decide_kept_rates(job, tab)
    _decide_noise(job)
    _fill_page_defaults(job, values)
    _drop_zeros(job)
    _add_parameters(job)
    _decide_steps(job, tab)
    return fill_job(job)


def _check_family(job: Job) -> None:
    """E3162 for a run of another model family."""
    chosen = [name for name in ("flux1_checkbox", "sd3_checkbox", "lumina_checkbox") if job.flag(name)]
    kind = job.word("LoRA_type")
    if chosen or kind in _OTHER_FAMILIES:
        template = _("{file} is a configuration of {trainer} for {family}; Tetrad trains Stable Diffusion 1, 2 and XL")
        family = kind or chosen[0].removesuffix("_checkbox")
        raise TetradError("E3162", template, file=job.path, trainer=TRAINER, family=family)


def _skip_own_keys(job: Job, tab: str) -> None:
    """Keys of the page that are handed on to nothing."""
    for names, reason in (
        (_BUTTONS, _("it belongs to kohya_ss' page")),
        (_ACCELERATE, reasons.MACHINES),
        (_OTHER_FAMILY, reasons.OTHER_FAMILY),
        (["sdxl", "sdxl_checkbox"], reasons.FAMILY),
        (["sdxl_cache_text_encoder_outputs", "sdxl_no_half_vae"], reasons.CACHING),
    ):
        for name in names:
            if name in job.entries:
                job.skip(name, Message(reason))
    if "num_processes" in job.entries:
        job.entries["num_processes"] = Entry("num_processes", None)
    if tab == "Finetuning" and "image_folder" in job.entries:
        job.rename("image_folder", "train_data_dir", job.get("image_folder"))
    if tab == "TI" and "template" in job.entries:
        word = job.word("template")
        template = {"object template": "subject", "style template": "style"}.get(word)
        job.map("template", {"data.captions.template": template}) if template else job.equal("template")
    if "batch_size" in job.entries:
        job.skip("batch_size", Message(_("it is only for preparing the metadata; train_batch_size counts")))


def _decide_type(job: Job, tab: str) -> None:
    """LoRA_type decides about the network and which of its keys count."""
    if tab != "LoRA":
        return
    kind = job.word("LoRA_type", "Standard")
    if kind not in (*_LORA_TYPES, *_LYCORIS_TYPES):
        template = _("{key} is {value} in {file}; the types that Tetrad knows are {known}")
        known = ", ".join((*_LORA_TYPES, *_LYCORIS_TYPES))
        job.errors.append(
            TetradError("E3163", template, key="LoRA_type", value=repr(kind), file=job.path.name, known=known)
        )
        kind = "Standard"
    is_lycoris = kind in _LYCORIS_TYPES
    module = "lycoris.kohya" if is_lycoris else _LORA_TYPES[kind]
    if "LoRA_type" in job.entries:
        job.rename("LoRA_type", "network_module", module)
    else:
        job.entries["network_module"] = Entry("LoRA_type", module)
    has_convolutions = is_lycoris or kind in ("Kohya LoCon", "Kohya DyLoRA", "Kohya LoHa", "Kohya LoKr")
    arguments = [f"algo={_LYCORIS_TYPES[kind]}"] if is_lycoris else []
    for name in (*_NETWORK_ARGUMENTS, *_LYCORIS_ARGUMENTS):
        counts = is_lycoris or name in _NETWORK_ARGUMENTS and (has_convolutions or not name.startswith("conv_"))
        if name not in job.entries:
            continue
        value = job.get(name)
        if not counts:
            job.skip(name, Message(_("it has no effect with LoRA_type = {value}"), value=kind))
        elif value in (None, 0, False) or (name == "unit" and value == 1) or name == "block_lr_zero_threshold":
            job.equal(name)
        else:
            argument = "constraint" if name == "constrain" else name
            arguments.append(f"{argument}={value}".replace(" ", ""))
            job.rename(name, f"network_args {argument}", value)
    for name in ("conv_dims", "conv_alphas"):
        if name in job.entries:
            job.skip(name, Message(_("it is an older name that the page does not read any more")))
    if "LyCORIS_preset" in job.entries:
        preset = job.word("LyCORIS_preset", "full")
        if is_lycoris:
            arguments.append(f"preset={preset}")
            job.rename("LyCORIS_preset", "network_args preset", preset)
        else:
            job.skip("LyCORIS_preset", Message(_("it has no effect with LoRA_type = {value}"), value=kind))
    if arguments:
        job.entries["network_args"] = Entry("network_args", arguments)


def _decide_kept_rates(job: Job, tab: str) -> None:
    """Which rates are handed on: with both 0 neither, with one of them 0 that part is not trained."""
    for name in ("stop_text_encoder_training_pct", "stop_text_encoder_training"):
        if name not in job.entries:
            continue
        percent = job.number(name, 0.0) or 0.0
        if tab == "LoRA" or tab == "TI" or not percent:
            job.skip(name, Message(_("kohya_ss does not hand it on in this tab"))) if percent else job.equal(name)
            job.entries[name] = Entry(name, None, job.get(name))
        elif percent < 0:
            job.rename(name, "stop_text_encoder_training", -1)
        else:
            _decide_stop(job, name, percent)
    if tab != "LoRA":
        return
    unet, text = job.number("unet_lr", 0.0) or 0.0, job.number("text_encoder_lr", 0.0) or 0.0
    if text and not unet:
        job.entries["network_train_text_encoder_only"] = Entry("unet_lr = 0", True)
    elif unet and not text:
        job.entries["network_train_unet_only"] = Entry("text_encoder_lr = 0", True)
    if not unet and not text:
        for name in ("unet_lr", "text_encoder_lr"):
            if name in job.entries:
                job.entries[name] = Entry(name, None, job.entries[name].value)


def _decide_stop(job: Job, name: str, percent: float) -> None:
    template = _(
        "the page calls it per cents of the steps, and since April 2024 kohya_ss hands it on as {count} steps; here the text"
        " encoders are trained for {percent} % of the run, as the page says"
    )
    job.map(name, {"train.text_encoder_share": min(1.0, percent / 100)}, Message(template, count=int(percent), percent=percent))
    job.notes.append(Message(template, count=int(percent), percent=percent))


def _decide_noise(job: Job) -> None:
    """noise_offset_type decides which of the two kinds of noise is handed on."""
    kind = job.word("noise_offset_type", "Original")
    dropped = (
        ("multires_noise_iterations", "multires_noise_discount")
        if kind == "Original"
        else ("noise_offset", "adaptive_noise_scale", "noise_offset_random_strength")
    )
    if "noise_offset_type" in job.entries:
        job.skip("noise_offset_type", Message(_("it decides which of the noise settings count")))
        for name in dropped:
            if name in job.entries:
                job.skip(name, Message(_("it has no effect with noise_offset_type = {value}"), value=kind))
                job.entries[name] = Entry(name, None)
    if not job.number("noise_offset", 0.0):
        for name in ("adaptive_noise_scale", "noise_offset_random_strength"):
            if name in job.entries and name not in job.rows:
                job.skip(name, Message(_("it only counts with {value}"), value="noise_offset"))
    if not job.number("ip_noise_gamma", 0.0) and "ip_noise_gamma_random_strength" in job.entries:
        job.skip("ip_noise_gamma_random_strength", Message(_("it only counts with {value}"), value="ip_noise_gamma"))


def _drop_zeros(job: Job) -> None:
    """A 0 in these fields is not handed on."""
    for name in _ZERO_IS_NONE & set(job.entries):
        if name not in job.rows and str(job.get(name)) in ("0", "0.0"):
            job.equal(name)
            job.entries[name] = Entry(job.shown(name), None)


def _add_parameters(job: Job) -> None:
    """additional_parameters come last on the command line, so they override the page's fields."""
    text = job.word("additional_parameters")
    if "additional_parameters" not in job.entries:
        return
    if not text:
        job.equal("additional_parameters")
        return
    job.skip("additional_parameters", Message(_("its options override the fields of the page")))
    words = tuple(shlex.split(text.replace("'", ""), posix=True)) if text.count('"') % 2 == 0 else tuple(text.replace('"', "").split())
    for key, value in parse_words(words, FLAGS, LISTS, frozenset(KEYS)).items():
        shown = f"additional_parameters --{key}"
        if key in job.entries and job.get(key) not in (None, value):
            template = _("{key} in additional_parameters overrides {value} in the page's own field")
            job.notes.append(Message(template, key=f"--{key}", value=repr(job.get(key))))
        job.rows.pop(key, None)
        job.entries[key] = Entry(shown, value)


def _decide_steps(job: Job, tab: str) -> None:
    """epoch becomes a number of steps by the page's own count, which knows no buckets, unless steps are given."""
    epochs = max(1, job.whole("epoch", 1))
    has_steps, has_epochs = job.whole("max_train_steps") > 0, job.whole("max_train_epochs") > 0
    _decide_warmup(job)
    if not job.get("lr_scheduler_num_cycles") and job.word("lr_scheduler") == "cosine_with_restarts":
        job.entries["lr_scheduler_num_cycles"] = Entry("epoch", epochs)
    if has_steps or has_epochs:
        if "epoch" in job.entries:
            job.skip("epoch", Message(_("max_train_steps or max_train_epochs comes first")))
        return
    if job.get("dataset_config"):
        if "epoch" in job.entries:
            job.skip("epoch", Message(_("with dataset_config the page hands on no length: sd-scripts takes 1600 steps")))
        return
    steps = _count_steps(job, tab, epochs)
    if steps:
        job.rename("epoch", "max_train_steps", steps)
        template = _("kohya_ss makes {steps} steps of {epochs} epochs, because its count knows no buckets")
        job.notes.append(Message(template, steps=steps, epochs=epochs))
    else:
        job.rename("epoch", "max_train_epochs", epochs)


def _count_steps(job: Job, tab: str, epochs: int) -> int:
    """The page's own count; 0 where the folder of images is not there."""
    folder = folder_of(job, "train_data_dir")
    batch, accumulation = max(1, job.whole("train_batch_size", 1)), max(1, job.whole("gradient_accumulation_steps", 1))
    if folder is None:
        return 0
    if tab == "Finetuning":
        found = read_folder(folder)
        uses = len(found) * max(1, job.whole("dataset_repeats", 1)) if found else 0
        return kohya_ss_fine_tuning_steps(uses, batch, accumulation, epochs, job.flag("flip_aug"))
    pictures = read_folders(folder)
    uses = len(pictures) if pictures else 0
    return kohya_ss_steps(uses, batch, accumulation, epochs, bool(job.get("reg_data_dir")))


def _decide_warmup(job: Job) -> None:
    """lr_warmup is in per cents of the run; lr_warmup_steps, of newer files, comes first."""
    percent = job.number("lr_warmup")
    if "lr_warmup" not in job.entries or job.whole("lr_warmup_steps") > 0:
        if "lr_warmup" in job.entries:
            job.skip("lr_warmup", Message(_("lr_warmup_steps comes first")))
        return
    job.entries.pop("lr_warmup_steps", None)
    job.rows.pop("lr_warmup_steps", None)
    job.rename("lr_warmup", "lr_warmup_steps", f"{percent:g}%" if percent else 0)


def _fill_page_defaults(job: Job, values: Mapping[str, Any]) -> None:
    """A file with few keys is laid over the page, which keeps its own values for the others."""
    missing = {key: value for key, value in _DEFAULTS.items() if key not in values and _RENAMED.get(key, key) not in job.entries}
    if not missing:
        return
    template = _("the file leaves out {keys}, for which kohya_ss keeps what stands in its page; its own defaults are used")
    for key, value in missing.items():
        job.entries[_RENAMED.get(key, key)] = Entry(key, value)
    job.notes.append(Message(template, keys=", ".join(f"{key} = {value}" for key, value in missing.items())))
