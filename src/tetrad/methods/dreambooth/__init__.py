"""DreamBooth: training the weights of the model itself.

`settings` has its settings, `adapter` trains the model's own tensors or loads a checkpoint's into it, `formats`
reads and writes checkpoints, and `inspect` describes them.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "formats": ["check_family"],
        "settings": ["DreamBooth"],
    },
)
