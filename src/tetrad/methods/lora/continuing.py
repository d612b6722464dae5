"""The settings of a run that continues from a file: the file's algorithm, ranks and alphas count."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.lora import blocks, lycoris
from tetrad.methods.lora.lycoris_branch import algorithm_of
from tetrad.methods.lora.settings import ALGORITHMS, Lora
from tetrad.methods.lora.weights import group_by_layer, most_common_size, read_layer_sizes
from tetrad.models.base import Model
from tetrad.settings.toml import replace_in
from tetrad.weights import Weights

_RANK_SETTINGS = (  # the settings of the branches' size
    *("rank", "alpha", "rslora", "block_ranks", "block_alphas"),
    *("conv_rank", "conv_alpha", "conv_block_ranks", "conv_block_alphas"),
)
_LayerSizes = Mapping[str, tuple[int, float, bool]]


def resume_from(settings: Lora, start: Weights, model: Model) -> Lora:
    """The settings with the file's algorithm, and its ranks and alphas, the most common where they differ.

    E5111 where the settings ask for others.
    """
    layer_sizes = read_layer_sizes(start, model)
    size = most_common_size(layer_sizes, is_convolution=False)
    conv_size = most_common_size(layer_sizes, is_convolution=True)
    defaults = {name: getattr(Lora(), name) for name in _RANK_SETTINGS}
    from_file = defaults | dict(zip(("rank", "alpha"), size or (), strict=False))
    from_file |= dict(zip(("conv_rank", "conv_alpha"), conv_size or (), strict=False))
    form = _read_form(settings, start)
    requested = {name: getattr(settings, name) for name in _RANK_SETTINGS}
    if requested not in (defaults, from_file):
        changed = [name for name in _RANK_SETTINGS if requested[name] != defaults[name]]
        _check_same_sizes(settings, model, layer_sizes, changed)
    return replace_in("method", settings, **from_file, **form)


def _read_form(settings: Lora, start: Weights) -> dict[str, Any]:
    """The settings of the algorithm, by the tensors of a file.  E5111 where the settings ask for another algorithm."""
    layers = group_by_layer(start)
    counts = Counter(algorithm for tensors in layers.values() if (algorithm := algorithm_of(tensors)))
    algorithm = counts.most_common(1)[0][0] if counts else Lora().algorithm
    if settings.algorithm not in (Lora().algorithm, algorithm):
        raise TetradError(
            "E5111",
            _(
                "the file to continue from is a {found}, not a {requested}; leave out method.algorithm to continue with"
                " it, or start a new one"
            ),
            found=ALGORITHMS[algorithm],
            requested=ALGORITHMS[settings.algorithm],
        )
    names = {name for tensors in layers.values() for name in tensors}
    magnitudes = [tensors["magnitude"] for tensors in layers.values() if "magnitude" in tensors]
    form: dict[str, Any] = {
        "algorithm": algorithm,
        "dora": settings.dora or 0 < len(layers) == len(magnitudes),
        "use_tucker": bool(names & {"mid", "hada_t1", "lokr_t2"}),
        "decompose_both": "lokr_w1_a" in names,
        "full_matrix": algorithm == "lokr" and not names & {"lokr_w1_a", "lokr_w2_a"},
        "rescaled": "rescale" in names,
    }
    if magnitudes:
        form["wd_on_output"] = lycoris.norm_axis(magnitudes[0]) == 0
    if algorithm == "oft":
        form["constraint"] = next(float(tensors["alpha"]) for tensors in layers.values() if "alpha" in tensors)
    return form


def _check_same_sizes(settings: Lora, model: Model, layer_sizes: _LayerSizes, setting_names: list[str]) -> None:
    """E5111 where the settings ask for other ranks and alphas than a file has."""
    for path, (rank, alpha, is_convolution) in layer_sizes.items():
        expected_rank, expected_alpha = blocks.resolve_size(settings, path, is_convolution, model)
        is_same = expected_rank == rank and math.isclose(expected_alpha, alpha, rel_tol=1e-2)
        if blocks.is_trained_layer(settings, path, model) and not is_same:
            raise TetradError(
                "E5111",
                _(
                    "the LoRA to continue from has rank {rank} and alpha {alpha} at {layer}, not {requested_rank} and"
                    " {requested_alpha}; leave out {settings} to continue with it, or start a new one"
                ),
                rank=rank,
                alpha=f"{alpha:g}",
                layer=path,
                requested_rank=expected_rank,
                requested_alpha=f"{expected_alpha:g}",
                settings=", ".join(f"method.{name}" for name in setting_names),
            )
    has_convolutions = any(is_convolution for _rank, _alpha, is_convolution in layer_sizes.values())
    if settings.trains_convolutions and not has_convolutions:
        raise TetradError(
            "E5111",
            _(
                "the LoRA to continue from has no convolutions, but method.conv_rank asks for them; leave out"
                " method.conv_rank to continue with it, or start a new one"
            ),
        )
