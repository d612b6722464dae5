"""The fields of kohya_ss' page that are its own: kohya_gui/*_gui.py."""

from tetrad.interchange.rules import words

RENAMED = {
    "max_resolution": "resolution",
    "optimizer": "optimizer_type",
    "lora_network_weights": "network_weights",
    "caption_extention": "caption_extension",
}
# A value of 0 is not handed on to sd-scripts.
ZERO_IS_NONE = frozenset(
    words(
        "max_train_steps max_train_epochs save_every_n_epochs save_every_n_steps sample_every_n_epochs"
        " sample_every_n_steps save_last_n_epochs save_last_n_steps save_last_n_epochs_state save_last_n_steps_state"
        " min_snr_gamma noise_offset multires_noise_iterations ip_noise_gamma adaptive_noise_scale clip_skip"
        " min_timestep max_timestep vae_batch_size v_pred_like_loss unet_lr seed fused_optimizer_groups blocks_to_swap"
        " scale_weight_norms network_dropout"
    )
)
LORA_TYPES = {
    "Standard": "networks.lora",
    "Kohya LoCon": "networks.lora",
    "Kohya DyLoRA": "networks.dylora",
    "LoRA-FA": "networks.lora_fa",
    "Kohya LoHa": "networks.loha",
    "Kohya LoKr": "networks.lokr",
}
LYCORIS_TYPES = {
    "LyCORIS/LoCon": "locon",
    "LyCORIS/LoHa": "loha",
    "LyCORIS/LoKr": "lokr",
    "LyCORIS/iA3": "ia3",
    "LyCORIS/DyLoRA": "dylora",
    "LyCORIS/GLoRA": "glora",
    "LyCORIS/Diag-OFT": "diag-oft",
    "LyCORIS/BOFT": "boft",
    "LyCORIS/Native Fine-Tuning": "full",
}
OTHER_FAMILIES = ("Flux1", "Flux1 OFT", "SD3", "LyCORIS/Flux", "Lumina")
NETWORK_ARGUMENTS = words(
    "conv_dim conv_alpha rank_dropout module_dropout block_dims block_alphas conv_block_dims conv_block_alphas"
    " down_lr_weight mid_lr_weight up_lr_weight block_lr_zero_threshold loraplus_lr_ratio loraplus_unet_lr_ratio"
    " loraplus_text_encoder_lr_ratio"
)
LYCORIS_ARGUMENTS = words(
    "rank_dropout_scale factor use_cp use_tucker use_scalar decompose_both train_norm train_on_input bypass_mode"
    " dora_wd constrain rescaled unit"
)
BUTTONS = words(
    "model_list save_as_bool use_latent_files create_caption create_buckets generate_caption_database"
    " generate_image_buckets caption_metadata_filename latent_metadata_filename full_path train_dir gui_version"
    " training_preset"
)
ACCELERATE = words(
    "num_machines multi_gpu gpu_ids main_process_port num_cpu_threads_per_process dynamo_mode dynamo_use_dynamic"
    " dynamo_use_fullgraph extra_accelerate_launch_args dynamo_backend num_processes"
)
OTHER_FAMILY = words(
    "ae clip_g clip_l t5xxl flux1_clip_l flux1_t5xxl t5xxl_device t5xxl_dtype t5xxl_max_token_length apply_t5_attn_mask"
    " flux1_cache_text_encoder_outputs flux1_cache_text_encoder_outputs_to_disk sd3_cache_text_encoder_outputs"
    " sd3_cache_text_encoder_outputs_to_disk sd3_text_encoder_batch_size sd3_fused_backward_pass"
    " flux_fused_backward_pass single_blocks_to_swap double_blocks_to_swap blockwise_fused_optimizers mem_eff_save"
    " train_blocks save_clip save_t5xxl enable_all_linear t5xxl_lr sd3_clip_l sd3_t5xxl clip_l_dropout_rate"
    " clip_g_dropout_rate t5_dropout_rate lumina_checkbox flux1_checkbox sd3_checkbox split_qkv train_t5xxl"
    " img_attn_dim img_mlp_dim img_mod_dim single_dim txt_attn_dim txt_mlp_dim txt_mod_dim single_mod_dim in_dims"
    " train_double_block_indices train_single_block_indices sd3_clip_l_dropout_rate sd3_disable_mmap_load_safetensors"
    " sd3_enable_scaled_pos_embed pos_emb_random_crop_rate sd3_t5_dropout_rate train_lora_ggpo ggpo_sigma ggpo_beta"
)
# What the page has where a file lacks a key; version 26.
DEFAULTS = {
    "epoch": 1,
    "train_batch_size": 1,
    "max_train_steps": 1600,
    "save_every_n_epochs": 1,
    "lr_warmup": 10,
    "optimizer": "AdamW8bit",
    "max_grad_norm": 1,
    "max_resolution": "512,512",
    "enable_bucket": True,
    "min_bucket_reso": 256,
    "max_bucket_reso": 2048,
    "caption_extension": ".txt",
    "lr_scheduler": "cosine",
}
RATES = {
    "LoRA": {"learning_rate": 1e-4, "unet_lr": 1e-4, "text_encoder_lr": 0, "network_dim": 8, "network_alpha": 1},
    "TI": {"learning_rate": 1e-5},
    "Finetuning": {"learning_rate": 1e-5},
    "DreamBooth": {"learning_rate": 1e-5},
}
