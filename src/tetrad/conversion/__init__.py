"""Convert files that people have into formats that their programs read, and say what a format cannot hold.

`convert` finds out what a file is and which formats there are for it; `job` is one conversion and its options.
`checkpoints` converts single files and diffusers folders, `loras` LoRAs (`plain` makes plain ones of the others),
`embeddings` embeddings, and `hypernetworks` turns hypernetworks into LoRAs, those that are not linear by
`hypernetwork_fit`. `precision` stores tensors as fp32, fp16, bf16 or fp8.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(__name__, {"job": ["EMA_CHOICES", "Options"], "precision": ["PRECISIONS"]})
