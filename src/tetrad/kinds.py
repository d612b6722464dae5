"""What is usual for each kind of thing that can be learned, where the person and the method leave it open."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def lora_entries(lora: Any) -> dict[str, object]:
    """kohya's entries about a LoRA; what a block alone has stands in the tensors."""
    arguments = {}
    if lora.conv_rank:
        alpha = lora.conv_rank if lora.conv_alpha is None else lora.conv_alpha
        arguments = {"conv_dim": str(lora.conv_rank), "conv_alpha": f"{alpha:g}"}
    for key, name in (
        ("plus_ratio", "loraplus_lr_ratio"),
        ("rank_dropout", "rank_dropout"),
        ("module_dropout", "module_dropout"),
    ):
        if (value := getattr(lora, key)) != type(lora).__dataclass_fields__[key].default:
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


@dataclass(frozen=True)
class Kind:
    """What is usual for one kind of `Weights`."""

    architecture: str  # how its files name themselves, after the model's own name; a hypernetwork's is our invention
    implementation: str
    precision: str  # of the numbers in it, where nobody asks for another
    network: Callable[[Any], dict[str, object]] = lambda method: {}  # kohya's entries about the method's settings
    weight_decay: float = 0.01  # AdamW's pull towards zero; a word has no reason to be small
    whole: bool = False  # it is a whole model, VAE and all
    needs_word: bool = False  # what is learned is a word, so every caption has to say it


STABILITY = "https://github.com/Stability-AI/generative-models"
KINDS = {
    "lora": Kind("/lora", "diffusers", "fp16", lora_entries),
    "embedding": Kind("/textual-inversion", STABILITY, "fp32", weight_decay=0.0, needs_word=True),
    "hypernetwork": Kind("/hypernetwork", STABILITY, "fp32"),
    "checkpoint": Kind("", STABILITY, "fp16", whole=True),
}
