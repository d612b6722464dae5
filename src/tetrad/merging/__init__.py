"""Combine files that were trained: from weight files to a new one, tensor by tensor.

`checkpoint_merge` merges checkpoints; `merged_tensors` says what becomes of each tensor, `choices` has the methods and
what a person chooses, `arithmetic` their formulas, `blocks` the weights by block of the U-Net, `parents` opens and
compares the models, `history` writes their metadata. `storing` refuses what the precision of a result cannot hold.

`lora_merge` merges LoRAs into one, `lora_into_checkpoint` into a checkpoint, `lora_resize` makes one smaller, and
`lora_extraction` makes one from two checkpoints. `lora_files` reads LoRAs and their strengths, `ranks` chooses how
many ranks are kept, `lora_output` writes the file and its report, and `lora_metadata` what it says about itself.

`embeddings` puts the vectors of embeddings together or averages them, `hypernetworks` chains linear hypernetworks;
`weighted` has what they are given and what they return.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "blocks": ["PRESETS", "list_blocks", "parse_block_weights"],
        "checkpoint_merge": ["merge_checkpoints"],
        "lora_extraction": ["extract_lora"],
        "lora_into_checkpoint": ["merge_loras_into"],
        "lora_merge": ["merge_loras"],
        "lora_resize": ["resize_lora"],
        "lora_files": ["LoraChoice", "describe_unused", "find_lora", "OpenLora", "read_loras"],
        "lora_output": ["LoraReport"],
        "lora_metadata": ["describe_network", "describe_origin"],
        "parents": ["EMA", "VAE", "open_parents", "part_of"],
        "embeddings": ["merge_embeddings"],
        "hypernetworks": ["merge_hypernetworks"],
    },
)
