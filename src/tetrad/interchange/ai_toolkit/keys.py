"""The table of ai-toolkit's keys: toolkit/config_modules.py and what its page writes."""

from tetrad.interchange import reasons
from tetrad.interchange.job import Job, Rule
from tetrad.interchange.rules import elsewhere, meaningless, not_done, path, same, to
from tetrad.locales import Message, _

_DTYPES = {
    "float16": "fp16",
    "fp16": "fp16",
    "bfloat16": "bf16",
    "bf16": "bf16",
    "float32": "fp32",
    "fp32": "fp32",
    "float": "fp32",
}
_ERRORS = {"mse": "l2", "mae": "l1"}
_NOT_QUANTIZED = _(
    "ai-toolkit does not quantize Stable Diffusion 1, 2 and XL; to save memory here, add --set train.quantize_base=8bit"
)
_NO_KEY = _("ai-toolkit has no such key and ignores it")


def _dtype(setting: str) -> Rule:
    def rule(job: Job, name: str) -> None:
        value = job.word(name)
        if value in _DTYPES:
            job.map(name, {setting: _DTYPES[value]})
        else:
            job.leave(name, Message(_("Tetrad computes in fp32, bf16 or fp16")))

    return rule


def _loss(job: Job, name: str) -> None:
    value = job.word(name, "mse")
    if value in _ERRORS:
        job.map(name, {"loss.type": _ERRORS[value]})
    else:
        job.leave(name, Message(_("the loss is the squared error alone")))


def _sampler(job: Job, name: str) -> None:
    """The page's sampler is one of training schedules, ddpm for Stable Diffusion."""
    job.skip(name, Message(_("previews use DPM++ 2M; give sample.sampler for another")))


def _distribution(job: Job, name: str) -> None:
    """balanced is uniform; content and style have the same names here."""
    value = job.word(name, "balanced")
    if value in ("content", "style"):
        job.map(name, {"loss.timestep_distribution": value})
    else:
        job.equal(name) if value == "balanced" else job.leave(name, Message(reasons.TIMESTEPS))


def _denoising_steps(job: Job, name: str) -> None:
    """Indices into the time steps from pure noise to none, the last one included: 999 and 0 are no limits."""
    lowest = 999 - job.whole("train.max_denoising_steps", 999)
    highest = 1000 - job.whole("train.min_denoising_steps", 0)
    settings = {"loss.min_timestep": max(0, lowest), "loss.max_timestep": min(1000, highest)}
    job.map(name, settings) if settings != {"loss.min_timestep": 0, "loss.max_timestep": 1000} else job.equal(name)


def _mask_min(job: Job, name: str) -> None:
    """The weight of what is black in a mask."""
    other = name.replace("mask_min_value", "mask_path")
    if not job.get(other):
        job.skip(name, Message(_("it only counts with {value}"), value="mask_path"))
    else:
        job.map(name, {"data.unmasked_weight": job.number(name, 0.0) or 0.0})


def _each(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


def _inverted_mask_prior(job: Job, name: str) -> None:
    """What a mask excludes is held by the model's prediction before training, at half the weight unless it is given."""
    multiplier = "train.inverted_mask_prior_multiplier"
    if not job.flag("train.inverted_mask_prior"):
        job.equal(name)
    else:
        job.map(name, {"data.unmasked_prior_weight": job.number(multiplier, 0.5) or 0.0})


KEYS: dict[str, Rule] = {
    **_each("job config.name process.type process.trigger_word config.trigger_word", elsewhere),
    "job": same(),
    **_each("meta.name meta.version config.meta.name config.meta.version", meaningless(_("it is only a label"))),
    **_each(
        "process.log_dir config.log_dir process.device config.device process.sqlite_db_path"
        " process.performance_log_every"
        " config.performance_log_every logging.log_every logging.use_wandb logging.verbose logging.use_ui_logger"
        " logging.project_name logging.run_name process.is_ui config.is_ui config.sqlite_db_path",
        meaningless(reasons.LOGGING),
    ),
    **_each("process.training_folder config.training_folder", elsewhere),
    **_each("process.output_name process.save_root config.output_name", not_done(_NO_KEY)),
    **_each(
        "network.type network.linear network.linear_alpha network.rank network.alpha network.conv network.conv_alpha",
        elsewhere,
    ),
    "network.dropout": to("method.dropout", float),
    "network.transformer_only": meaningless(reasons.OTHER_FAMILY),
    "network.pretrained_lora_path": path("continue_from"),
    **_each("network.lokr_full_rank network.lokr_factor network.old_lokr_format", elsewhere),
    "network.network_kwargs": not_done(
        _("layers are not chosen by parts of their names"),
        unless=(
            None,
            {},
            {"ignore_if_contains": []},
            {"only_if_contains": []},
            {"ignore_if_contains": [], "only_if_contains": []},
        ),
    ),
    **_each(
        "network.all_layers network.split_multistage_loras network.layer_offloading", meaningless(reasons.OTHER_FAMILY)
    ),
    **_each(
        "train.steps train.batch_size train.gradient_accumulation train.gradient_accumulation_steps train.lr", elsewhere
    ),
    **_each("train.unet_lr train.text_encoder_lr train.embedding_lr train.refiner_lr train.adapter_lr", elsewhere),
    **_each("train.optimizer train.optimizer_params train.lr_scheduler train.lr_scheduler_params", elsewhere),
    **_each("train.train_unet train.train_text_encoder train.disable_sampling train.skip_first_sample", elsewhere),
    "train.train_refiner": meaningless(reasons.OTHER_FAMILY),
    "train.noise_scheduler": not_done(
        _("the model's own noise schedule is used"),
        unless=(None, "ddpm", "ddim", "lms", "euler", "euler_a", "pndm", "dpmsolver++"),
    ),
    "train.timestep_type": not_done(
        _("all time steps have the same probability"),
        unless=(None, "sigmoid", "linear", "lognorm_blend", "weighted", "shift"),
    ),
    **_each("train.linear_timesteps train.linear_timesteps2", meaningless(reasons.OTHER_FAMILY)),
    "train.next_sample_timesteps": not_done(reasons.TIMESTEPS),
    "train.content_or_style": _distribution,
    **_each("train.min_denoising_steps train.max_denoising_steps", _denoising_steps),
    "train.noise_offset": to("loss.noise_offset", float),
    **_each("train.dynamic_noise_offset train.random_noise_multiplier", not_done(_("noise is not changed at random"))),
    **_each(
        "train.noise_multiplier train.target_noise_multiplier",
        not_done(_("noise is not scaled"), unless=(None, 1, 1.0)),
    ),
    "train.min_snr_gamma": to("loss.min_snr_gamma", float),
    **_each(
        "train.snr_gamma train.learnable_snr_gos", not_done(_("late steps count more: only Min-SNR weights the loss"))
    ),
    "train.loss_type": _loss,
    "train.gradient_checkpointing": to("train.gradient_checkpointing", bool),
    "train.dtype": _dtype("train.precision"),
    "train.max_grad_norm": to("train.max_grad_norm", float),
    "train.seed": to("train.seed", int),
    **_each("train.ema_config.use_ema train.ema_config.ema_decay", elsewhere),
    "train.ema_config": same(),
    **_each("train.diff_output_preservation train.blank_prompt_preservation", elsewhere),
    **_each("train.diff_output_preservation_class train.diff_output_preservation_multiplier", elsewhere),
    "train.blank_prompt_preservation_multiplier": elsewhere,
    **_each("train.inverted_mask_prior train.inverted_mask_prior_multiplier", _inverted_mask_prior),
    "train.reg_weight": to("data.class_images.weight", float),
    **_each(
        "train.prompt_dropout_prob train.negative_prompt train.max_negative_prompts train.short_and_long_captions"
        " train.single_item_batching train.do_prior_divergence train.do_cfg train.do_random_cfg",
        not_done(_("captions are used as they are"), unless=(None, "", 0, False, 1, 0.0)),
    ),
    **_each(
        "train.xformers train.sdp train.attention_backend train.unload_text_encoder train.cache_text_embeddings"
        " train.bypass_guidance_embedding train.switch_boundary_every train.force_first_sample train.skip_sample",
        meaningless(reasons.SPEED),
    ),
    "train.clip_skip": not_done(_NO_KEY),
    "model.name_or_path": path("model"),
    "model.vae_path": path("vae"),
    **_each(
        "model.lora_path model.assistant_lora_path",
        not_done(_("base LoRAs are not merged in first; merge them into the model before training")),
    ),
    **_each("model.is_xl model.is_v2 model.is_sd2 model.arch", meaningless(reasons.FAMILY)),
    "model.is_v_pred": lambda job, name: job.map(name, {"prediction": "v"}) if job.flag(name) else job.equal(name),
    **_each("model.quantize model.quantize_te model.qtype model.qtype_te", meaningless(_NOT_QUANTIZED)),
    **_each(
        "model.low_vram model.model_kwargs model.compile model.use_text_encoder_1 model.use_text_encoder_2 model.dtype"
        " model.is_flux model.is_v3 model.is_pixart model.is_auraflow model.layer_offloading model.extras_name_or_path"
        " model.attn_masking model.split_model_over_gpus model.is_ssd model.is_vega",
        meaningless(reasons.MEMORY),
    ),
    **_each(
        "datasets.folder_path datasets.dataset_path datasets.resolution datasets.num_repeats datasets.is_reg", elsewhere
    ),
    **_each("datasets.caption_ext datasets.caption_type datasets.flip_x datasets.trigger_word", elsewhere),
    "datasets.loss_multiplier": elsewhere,
    "datasets.default_caption": not_done(_("an image without a caption gets the trigger word")),
    "datasets.caption_dropout_rate": to("data.captions.dropout", float),
    "datasets.shuffle_tokens": to("data.captions.shuffle", bool),
    "datasets.token_dropout_rate": to("data.captions.tag_dropout", float),
    "datasets.keep_tokens": to("data.captions.keep_tokens", int),
    "datasets.buckets": lambda job, name: (
        job.equal(name) if job.flag(name) else job.map(name, {"data.buckets.square": True})
    ),
    "datasets.bucket_tolerance": to("data.buckets.step", int),
    **_each(
        "datasets.scale datasets.network_weight",
        not_done(_("images are not enlarged, and the network has its full strength"), unless=(None, 1, 1.0)),
    ),
    **_each(
        "datasets.square_crop datasets.random_crop datasets.random_scale datasets.flip_y datasets.augments"
        " datasets.augmentations datasets.standardize_images",
        not_done(reasons.CROP),
    ),
    "datasets.prior_reg": same(),
    "datasets.batch_size": not_done(_("all folders have the batch size of the run"), unless=(None, 1)),
    "datasets.mask_path": path("data.masks"),
    "datasets.mask_min_value": _mask_min,
    "datasets.invert_mask": not_done(_("masks are not inverted: white counts")),
    "datasets.alpha_mask": to("data.alpha_mask", bool),
    **_each(
        "datasets.cache_latents datasets.cache_latents_to_disk datasets.controls datasets.shrink_video_to_frames"
        " datasets.num_frames datasets.control_path datasets.do_i2v datasets.fps datasets.cache_text_embeddings"
        " datasets.cache_clip_vision_to_disk datasets.num_workers datasets.prefetch_factor",
        meaningless(reasons.CACHING),
    ),
    "save.dtype": _dtype("save.precision"),
    **_each("save.save_every save.max_step_saves_to_keep save.save_format", elsewhere),
    **_each("save.push_to_hub save.hf_repo_id save.hf_private", meaningless(reasons.UPLOAD)),
    "sample.sampler": _sampler,
    **_each("sample.sample_every sample.prompts sample.samples", elsewhere),
    "sample.sample_start_step": not_done(_("previews begin with the first step that has one")),
    **_each("sample.width sample.height", elsewhere),
    "sample.neg": to("sample.negative_prompt", str),
    "sample.seed": to("sample.seed", int),
    "sample.guidance_scale": to("sample.cfg_scale", float),
    "sample.sample_steps": to("sample.steps", int),
    "sample.walk_seed": to("sample.next_seeds", bool),
    "sample.guidance_rescale": not_done(_("guidance is not rescaled")),
    "sample.network_multiplier": not_done(_("the network is used at its full strength"), unless=(None, 1, 1.0)),
    **_each("sample.num_frames sample.fps sample.format sample.ext", meaningless(reasons.OTHER_FAMILY)),
    **_each(
        "slider.resolutions slider.batch_full_slide slider.targets slider.guidance_strength slider.anchor_strength"
        " slider.positive_prompt slider.negative_prompt slider.target_class slider.anchor_class",
        not_done(_("sliders, which are trained from prompts without images, are not supported"), unless=()),
    ),
    "adapter": not_done(_("adapters such as IP-Adapter are not trained")),
    **_each("embedding.trigger embedding.tokens embedding.init_words embedding.save_format", elsewhere),
}
