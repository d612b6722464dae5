"""Combine files that were trained: from weight files to a new one, tensor by tensor.

`checkpoint_merge` merges checkpoints: `choices` has the methods and what a person chooses, `arithmetic` their formulas,
`blocks` the weights by block of the U-Net, `parents` opens and compares the models, `history` writes their metadata.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(__name__, {"checkpoint_merge": ["merge_checkpoints"]})
