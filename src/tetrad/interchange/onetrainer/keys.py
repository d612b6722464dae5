"""The table of OneTrainer's keys: modules/util/config/TrainConfig.py and ConceptConfig.py."""

from tetrad.interchange import reasons
from tetrad.interchange.half_weights import SMALL_NETWORK
from tetrad.interchange.job import Job, Rule
from tetrad.interchange.quantized_base import OTHER_PARTS, TRAINED
from tetrad.interchange.rules import elsewhere, meaningless, not_done, path, same, to, words
from tetrad.locales import Message, _

VERSION = 11
_OTHER_SIZES = _("the buckets are of other shapes, which is close to OneTrainer's nine")
_PARTS = ("unet", "text_encoder", "text_encoder_2", "vae")
FOREIGN_PARTS = words(
    "prior transformer effnet_encoder decoder decoder_text_encoder decoder_vqgan text_encoder_3 text_encoder_4"
    " unconditional_transformer"
)
# Numbers of masked training: the setting, and what it is where the file leaves it out.
_MASK_NUMBERS = {
    "unmasked_weight": ("data.unmasked_weight", 0.1),
    "unmasked_probability": ("data.unmasked_probability", 0.1),
    "masked_prior_preservation_weight": ("data.unmasked_prior_weight", 0.0),
}
_SMALL = {"lora_weight_dtype": "LORA", "embedding_weight_dtype": "EMBEDDING"}  # what is trained, by training method
_DTYPES = {"FLOAT_16": "fp16", "BFLOAT_16": "bf16", "FLOAT_32": "fp32", "TFLOAT_32": "fp32"}


def _dtype(setting: str) -> Rule:
    def rule(job: Job, name: str) -> None:
        value = job.word(name)
        if value in _DTYPES:
            job.map(name, {setting: _DTYPES[value]})
        elif value in ("", "NONE"):
            job.equal(name)
        else:
            job.leave(name, Message(_("Tetrad computes in fp32, bf16 or fp16, and saves files in these")))

    return rule


def _stored(job: Job, name: str) -> None:
    """The dtype in which weights are stored during training."""
    if job.word(name) in ("", "NONE", *_DTYPES):
        job.skip(name, Message(_("Tetrad chooses how weights are stored from the precision")))
    else:
        is_trained = job.base == "FINE_TUNE" and name in ("weight_dtype", "unet.weight_dtype")
        job.leave(name, Message(TRAINED if is_trained or name in _SMALL else OTHER_PARTS))


def _stored_small(job: Job, name: str) -> None:
    """The dtype in which a network or an embedding is stored while it is trained."""
    is_trained = job.base == _SMALL[name]
    if not is_trained:
        job.skip(name, Message(_("it has no effect in this run")))
    elif job.word(name) in ("BFLOAT_16", "FLOAT_16"):
        job.leave(name, Message(SMALL_NETWORK))
    else:
        _stored(job, name)


def _each(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_MACHINE = (
    "workspace_dir cache_dir debug_dir debug_mode tensorboard tensorboard_expose tensorboard_always_on tensorboard_port"
    " huggingface_cache_dir offline_mode include_train_config cloud prevent_overwrites only_cache"
    " clear_cache_before_training latent_caching latent_caching_epochs dataloader_threads train_device temp_device"
    " enable_autocast_cache fallback_train_dtype attention_mechanism compile multi_gpu device_indexes"
    " gradient_reduce_precision fused_gradient_reduce async_gradient_reduce async_gradient_reduce_buffer"
    " enable_async_offloading enable_activation_offloading layer_offload_fraction async_offloading __version uuid"
    " quantization frames extra_model_name optimizer_defaults"
)


def _strength(setting: str, usual: float) -> Rule:
    """A share of the 1000 time steps."""

    def rule(job: Job, name: str) -> None:
        share = job.number(name, usual)
        share = usual if share is None else share
        job.equal(name) if share == usual else job.map(name, {setting: round(1000 * share)})

    return rule


def _masked_training(job: Job, name: str) -> None:
    """Masks with OneTrainer's numbers, also with those that the file leaves out."""
    if not job.flag(name):
        job.equal(name)
        return
    job.map(name, {"data.alpha_mask": True, "loss.normalize_masks": job.flag("normalize_masked_area_loss")})
    for key, (setting, usual) in _MASK_NUMBERS.items():
        if key not in job.entries and usual:
            job.map(key, {setting: usual})


def _masking(job: Job, name: str) -> None:
    """The numbers of masked training; -masklabel.png beside an image is its mask in both."""
    value = job.number(name, 0.0) if name != "normalize_masked_area_loss" else None
    if not job.flag("masked_training"):
        job.skip(name, Message(_("it only counts with {value}"), value="masked_training"))
    elif name == "normalize_masked_area_loss":
        job.map(name, {"loss.normalize_masks": job.flag(name)})
    else:
        is_divided = name == "masked_prior_preservation_weight" and value and job.flag("normalize_masked_area_loss")
        reason = Message(_("it counts for each position, whatever the sizes of the two areas are"))
        job.map(name, {_MASK_NUMBERS[name][0]: value or 0.0}, reason if is_divided else None)


KEYS: dict[str, Rule] = {
    **_each("training_method model_type output_model_destination output_model_format", elsewhere),
    "base_model_name": path("model"),
    "lora_model_name": path("continue_from"),
    "output_dtype": _dtype("save.precision"),
    **_each(_MACHINE, meaningless(reasons.SPEED)),
    **_each("secrets huggingface_token", meaningless(reasons.SECRET)),
    "force_circular_padding": not_done(_("images are not made to repeat without seams")),
    "continue_last_backup": not_done(reasons.NO_STATE),
    **_each("epochs batch_size gradient_accumulation_steps learning_rate learning_rate_warmup_steps", elsewhere),
    **_each("learning_rate_scheduler learning_rate_cycles learning_rate_min_factor learning_rate_scaler", elsewhere),
    **_each("embedding_learning_rate optimizer.optimizer optimizer.weight_decay weight_decay", elsewhere),
    **_each("custom_learning_rate_scheduler scheduler_params", elsewhere),
    "loss_scaler": not_done(
        _("the loss is not multiplied by the batch size, which AdamW hardly notices"), unless=(None, "", "NONE")
    ),
    "optimizer.fused_back_pass": to("train.fused_backward", bool),
    "optimizer.stochastic_rounding": elsewhere,
    **_each("optimizer.__version optimizer.fused optimizer.foreach", meaningless(reasons.SPEED)),
    "clip_grad_norm": elsewhere,
    **_each("ema ema_decay ema_update_step_interval", elsewhere),
    **_each("unet.train text_encoder.train text_encoder_2.train", elsewhere),
    **_each("unet.learning_rate text_encoder.learning_rate text_encoder_2.learning_rate", elsewhere),
    **_each("text_encoder_layer_skip text_encoder_2_layer_skip", elsewhere),
    **_each("text_encoder.dropout_probability text_encoder_2.dropout_probability dropout_probability", elsewhere),
    "vae.model_name": path("vae"),
    "train_dtype": _dtype("train.precision"),
    "weight_dtype": _stored,
    **_each("lora_weight_dtype embedding_weight_dtype", _stored_small),
    "gradient_checkpointing": elsewhere,
    **_each("peft_type lora_rank lora_alpha layer_filter layer_filter_preset layer_filter_regex", elsewhere),
    **_each("oft_block_size oft_coft coft_eps oft_block_share", elsewhere),
    "lora_decompose": to("method.dora", bool),
    "lora_decompose_norm_epsilon": same(),
    "lora_decompose_output_axis": elsewhere,
    "bundle_additional_embeddings": same(),
    "additional_embeddings": not_done(_("embeddings are not trained together with another method")),
    "preserve_embedding_norm": not_done(_("an embedding may grow longer than it was")),
    **_each("concept_file_name concepts resolution aspect_ratio_bucketing", elsewhere),
    "masked_training": _masked_training,
    **_each(
        "unmasked_probability unmasked_weight normalize_masked_area_loss masked_prior_preservation_weight", _masking
    ),
    **_each("circular_mask_generation random_rotate_and_crop custom_conditioning_image", not_done(reasons.CROP)),
    **_each("mse_strength mae_strength huber_strength log_cosh_strength huber_delta vb_loss_strength", elsewhere),
    **_each("loss_weight_fn loss_weight_strength min_snr_gamma", elsewhere),
    "offset_noise_weight": to("loss.noise_offset", float),
    "generalized_offset_noise": not_done(_("the noise offset is not scaled by the time step")),
    "perturbation_noise_weight": not_done(_("noise is not added to the target")),
    "rescale_noise_scheduler_to_zero_terminal_snr": elsewhere,
    "force_v_prediction": elsewhere,
    "force_epsilon_prediction": elsewhere,
    "min_noising_strength": _strength("loss.min_timestep", 0.0),
    "max_noising_strength": _strength("loss.max_timestep", 1.0),
    **_each("timestep_distribution noising_weight noising_bias timestep_shift dynamic_timestep_shifting", elsewhere),
    "align_prop": not_done(_("training by rewards for images is not supported")),
    **_each(
        "align_prop_probability align_prop_loss align_prop_weight align_prop_steps align_prop_truncate_steps"
        " align_prop_cfg_scale",
        lambda job, name: job.skip(name, Message(_("it only counts with {value}"), value="align_prop")),
    ),
    **_each("sample_definition_file_name samples sample_after sample_after_unit sample_skip_first", elsewhere),
    **_each(
        "sample_image_format samples_to_tensorboard non_ema_sampling sample_video_format sample_audio_format",
        meaningless(_("Tetrad keeps previews as PNG files in the run's folder")),
    ),
    **_each("save_every save_every_unit save_skip_first save_filename_prefix", elsewhere),
    **_each(
        "backup_after backup_after_unit rolling_backup rolling_backup_count backup_before_save",
        same(reasons.ALWAYS_RESUMES),
    ),
    "validation": not_done(reasons.VALIDATION),
    **_each("validate_after validate_after_unit", meaningless(reasons.VALIDATION)),
    **_each(
        "embedding.placeholder embedding.token_count embedding.initial_embedding_text embedding.model_name", elsewhere
    ),
    **_each(
        "embedding.train embedding.stop_training_after embedding.stop_training_after_unit",
        meaningless(_("an embedding is trained during the whole run")),
    ),
    **_each("embedding.uuid embedding.__version", meaningless(_("it is a number of OneTrainer's own"))),
    "embedding.is_output_embedding": not_done(_("embeddings are trained before the text encoder, not after it")),
    **{
        f"{part}.{key}": rule
        for part in _PARTS
        for key, rule in {
            "__version": meaningless(_("it is a number of OneTrainer's own")),
            "weight_dtype": _stored,
            **_each("gradient_checkpointing", elsewhere),
            **_each(
                "offload_fraction activation_offloading attention_mask guidance_scale include quantization"
                " train_embedding offload layer_offload_fraction compile",
                meaningless(reasons.MEMORY),
            ),
            **_each("stop_training_after stop_training_after_unit", elsewhere),
        }.items()
    },
    **_each(
        "unet.model_name text_encoder.model_name text_encoder_2.model_name",
        not_done(_("the parts of the model are read from its own file")),
    ),
    **_each(
        "vae.train vae.stop_training_after vae.stop_training_after_unit vae.learning_rate"
        " vae.dropout_probability unet.dropout_probability",
        meaningless(_("the VAE is trained with `tetrad train vae-decoder`, and only text encoders drop captions")),
    ),
}
CONCEPT_KEYS: dict[str, Rule] = {
    **_each("path type enabled include_subdirectories balancing balancing_strategy", elsewhere),
    **_each(
        "name seed __version image.__version text.__version image_variations text_variations concept_stats",
        meaningless(reasons.CACHING),
    ),
    "loss_weight": elsewhere,
    **_each("text.prompt_source text.prompt_path", elsewhere),
    "text.enable_tag_shuffling": to("data.captions.shuffle", bool),
    "text.tag_delimiter": to("data.captions.separator", str),
    "text.keep_tags_count": to("data.captions.keep_tokens", int),
    "text.tag_dropout_enable": elsewhere,
    "text.tag_dropout_mode": elsewhere,
    "text.tag_dropout_probability": elsewhere,
    **_each(
        "text.tag_dropout_special_tags text.tag_dropout_special_tags_mode text.tag_dropout_special_tags_regex",
        not_done(_("all tags are dropped with the same probability"), unless=(None, "", "NONE", False)),
    ),
    "text.caps_randomize_enable": not_done(_("capital letters of captions stay as they are")),
    **_each(
        "text.caps_randomize_mode text.caps_randomize_probability text.caps_randomize_lowercase",
        meaningless(_("it only counts with text.caps_randomize_enable")),
    ),
    "image.enable_crop_jitter": not_done(reasons.CROP),
    "image.enable_random_flip": to("data.flip", bool),
    "image.enable_fixed_flip": not_done(_("images are not all mirrored")),
    **_each(
        "image.enable_random_rotate image.enable_fixed_rotate image.enable_random_brightness"
        " image.enable_fixed_brightness image.enable_random_contrast image.enable_fixed_contrast"
        " image.enable_random_saturation image.enable_fixed_saturation image.enable_random_hue"
        " image.enable_fixed_hue image.enable_random_circular_mask_shrink"
        " image.enable_random_mask_rotate_crop",
        not_done(reasons.CROP),
    ),
    **_each(
        "image.random_rotate_max_angle image.random_brightness_max_strength image.random_contrast_max_strength"
        " image.random_saturation_max_strength image.random_hue_max_strength image.resolution_override",
        meaningless(_("it only counts with the switch before it")),
    ),
    "image.enable_resolution_override": elsewhere,
}
