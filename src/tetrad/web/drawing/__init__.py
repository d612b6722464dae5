"""Images from prompts for the page: a process of its own keeps the model loaded, so that a second image starts at once.

`drawing` is the server's side: it lets requests wait for their turn, and gives way to a training on the same device.
`worker` is the process, and `parameters` reads for it what a generated image says about itself. `orders` are what was
asked for on the page, `history` keeps the images, and `choices` lists what there is to choose from. `cells` makes the
requests for a run's checkpoints at several strengths. Only `worker` and `parameters` import torch.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "cells": [
            "Cell",
            "finish_cell",
            "make_base_cell",
            "make_cell",
            "make_cells",
            "name_checkpoint",
        ],
        "choices": ["AUTOMATIC", "OWN_VAE", "Choices", "make_id"],
        "drawing": ["Drawing"],
        "history": ["History"],
        "orders": ["Order", "Orders"],
        "parameters": ["describe_parameters"],
    },
)
