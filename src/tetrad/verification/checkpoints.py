"""Which programs load a checkpoint: a single file with LDM's names, or a diffusers folder."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from tetrad.errors import TetradError
from tetrad.formats import diffusers, ldm, vae
from tetrad.library.checkpoints import find_network_files
from tetrad.locales import Message, _, ngettext
from tetrad.models.base import Model
from tetrad.models.checks import PURPOSES
from tetrad.verification.loras import list_examples, make_verdict
from tetrad.verification.result import READERS, Verdict

_OLD_CLIP = re.compile(r"cond_stage_model\.transformer\.(embeddings|encoder|final_layer_norm)\.")
_FIRST_LAYER = f"{ldm.UNET_PREFIX}.input_blocks.0.0.weight"  # (320, channels, 3, 3)
_EMA_PREFIX = "model_ema."
_FOLDER_FILES = ("model_index.json", "scheduler/scheduler_config.json", "tokenizer")


def judge_checkpoint(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Verdict]:
    """A verdict for each program on a single file with tensors of these names and shapes, for a model of its family."""
    unused = tuple(name for name in shapes if ldm.is_left_over(name))
    first_width, channels, *_kernel = shapes.get(_FIRST_LAYER, (0, model.channels))
    usual = shapes if channels == model.channels else {**shapes, _FIRST_LAYER: (first_width, model.channels, 3, 3)}
    if problem := _find_layout_problem(model, usual):
        yield from (Verdict(reader, "no", problem, unused) for reader in READERS)
        return
    if channels != model.channels:
        yield from _judge_other_purpose(channels, unused, len(shapes))
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
            yield _judge_unused(reader, unused, len(shapes))


def _judge_unused(reader: str, unused: tuple[str, ...], total: int) -> Verdict:
    """That a program loads a file; EMA weights are left out by all of them, which loses nothing."""
    if unused and all(name.startswith(_EMA_PREFIX) for name in unused):
        template = ngettext(
            "it leaves out {count} EMA tensor, which only training needs",
            "it leaves out {count} EMA tensors, which only training needs",
            len(unused),
        )
        return Verdict(reader, "loads", Message(template), unused)
    return make_verdict(reader, unused, total)


def _judge_other_purpose(channels: int, unused: tuple[str, ...], total: int) -> Iterator[Verdict]:
    """A U-Net with more input channels, such as an inpainting model: web UIs load it, trainers of LoRAs do not."""
    for reader in ("A1111", "ComfyUI", "diffusers"):
        yield make_verdict(reader, unused, total)
    template = _("it trains U-Nets with 4 input channels only, and this one has {channels}: it is {purpose}")
    purpose = Message(PURPOSES.get(channels, _("a model for another purpose")))
    yield Verdict("kohya", "no", Message(template, channels=channels, purpose=purpose))


def _find_layout_problem(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> Message | None:
    """What keeps the networks of a model from being filled with these tensors: one is missing, left over or misshaped.

    Programs build networks of the released sizes, so a file of another size does not fit either.
    """
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    try:
        found = ldm.decode(tensors, {}, model.single_file).tensors
    except TetradError as error:
        return error.sentence
    expected = {
        f"{part}.{name}": tensor
        for part, network in model.parts().items()
        for name, tensor in network.state_dict().items()
    }
    for name, tensor in expected.items():
        if name not in found:
            return Message(_("the tensor {tensor} is missing"), tensor=name)
        if found[name].shape != tensor.shape:
            template = _("the tensor {tensor} has the shape {shape}, but {model} has {expected} there")
            shapes_shown = {"shape": tuple(found[name].shape), "expected": tuple(tensor.shape)}
            return Message(template, tensor=name, model=model.name, **shapes_shown)
    extra = [name for name in found if name not in expected and not name.startswith("vae.")]
    return Message(_("{model} has no tensor {tensor}"), model=model.name, tensor=extra[0]) if extra else None


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
