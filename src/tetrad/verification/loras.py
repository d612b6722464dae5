"""Which programs load a LoRA, LoHa, LoKr, OFT or DoRA: by their names for layers and the tensors that they know.

Rules as in A1111 1.10 (extensions-builtin/Lora), ComfyUI (comfy/lora.py, comfy/weight_adapter) and kohya's
networks/lora.py; of diffusers its own conversion is run.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from torch import Tensor

from tetrad.formats import bundles, peft
from tetrad.formats.weight_files import WeightFile
from tetrad.locales import Message, _, ngettext
from tetrad.methods.lora import lycoris
from tetrad.methods.lora.weights import named_layers
from tetrad.models.base import Model, denoiser_of
from tetrad.verification.layer_names import list_a1111_names, list_comfyui_names, list_kohya_names
from tetrad.verification.result import Verdict

_PLAIN = (".lora_down.weight", ".lora_up.weight")
_LYCORIS = (
    *(f".hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
    *(f".lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
    *(".diff", ".w_norm", ".oft_blocks", ".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight"),
)
_EXTRAS = (".alpha", ".lora_mid.weight", ".dora_scale", ".diff_b", ".b_norm", ".rescale")
_NEW_NAMES = (".lora_A.weight", ".lora_B.weight")
_DORA = ".dora_scale"


@dataclass(frozen=True)
class _Rule:
    """How a program finds tensors: its names for layers, and how the names of tensors end that it knows."""

    list_names: Callable[[Model], set[str]]
    makes_change: tuple[str, ...]  # a layer needs one of these
    belongs_to_change: tuple[str, ...]  # and may have these
    refuses_other_tensors: bool = False  # a layer without one of `makes_change` stops it


_RULES = {
    "A1111": _Rule(
        list_a1111_names,
        (*_PLAIN, *_NEW_NAMES, *_LYCORIS, ".oft_diag", ".weight"),  # the last is (IA)³'s
        (*_EXTRAS, ".scale", ".on_input"),
        refuses_other_tensors=True,
    ),
    "ComfyUI": _Rule(
        list_comfyui_names,
        (
            *(*_PLAIN, *_NEW_NAMES, *_LYCORIS, "_lora.down.weight", "_lora.up.weight"),
            *(".lora_A.default.weight", ".lora_B.default.weight", ".lora.down.weight", ".lora.up.weight"),
            *(".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight", ".set_weight"),
        ),
        (*_EXTRAS, ".reshape_weight"),
    ),
    "kohya": _Rule(list_kohya_names, _PLAIN, (".alpha",)),
}


def judge_lora(file: WeightFile, model: Model) -> Iterator[Verdict]:
    """A verdict for each program, for a model with these layers."""
    for reader, rule in _RULES.items():
        yield _judge_by_rule(reader, rule, file.tensors, model)
    yield _judge_diffusers(file.tensors, model)


def _judge_by_rule(reader: str, rule: _Rule, tensors: Mapping[str, Tensor], model: Model) -> Verdict:
    names = rule.list_names(model)
    suffixes = sorted((*rule.makes_change, *rule.belongs_to_change), key=len, reverse=True)
    layers: dict[str, set[str]] = {}  # the endings of each layer's tensors
    used = set()
    for key in tensors:
        suffix = next((each for each in suffixes if key.endswith(each) and key[: -len(each)] in names), "")
        if suffix:
            layers.setdefault(key.removesuffix(suffix), set()).add(suffix)
            used.add(key)
        elif reader == "A1111" and bundles.list_words([key]):
            used.add(key)
    unchanging = {name for name, found in layers.items() if not found & set(rule.makes_change)}
    if unchanging and rule.refuses_other_tensors:
        template = _("it stops with an error at {layer}, which has no tensors of an algorithm that it knows")
        return Verdict(reader, "no", Message(template, layer=min(unchanging)))
    used -= {key for key in used if any(key == name + end for name in unchanging for end in layers[name])}
    ignored = tuple(key for key in tensors if key not in used)
    if not set(layers) - unchanging:
        return _no_key_verdict(reader, ignored, tensors)
    if message := _find_misread_dora(reader, tensors, used) or _find_misread_oft(reader, tensors):
        return Verdict(reader, "differently", message, ignored)
    return make_verdict(reader, ignored, len(tensors))


def _no_key_verdict(reader: str, ignored: tuple[str, ...], tensors: Mapping[str, Tensor]) -> Verdict:
    """That nothing of a file has an effect in a program, and why."""
    if reader == "kohya" and any(key.endswith(_LYCORIS) for key in tensors):
        template = _(
            "networks.lora reads plain LoRA only, so nothing of this file has an effect; with LyCORIS installed,"
            " --network_module lycoris.kohya reads it"
        )
    elif any(
        key.endswith(tuple(f".{name}" for name in peft.TENSOR_NAMES_BY_SUFFIX if name != "alpha")) for key in tensors
    ):
        template = _(
            "it does not know diffusers' names, such as {key}, so nothing of this file has an effect there; convert it"
            " to kohya's format"
        )
    else:
        template = _("it knows none of the {count:,} keys (the first is {key}), so the file has no effect there")
    return Verdict(reader, "no", Message(template, count=len(tensors), key=next(iter(tensors))), ignored)


def make_verdict(reader: str, ignored: tuple[str, ...], total: int) -> Verdict:
    """That a program loads a file, and how many keys it ignores."""
    if not ignored:
        template = ngettext("it uses the only key", "it uses all {count} keys", total)
        return Verdict(reader, "loads", Message(template))
    template = ngettext(
        "it ignores {count} of {total} keys: {examples}", "it ignores {count} of {total} keys: {examples}", len(ignored)
    )
    return Verdict(reader, "partly", Message(template, total=total, examples=list_examples(ignored)), ignored)


def list_examples(names: Collection[str]) -> str:
    """The first three names."""
    shown = ", ".join(list(names)[:3])
    return f"{shown}, …" if len(names) > 3 else shown


def _find_misread_dora(reader: str, tensors: Mapping[str, Tensor], used: Collection[str]) -> Message | None:
    """What a program computes instead of a DoRA, where it does."""
    magnitudes = [key for key in tensors if key.endswith(_DORA)]
    if not magnitudes:
        return None
    if not set(magnitudes) & set(used):
        return Message(_("it ignores the magnitudes of this DoRA (dora_scale), so it computes another change"))
    if any(lycoris.norm_axis(tensors[key]) == 0 for key in magnitudes):
        template = _("it applies the magnitudes of this DoRA wrongly, because there is one for each output")
        return Message(template)
    return None


def _find_misread_oft(reader: str, tensors: Mapping[str, Tensor]) -> Message | None:
    """What ComfyUI computes instead of an OFT with scales, or with a constraint that limits its rotations."""
    if reader != "ComfyUI":
        return None
    if any(key.endswith(".rescale") for key in tensors):
        return Message(_("it ignores the scales of this OFT (rescale)"))
    for key, blocks in tensors.items():
        constraint = float(tensors.get(f"{key.removesuffix('.oft_blocks')}.alpha", 0.0))
        if key.endswith(".oft_blocks") and 0 < constraint < (blocks - blocks.transpose(-1, -2)).float().norm():
            return Message(_("it limits the rotations of this OFT more, because it reads the constraint differently"))
    return None


def _judge_diffusers(tensors: Mapping[str, Tensor], model: Model) -> Verdict:
    """What diffusers' own conversion makes of a file, and which of the names that it gives are layers."""
    try:
        converted, alphas = _convert_as_diffusers(tensors, model)
    except (ValueError, KeyError, AttributeError, IndexError) as error:
        template = _("it stops with an error: {reason}")
        return Verdict("diffusers", "no", Message(template, reason=" ".join(str(error).split())[:160]))
    layers = [layer for layer, _module in named_layers(model)]
    weights, unmatched = peft.decode(converted, layers, {})
    if not any(name.endswith(".down") for name in weights.tensors):
        return _no_key_verdict("diffusers", tuple(tensors), tensors)
    if any(key.endswith(_DORA) for key in tensors):
        message = _find_misread_dora("diffusers", tensors, set())
        assert message is not None
        return Verdict("diffusers", "differently", message, tuple(key for key in tensors if key.endswith(_DORA)))
    if layer := _find_wrong_alpha(alphas):
        template = _("it gives {layer} the alpha of other layers, because alphas differ between attention layers")
        return Verdict("diffusers", "differently", Message(template, layer=layer))
    return make_verdict("diffusers", tuple(unmatched), len(tensors))


def _convert_as_diffusers(tensors: Mapping[str, Tensor], model: Model) -> tuple[dict[str, Any], dict[str, float]]:
    """A file's tensors by diffusers' names, and the alphas that it found.  Raises what diffusers raises."""
    with _without_warnings():
        if len(model.single_file.text_encoders) > 1:
            denoiser: Any = denoiser_of(model)
            config = denoiser.config
            converted, alphas = StableDiffusionXLLoraLoaderMixin.lora_state_dict(dict(tensors), unet_config=config)
        else:
            converted, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(dict(tensors))
    return converted, alphas or {}


@contextmanager
def _without_warnings() -> Iterator[None]:
    """diffusers warns in its log about what the verdict says."""
    logger = logging.getLogger("diffusers.loaders.lora_pipeline")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _find_wrong_alpha(alphas: Mapping[str, float]) -> str:
    """An attention layer of the U-Net that gets another alpha than its own: all of them get its most frequent one."""
    of_unet = {name: alpha for name, alpha in alphas.items() if name.startswith("unet.")}
    usual = Counter(of_unet.values()).most_common(1)
    return next((name for name, alpha in of_unet.items() if alpha != usual[0][0] and "processor" in name), "")
