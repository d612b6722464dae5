"""VAE files: which one a model uses, reading, mounting, saving, and baking into checkpoints.

`read` reads the VAE in a file, a checkpoint or a folder; `load` builds the network and mounts it in a model;
`family_check` detects whether a VAE belongs to the model's family; `select` chooses the VAE for a checkpoint by the
web UI's rules and `web_ui_settings` reads the web UI's own choices; `bake` puts a VAE into a checkpoint or takes it
out; `describe` collects what `tetrad vae show` prints; `latents` reads and writes latent files.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "bake": [
            "bake_vae",
            "check_output_path",
            "CheckpointVae",
            "detect_folder_family",
            "extract_vae",
            "fit_vae",
            "load_own_vae",
            "open_checkpoint_vae",
        ],
        "describe": ["VaeDescription", "describe_vae", "describe_vae_file", "hash_weights"],
        "latents": ["parse_latent_file", "read_latents", "write_latents"],
        "load": [
            "build_architecture_metadata",
            "check_read_back",
            "get_norm_groups",
            "hash_model_vae_encoder",
            "hash_vae_encoder",
            "load_replacement_vae",
            "load_vae",
            "make_reloader",
            "mount_vae",
            "save_vae",
        ],
        "read": ["find_vae_file", "read_vae"],
        "select": ["VaeChoice", "choose_training_vae", "choose_vae", "list_vaes", "may_be_vae"],
    },
)
