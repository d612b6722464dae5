"""Which programs load a checkpoint: a single file with LDM's names, or a diffusers folder."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from tetrad.errors import TetradError
from tetrad.formats import diffusers, ldm, vae
from tetrad.library.checkpoints import find_network_files
from tetrad.locales import Message, _
from tetrad.models.families import FAMILIES
from tetrad.verification.loras import list_examples, make_verdict
from tetrad.verification.result import READERS, Verdict

_OLD_CLIP = re.compile(r"cond_stage_model\.transformer\.(embeddings|encoder|final_layer_norm)\.")
_FOLDER_FILES = ("model_index.json", "scheduler/scheduler_config.json", "tokenizer")


def judge_checkpoint(family: str, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Verdict]:
    """A verdict for each program on a single file with tensors of these names and shapes."""
    unused = tuple(name for name in shapes if ldm.is_left_over(name))
    if problem := _find_layout_problem(family, shapes):
        yield from (Verdict(reader, "no", problem, unused) for reader in READERS)
        return
    has_vae = bool(vae.find_vae_keys(shapes)[0])
    old_clip = next((name for name in shapes if _OLD_CLIP.match(name)), "")
    for reader in READERS:
        if reader == "diffusers" and old_clip:
            template = _("it does not know the names of 2022 for the text encoder ({key}); convert the file")
            yield Verdict(reader, "no", Message(template, key=old_clip))
        elif not has_vae and reader in ("diffusers", "kohya"):
            yield Verdict(reader, "no", Message(_("it needs a VAE in the file; bake one in with `tetrad vae bake`")))
        elif not has_vae:
            yield Verdict(reader, "partly", Message(_("there is no VAE in the file; choose one there")), unused)
        else:
            yield make_verdict(reader, unused, len(shapes))


def _find_layout_problem(family: str, shapes: Mapping[str, tuple[int, ...]]) -> Message | None:
    """What prevents a network from being built from these tensors: one is missing, left over or of an odd shape."""
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    try:
        weights = ldm.decode(tensors, {"modelspec.prediction_type": "epsilon"}, FAMILIES[family].single_file)
        FAMILIES[family].build(weights, FAMILIES[family].family_title)
    except TetradError as error:
        return error.sentence
    return None


def judge_folder(path: Path) -> Iterator[Verdict]:
    """A verdict for each program on a diffusers folder."""
    for reader in ("A1111", "ComfyUI"):
        yield Verdict(reader, "no", Message(_("it needs a single file, not a diffusers folder; convert it")))
    parts = [part for part in diffusers.FILE_STEMS if part != "text_encoder_2" or (path / part).is_dir()]
    missing = [part for part in parts if not find_network_files(path / part, part)]
    missing += [name for name in _FOLDER_FILES if not (path / name).exists()]
    for reader in ("diffusers", "kohya"):
        if missing:
            template = _("the folder lacks {names}")
            yield Verdict(reader, "no", Message(template, names=list_examples(missing)))
        else:
            yield Verdict(reader, "loads", Message(_("the folder has every part")))
