"""kohya's `ss_network_*` metadata about a LoRA's settings."""

import json
from typing import Any


def network_metadata(lora: Any) -> dict[str, object]:
    """kohya's metadata entries; ranks and alphas by block are only in the tensors."""
    arguments = {}
    if lora.conv_rank:
        alpha = lora.conv_rank if lora.conv_alpha is None else lora.conv_alpha
        arguments = {"conv_dim": str(lora.conv_rank), "conv_alpha": f"{alpha:g}"}
    if lora.plus_ratio != 1:
        arguments["loraplus_lr_ratio"] = f"{lora.plus_ratio:g}"
    for name in ("rank_dropout", "module_dropout"):
        if value := getattr(lora, name):
            arguments[name] = f"{value:g}"
    if lora.dora:
        arguments["dora_wd"] = "True"
    alpha = lora.rank if lora.alpha is None else lora.alpha
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": lora.rank,
        "ss_network_alpha": f"{alpha * lora.rank**0.5 if lora.rslora else alpha:g}",
        "ss_network_dropout": lora.dropout or None,
        "ss_network_args": json.dumps(arguments),
        "ss_scale_weight_norms": lora.max_norm or None,
    }
