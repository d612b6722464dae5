"""The training methods: Textual Inversion, hypernetwork, LoRA and DreamBooth.

- `textual_inversion`, `hypernetwork`, `lora`, `dreambooth`: a folder for each method. Its module `settings` has the
  settings and needs no torch; its module `adapter` does the work on a model,
  and its module `inspect` describes its files.
- `settings`: the protocol of a method's settings.
- `base`: the protocols of a method's `adapter` and `inspect` modules, and `Patches`, by which adapters change a model
  and undo it.
- `artifact`: what is known of the files that a method writes.
- `advice`: what a method is good for.
- `people`: whether a word or a caption is about a person.
- `trigger_word`: checks trigger words and suggests better ones.

A new method is a folder (or a file) and a line in METHODS. Nothing imported here needs torch.
"""

from tetrad.lazy import export
from tetrad.methods.artifact import Artifact
from tetrad.methods.dreambooth.settings import DreamBooth
from tetrad.methods.hypernetwork.settings import Hypernetwork
from tetrad.methods.lora.settings import Lora
from tetrad.methods.settings import MethodSettings
from tetrad.methods.textual_inversion.settings import TextualInversion

_NAMES, __getattr__ = export(
    __name__,
    {
        "advice": ["GOALS", "Goal", "parse_goal"],
        "base": [
            "Adapter",
            "FileFormat",
            "Metadata",
            "ParamGroup",
            "Strength",
            "behavior_of",
            "description_of",
            "parameters_of",
            "ForwardChange",
            "Patches",
        ],
        "hypernetwork.settings": ["TENSOR", "NetworkShape", "COMFYUI_ACTIVATIONS"],
        "lora.detection": ["detect_family"],
        "lora.settings": ["MAX_RANK"],
        "people": ["are_of_person", "is_person"],
        "textual_inversion.embedding": ["check_family"],
        "textual_inversion.settings": ["IMAGE_SUFFIXES", "KOHYA", "WEB_UI", "MAX_VECTORS", "XL"],
        "settings": ["keeps_bf16_weights", "takes_bf16_weights"],
        "trigger_word": ["advise_on_trigger_word", "is_rare", "suggest_words"],
        "lora.combine": [
            "CombinedLayer",
            "Tensors",
            "Weighted",
            "changes_weight",
            "depends_on_base",
            "is_low_rank",
            "sum_tensors",
            "sum_weight_changes",
            "SUMMED_TENSORS",
        ],
        "lora.svd": ["RankLimit", "factorize"],
        "lora.weights": ["get_matching_layer", "group_by_layer", "named_layers"],
        "lora.layer": ["weight_of"],
        "hypernetwork.linear": ["chain", "is_linear", "LinearNetwork"],
        "hypernetwork.weights": ["build_networks", "named_attention_layers", "read_widths", "build_free_networks"],
        "hypernetwork.adapter": ["with_hypernetwork"],
        "hypernetwork.network": ["HypernetworkModule"],
        "artifact": ["VAE_FOLDERS"],
        "lora.inspect": ["NO_EFFECT"],
        "lora.metadata": ["is_lycoris", "list_network_arguments", "name_network_module"],
    },
)
__all__ = [
    "METHODS",
    "Artifact",
    "DreamBooth",
    "Hypernetwork",
    "Lora",
    "MethodSettings",
    "TextualInversion",
    "folder_flags",
    *_NAMES,
]

METHODS: dict[str, type[MethodSettings]] = {
    method.kind: method for method in (TextualInversion, Hypernetwork, Lora, DreamBooth)
}


def folder_flags() -> dict[str, Artifact]:
    """The artifact that each folder flag of the command line is for, by the name of its argument: lora_dir."""
    artifacts = [method.artifact for method in METHODS.values() if not method.artifact.is_full_model]
    return {artifact.folder_flag.lstrip("-").replace("-", "_"): artifact for artifact in artifacts}
