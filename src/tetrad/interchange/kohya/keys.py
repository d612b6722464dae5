"""The table of sd-scripts' keys: library/train_util.py, custom_train_functions.py, config_util.py, the six scripts."""

from tetrad.interchange import reasons
from tetrad.interchange.half_weights import FP16_WEIGHTS
from tetrad.interchange.job import Job, Rule
from tetrad.interchange.kohya import blocks
from tetrad.interchange.rules import elsewhere, meaningless, not_done, path, same, to, words
from tetrad.locales import Message, _

_DTYPES = {"no": "fp32", "float": "fp32", "fp32": "fp32", "fp16": "fp16", "bf16": "bf16"}
_ERRORS = {"l2": "l2", "l1": "l1", "huber": "huber", "smooth_l1": "smooth_l1"}
_NOT_MERGED = _("base LoRAs are not merged in first; merge them into the model before training")


def _dtype(setting: str) -> Rule:
    """fp32, fp16 or bf16."""

    def rule(job: Job, name: str) -> None:
        value = job.word(name)
        if not value:
            job.equal(name)
        elif value in _DTYPES:
            job.map(name, {setting: _DTYPES[value]})
        else:
            job.fail(name, Message(_("one of {choices}"), choices=", ".join(_DTYPES)))

    return rule


def _flag(setting: str) -> Rule:
    """A switch that is a setting."""
    return lambda job, name: job.map(name, {setting: job.flag(name)})


def _number(setting: str) -> Rule:
    return lambda job, name: to(setting, float)(job, name)


def _whole(setting: str) -> Rule:
    return lambda job, name: to(setting, lambda value: int(float(value)))(job, name)


def _whole_unless_off(setting: str) -> Rule:
    """A whole number; 0, which is no limit there, leaves the setting as it is."""

    def rule(job: Job, name: str) -> None:
        _whole(setting)(job, name) if job.flag(name) and job.word(name) not in ("0", "0.0") else job.equal(name)

    return rule


def _masks(job: Job, name: str) -> None:
    """Masks count with masked_loss only; sd-scripts takes the mean over the whole image."""
    if not job.flag("masked_loss"):
        job.equal(name) if job.get(name) in (None, False, "") else job.skip(
            name, Message(_("it only counts with {value}"), value="masked_loss")
        )
    elif name == "masked_loss":
        job.map(name, {"loss.normalize_masks": False})
    else:
        job.take_path(name, "data.masks") if job.get(name) else job.equal(name)


def _alpha_mask(job: Job, name: str) -> None:
    """As with masks, the mean is over the whole image."""
    on = job.flag(name)
    job.map(name, {"data.alpha_mask": on} | ({"loss.normalize_masks": False} if on else {}))


def _about(job: Job, name: str) -> None:
    """What the file says about itself; each key adds a line to the table."""
    known = job.settings.get("save.about", {})
    if text := job.word(name):
        own = {name.removeprefix("metadata_"): text}
        job.map(name, {"save.about": own})
        job.settings["save.about"] = known | own
    else:
        job.equal(name)


def _each(names: str, rule: Rule) -> dict[str, Rule]:
    """The same rule for several keys."""
    return dict.fromkeys(names.split(), rule)


_MODEL: dict[str, Rule] = {
    "pretrained_model_name_or_path": path("model"),
    "v2": meaningless(reasons.FAMILY),
    "vae": path("vae"),
    **_each("v_parameterization clip_skip max_token_length", elsewhere),
    **_each("tokenizer_cache_dir disable_mmap_load_safetensors", meaningless(reasons.SPEED)),
    "weighted_captions": not_done(_("brackets and weights in captions are trained as text")),
    "config_file": meaningless(_("it is this file")),
    "output_config": meaningless(_("it only writes a file with the settings")),
}
_DATA: dict[str, Rule] = {
    **_each("train_data_dir reg_data_dir in_json dataset_config dataset_repeats resolution", elsewhere),
    **_each("enable_bucket bucket_no_upscale bucket_reso_steps min_bucket_reso max_bucket_reso", elsewhere),
    "shuffle_caption": _flag("data.captions.shuffle"),
    "keep_tokens": _whole("data.captions.keep_tokens"),
    "keep_tokens_separator": to("data.captions.keep_separator", str),
    "secondary_separator": to("data.captions.secondary_separator", str),
    "caption_separator": to("data.captions.separator", str),
    "enable_wildcard": _flag("data.captions.wildcards"),
    "caption_prefix": to("data.captions.prefix", str),
    "caption_suffix": to("data.captions.suffix", str),
    **_each("caption_extension caption_extention", to("data.captions.extension", str)),
    "caption_dropout_rate": _number("data.captions.dropout"),
    "caption_tag_dropout_rate": _number("data.captions.tag_dropout"),
    "caption_dropout_every_n_epochs": _whole("data.captions.dropout_epochs"),
    "token_warmup_min": _whole("data.captions.first_tags"),
    "token_warmup_step": _number("data.captions.tag_warmup"),
    "flip_aug": _flag("data.flip"),
    **_each("color_aug face_crop_aug_range random_crop", not_done(reasons.CROP)),
    "resize_interpolation": not_done(_("images are resized by Lanczos")),
    "alpha_mask": _alpha_mask,
    **_each("masked_loss conditioning_data_dir", _masks),
    **_each(
        "cache_latents cache_latents_to_disk vae_batch_size skip_cache_check cache_info", meaningless(reasons.CACHING)
    ),
    **_each("cache_text_encoder_outputs cache_text_encoder_outputs_to_disk", elsewhere),
    "text_encoder_batch_size": meaningless(reasons.CACHING),
    **_each("max_data_loader_n_workers persistent_data_loader_workers", meaningless(reasons.SPEED)),
    "debug_dataset": not_done(_("a run is not started there; `tetrad scan` shows the images instead")),
    "dataset_class": not_done(_("program code in a configuration is not run")),
    "prior_loss_weight": _number("data.class_images.weight"),
}
_TRAINING: dict[str, Rule] = {
    **_each("max_train_steps max_train_epochs train_batch_size gradient_accumulation_steps num_processes", elsewhere),
    **_each("learning_rate unet_lr text_encoder_lr learning_rate_te learning_rate_te1 learning_rate_te2", elsewhere),
    **_each("train_text_encoder stop_text_encoder_training", elsewhere),
    "text_encoder_lr1": not_done(_("a manual has it, but sd-scripts has no such option; write text_encoder_lr")),
    "text_encoder_lr2": not_done(_("a manual has it, but sd-scripts has no such option; write text_encoder_lr")),
    "block_lr": blocks.map_block_lr,
    **_each("lr_scheduler lr_scheduler_type lr_scheduler_args lr_warmup_steps lr_scheduler_num_cycles", elsewhere),
    **_each("lr_scheduler_power lr_decay_steps lr_scheduler_timescale lr_scheduler_min_lr_ratio", elsewhere),
    **_each("optimizer_type use_8bit_adam use_lion_optimizer optimizer_args", elsewhere),
    "max_grad_norm": _number("train.max_grad_norm"),
    "fused_backward_pass": _flag("train.fused_backward"),
    "fused_optimizer_groups": meaningless(reasons.MEMORY),
    "seed": lambda job, name: to("train.seed", lambda value: abs(int(float(value))))(job, name),
    "mixed_precision": _dtype("train.precision"),
    "full_fp16": not_done(FP16_WEIGHTS),
    **_each("full_bf16 fp8_base fp8_base_unet", elsewhere),
    "gradient_checkpointing": _flag("train.gradient_checkpointing"),
    **_each("cpu_offload_checkpointing blocks_to_swap lowram highvram lowvram", meaningless(reasons.MEMORY)),
    **_each("xformers sdpa mem_eff_attn diffusers_xformers torch_compile dynamo_backend", meaningless(reasons.SPEED)),
    "no_half_vae": meaningless(reasons.VAE_OVERFLOW),
    **_each(
        "deepspeed zero_stage offload_optimizer_device offload_optimizer_nvme_path offload_param_device"
        " offload_param_nvme_path zero3_init_flag zero3_save_16bit_model fp16_master_weights_and_gradients"
        " ddp_timeout ddp_gradient_as_bucket_view ddp_static_graph num_cpu_threads_per_process num_machines multi_gpu",
        meaningless(reasons.MACHINES),
    ),
    "no_token_padding": not_done(_("captions of a batch are always padded to the same length")),
}
_LOSS: dict[str, Rule] = {
    "loss_type": lambda job, name: (
        job.map(name, {"loss.type": _ERRORS[job.word(name, "l2")]})
        if job.word(name, "l2") in _ERRORS
        else job.fail(name, Message(_("one of {choices}"), choices=", ".join(_ERRORS)))
    ),
    **_each("huber_c huber_scale huber_schedule", elsewhere),
    **_each("noise_offset multires_noise_iterations multires_noise_discount", elsewhere),
    **_each("min_snr_gamma debiased_estimation_loss", elsewhere),
    **_each("noise_offset_random_strength ip_noise_gamma_random_strength adaptive_noise_scale", elsewhere),
    "noise_offset_type": meaningless(_("only kohya_ss reads it, sd-scripts does not")),
    "ip_noise_gamma": _number("loss.input_perturbation"),
    "scale_v_pred_loss_like_noise_pred": _flag("loss.scale_v_loss"),
    "v_pred_like_loss": _number("loss.v_loss_weight"),
    "zero_terminal_snr": _flag("loss.zero_terminal_snr"),
    "min_timestep": _whole_unless_off("loss.min_timestep"),
    "max_timestep": _whole_unless_off("loss.max_timestep"),
}
_NETWORK: dict[str, Rule] = {
    **_each("network_module network_dim network_alpha network_dropout network_args network_weights", elsewhere),
    **_each("network_train_unet_only network_train_text_encoder_only weights", elsewhere),
    "dim_from_weights": same(_("the rank of the file is always used")),
    **_each("base_weights base_weights_multiplier", not_done(_NOT_MERGED)),
    "scale_weight_norms": _number("method.max_norm"),
    **_each("no_metadata training_comment", meaningless(reasons.KEEPS_FILES)),
    "fine_tuning": meaningless(_("sd-scripts removed it in 2023; folders are read with their repeats")),
    **_each("hypernetwork_module hypernetwork_weights", elsewhere),
    "token_string": to("data.trigger_word", str),
    **_each("init_word num_vectors_per_token use_object_template use_style_template", elsewhere),
}
_SAVING: dict[str, Rule] = {
    "output_dir": to("save.out", str),
    "output_name": elsewhere,
    **_each("save_model_as use_safetensors", elsewhere),
    "save_precision": _dtype("save.precision"),
    **_each(
        "save_every_n_epochs save_n_epoch_ratio save_every_n_steps save_last_n_epochs save_last_n_steps", elsewhere
    ),
    **_each("save_last_n_epochs_state save_last_n_steps_state", meaningless(_("only the newest resume point is kept"))),
    **_each("save_state save_state_on_train_end", same(reasons.ALWAYS_RESUMES)),
    **_each("resume skip_until_initial_step initial_epoch initial_step", not_done(reasons.NO_STATE)),
    **_each(
        "huggingface_repo_id huggingface_repo_type huggingface_path_in_repo huggingface_repo_visibility"
        " save_state_to_huggingface resume_from_huggingface async_upload",
        meaningless(reasons.UPLOAD),
    ),
    **_each("huggingface_token wandb_api_key", meaningless(reasons.SECRET)),
    **_each("metadata_title metadata_author metadata_description metadata_license metadata_tags", _about),
    **_each(
        "logging_dir log_with log_prefix log_tracker_name log_tracker_config log_config wandb_run_name use_wandb",
        meaningless(reasons.LOGGING),
    ),
    **_each("sample_prompts sample_every_n_steps sample_every_n_epochs sample_at_first sample_sampler", elsewhere),
    **_each(
        "validation_split validate_every_n_steps validate_every_n_epochs max_validation_steps",
        not_done(reasons.VALIDATION),
    ),
    "validation_seed": meaningless(reasons.VALIDATION),
    **_each(
        "weighting_scheme logit_mean logit_std mode_scale discrete_flow_shift model_prediction_type timestep_sampling"
        " guidance_scale split_mode",
        meaningless(reasons.OTHER_FAMILY),
    ),
}
_FOREIGN: dict[str, Rule] = {  # keys that people write into sd-scripts' files although it has none of these names
    "epoch": meaningless(_("only kohya_ss reads it; sd-scripts' own key is max_train_epochs")),
    "batch_size": not_done(_("sd-scripts ignores it; its own key is train_batch_size")),
    "lr_restart_cycles": not_done(_("sd-scripts ignores it; its own key is lr_scheduler_num_cycles")),
    "bucket_resolution_steps": not_done(_("sd-scripts ignores it; its own key is bucket_reso_steps")),
    "sdxl": meaningless(reasons.FAMILY),
    "sdxl_cache_text_encoder_outputs": meaningless(reasons.CACHING),
    "sdxl_no_half_vae": meaningless(reasons.VAE_OVERFLOW),
}
KEYS: dict[str, Rule] = {**_MODEL, **_DATA, **_TRAINING, **_LOSS, **_NETWORK, **_SAVING}
FOREIGN_KEYS = _FOREIGN
LISTS = frozenset(
    words("network_args optimizer_args lr_scheduler_args text_encoder_lr base_weights base_weights_multiplier")
)
FLAGS = frozenset(
    words(
        "v2 v_parameterization disable_mmap_load_safetensors weighted_captions enable_bucket bucket_no_upscale"
        " shuffle_caption enable_wildcard flip_aug color_aug random_crop alpha_mask masked_loss cache_latents"
        " cache_latents_to_disk skip_cache_check cache_info cache_text_encoder_outputs"
        " cache_text_encoder_outputs_to_disk persistent_data_loader_workers debug_dataset train_text_encoder"
        " use_8bit_adam use_lion_optimizer fused_backward_pass full_fp16 full_bf16 fp8_base fp8_base_unet"
        " gradient_checkpointing cpu_offload_checkpointing lowram highvram lowvram xformers sdpa mem_eff_attn"
        " diffusers_xformers torch_compile no_half_vae deepspeed zero3_init_flag zero3_save_16bit_model"
        " fp16_master_weights_and_gradients ddp_gradient_as_bucket_view ddp_static_graph no_token_padding"
        " noise_offset_random_strength ip_noise_gamma_random_strength debiased_estimation_loss"
        " scale_v_pred_loss_like_noise_pred zero_terminal_snr dim_from_weights network_train_unet_only"
        " network_train_text_encoder_only no_metadata fine_tuning use_object_template use_style_template"
        " use_safetensors save_state save_state_on_train_end skip_until_initial_step save_state_to_huggingface"
        " resume_from_huggingface async_upload log_config sample_at_first split_mode output_config multi_gpu"
    )
)
