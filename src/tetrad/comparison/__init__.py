"""Compare two files of one type, whatever their formats are: what differs, and how much, by block.

`diff` compares them, `result` is what it returns, and `sentences` say it. `named_tensors` reads checkpoints and VAEs of
every format tensor by tensor under the same names, `lora_changes` what LoRAs change each layer's weight by, and
`blocks` has the blocks.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "blocks": ["make_block_finder"],
        "lora_changes": ["LoraFile", "list_released_models", "read_lora"],
        "named_tensors": ["NamedTensors", "open_named_tensors"],
        "result": ["BlockDifference", "Difference"],
        "sentences": ["describe_rest", "describe_sameness"],
    },
)
