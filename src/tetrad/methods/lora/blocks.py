"""Which layers are trained, and settings by block: the smallest block that contains a layer and has a value decides."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.lora.settings import Lora
from tetrad.models.base import Model
from tetrad.models.block_names import name_blocks

_Value = TypeVar("_Value")


def is_trained_layer(settings: Lora, path: str, model: Model) -> bool:
    """Whether the layer at a path gets a branch, unless its rank is 0."""
    layers = model.layers
    patterns = [
        layers.attention,
        *([layers.text] if settings.text_encoder else []),
        *([layers.convolutions] if settings.trains_convolutions else []),
    ]
    return any(pattern.fullmatch(path) for pattern in patterns)


def resolve_size(settings: Lora, path: str, is_convolution: bool, model: Model) -> tuple[int, float]:
    """A layer's rank and its effective alpha: the change is scaled by alpha / rank, with rsLoRA too."""
    layer_blocks = list_blocks_of(path, model)
    if is_convolution:
        rank = lookup(layer_blocks, settings.conv_block_ranks, settings.conv_rank)
        alpha = lookup(layer_blocks, settings.conv_block_alphas, settings.conv_alpha)
    else:
        rank = lookup(layer_blocks, settings.block_ranks, settings.rank)
        alpha = lookup(layer_blocks, settings.block_alphas, settings.alpha)
    alpha = rank if alpha is None else alpha
    return rank, alpha * rank**0.5 if settings.rslora else alpha


def list_blocks_of(path: str, model: Model) -> Sequence[str]:
    """The blocks that contain a layer, the smallest first; those of the U-Net by kohya's numbers too."""
    return name_blocks(path, model) if path.startswith(f"{model.denoiser}.") else model.layers.blocks(path)


def lookup(blocks: Sequence[str], values: Mapping[str, _Value], default: _Value) -> _Value:
    """The value of the first block that has one; `blocks` are sorted from the smallest to the largest."""
    return next((values[name] for name in blocks if name in values), default)


def require(setting: str, names: Iterable[str], blocks: Collection[str], model: str) -> None:
    """E3121 for a name that is not among the model's trained blocks."""
    for name in names:
        if name not in blocks:
            raise TetradError(
                "E3121",
                _("method.{setting} contains {name}, but the trained blocks of {model} are {blocks}"),
                setting=setting,
                name=name,
                model=model,
                blocks=", ".join(sorted(blocks)),
            )
