"""Which programs load a VAE file or folder: A1111's sd_vae.py, ComfyUI's sd.py, kohya's model_util.py, diffusers."""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from tetrad.formats import ldm, vae
from tetrad.locales import Message, _
from tetrad.verification.loras import list_examples, make_verdict
from tetrad.verification.result import Verdict

_DROPPED_BY_A1111 = re.compile(r"loss|model_ema\.(decay|num_updates)$")
_COMFYUI_LDM, _COMFYUI_DIFFUSERS = "decoder.conv_in.weight", "decoder.up_blocks.0.resnets.0.norm1.weight"


def judge_vae(path: Path, names: Collection[str]) -> Iterator[Verdict]:
    """A verdict for each program on a VAE file with tensors of these names, or on the folder that it is in."""
    keys, _unmatched = vae.find_vae_keys(names)
    used = {key.file_key for key in keys}
    leftover = tuple(name for name in names if name not in used)
    has_prefix = not any(name.startswith(("encoder.", "decoder.")) for name in used)
    has_ldm_names = any(re.search(r"(encoder|decoder)\.(down|up|mid)\.", name) for name in used)
    if path.is_dir():
        for reader in ("A1111", "ComfyUI"):
            yield Verdict(reader, "no", Message(_("it needs a single file, not a folder")))
        for reader in ("diffusers", "kohya"):
            yield make_verdict(reader, leftover, len(names))
        return
    yield _judge_a1111(leftover, len(names), has_prefix, has_ldm_names)
    if has_prefix or not {_COMFYUI_LDM, _COMFYUI_DIFFUSERS} & used:
        yield Verdict("ComfyUI", "no", _explain_prefix() if has_prefix else Message(_("it finds no decoder in it")))
    else:
        yield make_verdict("ComfyUI", leftover, len(names))
    yield make_verdict("diffusers", leftover, len(names))
    if has_ldm_names == (path.suffix.lower() == ".bin"):
        template = _("it takes a .bin file for one with diffusers' names, and any other for one with LDM's names")
        yield Verdict("kohya", "no", Message(template))
    else:
        yield make_verdict("kohya", leftover, len(names))


def _judge_a1111(leftover: tuple[str, ...], total: int, has_prefix: bool, has_ldm_names: bool) -> Verdict:
    """A1111 loads strictly: every name must be one of its own, and none may be missing."""
    if has_prefix:
        return Verdict("A1111", "no", _explain_prefix())
    if not has_ldm_names:
        template = _("it needs LDM's names (encoder.down.0.block.0…), but this file has diffusers' names")
        return Verdict("A1111", "no", Message(template))
    if unknown := [name for name in leftover if not _DROPPED_BY_A1111.match(name)]:
        template = _("it stops at names that no VAE has: {examples}")
        return Verdict("A1111", "no", Message(template, examples=list_examples(unknown)))
    return make_verdict("A1111", leftover, total)


def _explain_prefix() -> Message:
    template = _("it needs names without a prefix, but this file has {prefix}")
    return Message(template, prefix=f"{ldm.VAE_PREFIX}.")
