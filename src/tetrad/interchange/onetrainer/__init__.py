"""OneTrainer's configurations of all versions.

`read` migrates the keys and decides about those of the model, `keys` is the table of all keys, `training` decides
about length, rates and schedule, `optimizer` about the optimizer, EMA and dtypes of weights, `network` about LoRA and
embeddings, `concepts` about the folders of images, `saving` about the loss, saved files and previews.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "read": ["read_onetrainer"],
    },
)
