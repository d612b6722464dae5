"""kohya's sd-scripts: configuration files (TOML) and command lines of the six scripts for Stable Diffusion 1, 2 and XL.

`read` decides about every key: `keys` is the table of all keys with those that stand for themselves, `training` decides
about length, schedule and optimizer, `rates` about learning rates, `blocks` about those of blocks, `weights` about the
dtypes of weights, `network` about LoRA and embeddings (`options` has the words for what it leaves), `data` about images
and the model, `saving` about the loss, saved files and previews.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "blocks": ["WEIGHTS", "write_ranks"],
        "keys": ["FLAGS", "KEYS", "LISTS"],
        "network": ["note_small_alpha"],
        "read": ["fill_job", "leave_unknown"],
        "saving": ["SAMPLERS"],
        "training": ["list_of"],
    },
)
