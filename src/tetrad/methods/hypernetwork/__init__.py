"""Hypernetwork: small residual networks before the key and value layers of attention, as in A1111.

`settings` has its settings and the shape of the networks, `network` the networks themselves, `adapter` attaches them
to a model, `weights` builds them from a file's weights, `linear` multiplies out those without activations,
`formats` reads and writes A1111's .pt files, and `inspect` describes them.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "settings": ["Hypernetwork", "NetworkShape", "TENSOR", "COMFYUI_ACTIVATIONS"],
        "linear": ["chain", "is_linear", "LinearNetwork"],
        "weights": ["build_networks", "named_attention_layers", "read_widths", "build_free_networks"],
        "adapter": ["with_hypernetwork"],
        "network": ["HypernetworkModule"],
    },
)
