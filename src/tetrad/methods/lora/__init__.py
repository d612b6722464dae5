"""LoRA: training a low-rank change of a model's layers, y = W x + (α / r) B A x.

- `settings`: the settings; `metadata`: kohya's metadata entries about them; `readers`: which programs cannot read the
  file.
- `adapter`: attaches a LoRA to a model, new, continued or trained.
- `layer`: the branch of one layer, with DoRA and dropout; `fused_linear`: its operation in one autograd function;
  `lycoris_branch`: the branch of LoHa, LoKr and OFT.
- `creation`: new branches, as LyCORIS starts them.
- `blocks`: the layers that are trained, and ranks and alphas by block of the model.
- `weights`: the tensors of a LoRA layer by layer, and the branches built from them.
- `continuing`: the settings of a run that continues from a file.
- `lycoris`: the changes of LoHa, LoKr and others; `oft`: that of OFT; `recompute`: applies them without keeping them.
- `formats`: reads and writes kohya's, diffusers' and LyCORIS' files; `inspect` describes them, and `detection` finds
  out their family and algorithm.
- `svd`: the best low-rank approximation of a change. `bake` turns a DoRA into a plain LoRA by it, which every program
  reads; `combine` adds several LoRAs up.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "detection": ["detect_family"],
        "settings": ["Lora", "MAX_RANK"],
        "combine": [
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
        "svd": ["RankLimit", "factorize"],
        "weights": ["get_matching_layer", "group_by_layer", "named_layers"],
        "layer": ["weight_of"],
        "inspect": ["NO_EFFECT"],
        "metadata": ["is_lycoris", "list_network_arguments", "name_network_module"],
    },
)
