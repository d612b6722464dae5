"""VAE files as people have them, in one spelling: whatever prefix, whichever names, matrices or 1×1 convolutions."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from tetrad.formats import diffusers, ldm
from tetrad.formats.names import inverted, renamed
from tetrad.weights import Weights

# Where a VAE lies in a file: in a checkpoint, in a pipeline's tensors saved flat, or by itself.
PREFIXES = (f"{ldm.VAE}.", "vae.", "")
# What training left beside the weights: the discriminator and LPIPS, averages. NovelAI's and Stability's files have it.
LEFT_OVER = re.compile(r"^(loss|model_ema)\.")
TINY = re.compile(r"^((encoder|decoder)\.)?(layers\.)?\d+\.(conv\.\d+\.)?weight$")
OWN = re.compile(r"^(encoder|decoder|quant_conv|post_quant_conv)\.")


@dataclass(frozen=True)
class Key:
    """A tensor's place in a file: its canonical name, and the file's own."""

    ours: str
    theirs: str


def decode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[Weights, list[str]]:
    """The VAE in a file's tensors under canonical names, and the names that belong to no layer of one.

    Nothing is found where the file holds none. The tensors keep their precision.
    """
    keys, unmatched = found(tensors)
    canonical = {key.ours: ldm.flat(key.ours, tensors[key.theirs]) for key in keys}
    return Weights("vae", canonical, dict(metadata)), unmatched


def found(names: Collection[str]) -> tuple[list[Key], list[str]]:
    """Where in a file each tensor of its VAE is, and what lies among them and belongs to no layer."""
    prefix = prefix_of(names)
    inner = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    inner = [name for name in inner if not LEFT_OVER.search(name) and (prefix or not other_part(name))]
    table = table_of(inner)
    translated = renamed([f"{ldm.VAE}.{name}" for name in inner], table) if is_ldm(inner) else {}
    keys, unmatched = [], []
    for name in inner:
        ours = translated.get(f"{ldm.VAE}.{name}") if is_ldm(inner) else f"vae.{diffusers.modern(name)}"
        if ours is None or not OWN.match(name):
            unmatched.append(prefix + name)
        else:
            keys.append(Key(ours, prefix + name))
    return keys, unmatched


def prefix_of(names: Iterable[str]) -> str:
    """What stands before the names of a file's VAE."""
    return next(prefix for prefix in PREFIXES if not prefix or any(name.startswith(prefix) for name in names))


def other_part(name: str) -> bool:
    """Whether a name without a prefix is a checkpoint's, of another network than its VAE."""
    return name.startswith((ldm.UNET, "cond_stage_model.", "conditioner.", "unet.", "text_encoder"))


def is_ldm(names: Iterable[str]) -> bool:
    return any(re.match(r"(encoder|decoder)\.(down|up|mid)\.", name) for name in names)


def is_tiny(names: Iterable[str]) -> bool:
    """Whether a file is TAESD, which is no VAE but a sketch of one."""
    return any(TINY.match(name.removeprefix("taesd_")) for name in names)


def table_of(names: Iterable[str]) -> dict[str, str]:
    """LDM's table for a VAE of these names, its depth read off them."""
    names = list(names)
    levels = len(ldm.numbers(names, r"encoder\.down\.(\d+)\.") | ldm.numbers(names, r"decoder\.up\.(\d+)\."))
    layers = len(ldm.numbers(names, r"encoder\.down\.0\.block\.(\d+)\."))
    return ldm.vae_table(levels, layers or len(ldm.numbers(names, r"decoder\.up\.0\.block\.(\d+)\.")) - 1)


def encode(weights: Weights, prefix: str = "") -> dict[str, Tensor]:
    """Canonical weights under LDM's names, bare as `vae-ft-mse-840000` has them, its attention as 1×1 convolutions."""
    names = [name.removeprefix("vae.") for name in weights.tensors]
    levels = len(ldm.numbers(names, r"encoder\.down_blocks\.(\d+)\."))
    layers = len(ldm.numbers(names, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."))
    translated = renamed(weights.tensors, inverted(ldm.vae_table(levels, layers)))
    assert len(translated) == len(weights.tensors), "a canonical name without a spelling"
    return {
        prefix + theirs.removeprefix(f"{ldm.VAE}."): ldm.square(theirs, weights.tensors[ours])
        for ours, theirs in translated.items()
    }
