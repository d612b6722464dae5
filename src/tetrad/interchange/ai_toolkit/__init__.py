"""ai-toolkit's jobs.

`read` takes a job apart and decides about the network, `keys` is the table of all keys, `training` decides about
length, rate, schedule and optimizer, `data` about folders of images, saved files and previews.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "read": ["read_ai_toolkit"],
    },
)
