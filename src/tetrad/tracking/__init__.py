"""Show runs in trackers: readers of what a run writes into its folder, never a part of the run.

`new_records` follows the logs of a run, and `weights_and_biases` sends what they say to W&B.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {"new_records": ["LogReader"], "weights_and_biases": ["track"]},
)
