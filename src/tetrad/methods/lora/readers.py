"""Which programs cannot read a LoRA with such settings, or read it differently."""

from collections.abc import Iterator, Mapping
from typing import Any

from tetrad.locales import Message, _
from tetrad.methods.artifact import ReaderNote
from tetrad.methods.lora.metadata import is_lycoris

_DIFFUSERS_FORMAT = Message(
    _(
        "diffusers and ComfyUI read a LoRA that is saved with save.format = diffusers, but A1111, Forge and kohya's"
        " scripts do not; leave save.format out for a file that all of them read"
    )
)
_MAGNITUDES = Message(
    _(
        "only Tetrad and LyCORIS read a DoRA correctly that is saved with save.format = lycoris: A1111 and Forge spoil"
        " every image with it, ComfyUI changes images, and kohya's scripts and diffusers ignore its magnitudes; leave"
        " save.format out for a plain LoRA that all of them read"
    )
)
_BAKED = Message(
    _(
        "programs disagree on DoRA, so it is saved as a plain LoRA that all of them read; how much is lost by that is"
        " said with each saved file, and save.format = lycoris loses nothing"
    )
)
_COLUMNS = Message(
    _(
        "a DoRA with wd_on_output = false and save.format = lycoris is read by A1111, Forge and ComfyUI, but kohya's"
        " scripts and diffusers ignore its magnitudes"
    )
)
_LYCORIS = Message(
    _(
        "A1111, Forge and ComfyUI read this network, but diffusers does not, and kohya's scripts do only with LyCORIS"
        " (--network_module lycoris.kohya); tetrad convert --to diffusers makes a plain LoRA of the file"
    )
)
_LYCORIS_DORA = Message(
    _(
        "A1111, Forge and ComfyUI take the magnitudes of this DoRA for those of inputs, which spoils every image; train"
        " with method.wd_on_output = false for a file that they read"
    )
)
_OFT_LIMITS = Message(
    _("ComfyUI ignores the trained scales of an OFT (method.rescaled) and reads method.constraint differently")
)
_BAKED_ALL = Message(
    _(
        "diffusers' format holds plain LoRAs only, so the network is saved as one; a note with each saved file"
        " says how much is lost"
    )
)
_SEVERAL_ALPHAS = Message(
    _(
        "diffusers applies a LoRA wrongly if alphas differ between its attention layers, as they do with these ranks"
        " and alphas; give all blocks the same method.alpha, or use save.format = diffusers"
    )
)


def describe_lost_readers(lora: Any, save_format: str) -> Iterator[ReaderNote]:
    """Notes for the start of a run; tests/formats/test_reader_claims.py compares them with what the programs read."""
    if save_format == "diffusers":
        yield ReaderNote(_DIFFUSERS_FORMAT, ("A1111", "kohya"))
        if _has_lycoris_tensors(lora):
            yield ReaderNote(_BAKED_ALL)
        return
    if _has_lycoris_tensors(lora) and not (lora.algorithm == "lora" and lora.dora and save_format == "kohya"):
        yield from _list_lycoris_notes(lora)
    elif lora.dora:
        is_baked = save_format != "lycoris"
        yield ReaderNote(_BAKED) if is_baked else ReaderNote(_MAGNITUDES, ("A1111", "ComfyUI", "kohya", "diffusers"))
    if lora.algorithm == "lora" and not (lora.dora and save_format == "kohya") and _misleads_diffusers(lora):
        yield ReaderNote(_SEVERAL_ALPHAS, ("diffusers",))


def _has_lycoris_tensors(lora: Any) -> bool:
    """Whether some layer has more tensors than those of a plain LoRA or of a DoRA by rows."""
    return is_lycoris(lora) or (lora.dora and not lora.wd_on_output)


def _list_lycoris_notes(lora: Any) -> Iterator[ReaderNote]:
    if not is_lycoris(lora):
        yield ReaderNote(_COLUMNS, ("kohya", "diffusers"))
        return
    yield ReaderNote(_LYCORIS, ("kohya", "diffusers"))
    if lora.algorithm == "oft":
        if lora.rescaled or lora.constraint:
            yield ReaderNote(_OFT_LIMITS, ("ComfyUI",))
    elif lora.dora and lora.wd_on_output:
        yield ReaderNote(_LYCORIS_DORA, ("A1111", "ComfyUI"))


def _misleads_diffusers(lora: Any) -> bool:
    """Whether diffusers 0.42 gives some layers of a kohya file another alpha than theirs.

    It takes the most frequent alpha for all attention layers, and each other layer's own. Attention layers are the most
    frequent ones, unless some blocks are left out.
    """
    alphas = _list_alphas(lora, lora.rank, lora.alpha, lora.block_ranks, lora.block_alphas)
    if not lora.trains_convolutions or 0 not in lora.block_ranks.values():
        return len(alphas) > 1
    conv_alphas = _list_alphas(lora, lora.conv_rank, lora.conv_alpha, lora.conv_block_ranks, lora.conv_block_alphas)
    return len(alphas | conv_alphas) > 1


def _list_alphas(
    lora: Any,
    default_rank: int,
    default_alpha: float | None,
    block_ranks: Mapping[str, int],
    block_alphas: Mapping[str, float],
) -> set[float]:
    """Every alpha that these settings give some layer, as it is saved."""
    alphas: set[float] = set()
    for block in ("", *block_ranks, *block_alphas):
        rank = block_ranks.get(block, default_rank)
        alpha = block_alphas.get(block, rank if default_alpha is None else default_alpha)
        if rank:
            alphas.add(alpha * rank**0.5 if lora.rslora else alpha)
    return alphas
