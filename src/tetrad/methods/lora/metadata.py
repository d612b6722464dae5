"""kohya's `ss_network_*` metadata about a LoRA's settings."""

import json
from typing import Any

LYCORIS_ALGORITHMS = {"lora": "locon", "loha": "loha", "lokr": "lokr", "oft": "diag-oft"}
# LyCORIS' arguments of a network, by the settings that they are here; sd-scripts' own LoRA has none of them.
_LYCORIS_ARGUMENTS = {
    **{name: name for name in ("use_tucker", "factor", "decompose_both", "full_matrix", "constraint", "rescaled")},
    "dora": "dora_wd",
}
_LYCORIS_DEFAULTS = {"factor": -1}


def list_network_arguments(lora: Any) -> dict[str, str]:
    """`network_args` of sd-scripts for these settings; ranks and alphas by block are not among them."""
    arguments: dict[str, str] = {}
    if lora.conv_rank:
        alpha = lora.conv_rank if lora.conv_alpha is None else lora.conv_alpha
        arguments = {"conv_dim": str(lora.conv_rank), "conv_alpha": f"{alpha:g}"}
    if lora.plus_ratio != 1:
        arguments["loraplus_lr_ratio"] = f"{lora.plus_ratio:g}"
    for name in ("rank_dropout", "module_dropout"):
        if value := getattr(lora, name):
            arguments[name] = f"{value:g}"
    if is_lycoris(lora):
        arguments["algo"] = LYCORIS_ALGORITHMS[lora.algorithm]
        # The preset of the layers that sd-scripts' own LoRA trains; the one with convolutions trains a few more.
        arguments["preset"] = "full" if lora.trains_convolutions else "attn-mlp"
    for name, argument in _LYCORIS_ARGUMENTS.items():
        if (value := getattr(lora, name)) != _LYCORIS_DEFAULTS.get(name, 0):
            arguments[argument] = str(value)
    if lora.dora and not lora.wd_on_output:
        arguments["wd_on_output"] = "False"
    return arguments


def is_lycoris(lora: Any) -> bool:
    """Whether LyCORIS' module trains such a network, and not sd-scripts' own."""
    return bool(lora.algorithm != "lora" or (lora.use_tucker and lora.trains_convolutions))


def name_network_module(lora: Any) -> str:
    return "lycoris.kohya" if is_lycoris(lora) else "networks.lora"


def network_metadata(lora: Any) -> dict[str, object]:
    """kohya's metadata entries; ranks and alphas by block are only in the tensors."""
    alpha = lora.rank if lora.alpha is None else lora.alpha
    return {
        "ss_network_module": name_network_module(lora),
        "ss_network_dim": lora.rank,
        "ss_network_alpha": f"{alpha * lora.rank**0.5 if lora.rslora else alpha:g}",
        "ss_network_dropout": lora.dropout or None,
        "ss_network_args": json.dumps(list_network_arguments(lora)),
        "ss_scale_weight_norms": lora.max_norm or None,
    }
