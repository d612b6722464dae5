"""Whether a file changes anything: how large a LoRA's ΔW, a hypernetwork's addition and an embedding's vectors are."""

from collections.abc import Mapping
from statistics import median

import torch
from torch import Tensor

from tetrad.comparison import BlockDifference, Difference, LoraFile
from tetrad.diffusion.randomness import generator
from tetrad.formats import a1111
from tetrad.formats.weight_files import WeightFile
from tetrad.locales import Message, _, ngettext
from tetrad.methods.hypernetwork.weights import build_free_networks
from tetrad.methods.lora.layer import weight_of
from tetrad.models.base import Model
from tetrad.models.tokenizer import load_tokenizer
from tetrad.verification.result import Finding
from tetrad.weights import Weights

LABEL = _("effect")
_NEAR_ZERO = 1e-4  # of what is changed; float16 rounds by up to 5e-4
_NEAR_ZERO_CHANGE = 1e-6  # root mean square of ΔW, where W is not known; that of W is mostly 0.01 to 0.1
_SAMPLES = 64  # random inputs of a hypernetwork
_DOMINATING = 3  # vectors this many times as long as the longest of the vocabulary dominate a prompt
_UNTRAINED = 1e-3  # distance from a token's vector, as a share of its length


def measure_lora(lora: LoraFile) -> tuple[Finding, dict[str, float]]:
    """How much a LoRA changes, and ‖ΔW‖ / ‖W‖ of each layer, or the root mean square of ΔW without a base model.

    E5102 where the tensors of a layer do not fit.
    """
    sizes, unknown = dict[str, float](), 0
    for path in lora.layers:
        change = lora.compute_change(path)
        if change is None:
            unknown += 1
        else:
            sizes[path] = _relative_size(change, lora.get_weight(path))
    if not sizes:
        template = _("only the base model's weights show what it changes; give the base model with --base")
        return Finding(LABEL, "ok" if unknown else "warn", Message(template)), {}
    return _describe_sizes(sizes, lora), sizes


def _relative_size(change: Tensor, weight: Tensor | None) -> float:
    if weight is None:
        return float(change.square().mean().sqrt())
    return float(torch.linalg.vector_norm(change) / torch.linalg.vector_norm(weight).clamp(min=1e-12))


def _describe_sizes(sizes: Mapping[str, float], lora: LoraFile) -> Finding:
    largest = max(sizes, key=lambda path: sizes[path])
    zero = sum(not size for size in sizes.values())
    values = {"middle": median(sizes.values()), "largest": sizes[largest], "layer": largest, "zero": zero}
    if zero == len(sizes):
        return Finding(LABEL, "warn", Message(_("none: every change is zero, as before training")))
    if sizes[largest] < (_NEAR_ZERO if lora.has_base_weights else _NEAR_ZERO_CHANGE):
        relative = _("almost none: no layer's weights change by more than {largest:.1e} of their size ({layer})")
        absolute = _("almost none: the largest root mean square of a ΔW is {largest:.1e} ({layer})")
        return Finding(LABEL, "warn", Message(relative if lora.has_base_weights else absolute, **values))
    relative = ngettext(
        "changes the weights of {count} layer by {middle:.3%} of their size",
        "changes the weights of {count} layers by {middle:.3%} of their size (median) and up to {largest:.3%}"
        " ({layer}); {zero} are not changed",
        len(sizes),
    )
    absolute = ngettext(
        "changes {count} layer; the root mean square of ΔW is {middle:.1e}",
        "changes {count} layers; the root mean square of ΔW is {middle:.1e} (median) and up to {largest:.1e}"
        " ({layer}); {zero} are not changed",
        len(sizes),
    )
    return Finding(LABEL, "ok", Message(relative if lora.has_base_weights else absolute, **values))


def measure_hypernetwork(file: WeightFile) -> Finding:
    """How long the addition of each network is, relative to random inputs.  E5108 for a damaged file."""
    weights, _unmatched = a1111.decode_hypernetwork(file)
    shares = {}
    for name, network in build_free_networks(weights).items():
        x = torch.randn(_SAMPLES, int(name.partition(".")[0]), generator=generator(0, 0, "verify"))
        with torch.no_grad():
            shares[name] = float(torch.linalg.vector_norm(network(x)) / torch.linalg.vector_norm(x))
    values = {"lowest": min(shares.values()), "highest": max(shares.values())}
    if not values["highest"]:
        return Finding(LABEL, "warn", Message(_("none: it adds nothing to its inputs, as before training")))
    if values["highest"] < _NEAR_ZERO:
        template = _("almost none: it adds at most {highest:.1e} of its inputs' length to them")
        return Finding(LABEL, "warn", Message(template, **values))
    template = _("adds {lowest:.2%} to {highest:.2%} of its inputs' length to them (random inputs)")
    return Finding(LABEL, "ok", Message(template, **values))


def measure_embedding(weights: Weights, base: Model | None) -> Finding:
    """The lengths of an embedding's vectors, compared with those of the base model's vocabulary."""
    lengths = torch.cat([each.float().norm(dim=1) for each in weights.tensors.values()])
    values = {"lowest": float(lengths.min()), "highest": float(lengths.max())}
    if not values["highest"]:
        return Finding(LABEL, "warn", Message(_("none: all its vectors are zero")))
    if base is None:
        return Finding(LABEL, "ok", Message(_("its vectors are {lowest:.3g} to {highest:.3g} long"), **values))
    tables = {text.name: weight_of(text.token_embedding).detach().float() for text in base.text_encoders}
    usual = torch.cat([table.norm(dim=1) for table in tables.values()])
    values |= {"shortest": float(usual.quantile(0.01)), "longest": float(usual.quantile(0.99))}
    if token := _find_same_token(weights, tables):
        template = _("almost none: its vectors are those of the word '{token}' of {model}, as before training")
        return Finding(LABEL, "warn", Message(template, token=token, model=base.name))
    template = _(
        "its vectors are {lowest:.3g} to {highest:.3g} long; those of the vocabulary of {model} are mostly"
        " {shortest:.3g} to {longest:.3g}"
    )
    if values["highest"] > _DOMINATING * values["longest"]:
        template = _(
            "its vectors are {lowest:.3g} to {highest:.3g} long, far longer than those of the vocabulary of {model},"
            " {shortest:.3g} to {longest:.3g}: it will outweigh the other words of a prompt"
        )
        return Finding(LABEL, "warn", Message(template, model=base.name, **values))
    return Finding(LABEL, "ok", Message(template, model=base.name, **values))


def _find_same_token(weights: Weights, tables: Mapping[str, Tensor]) -> str:
    """The token whose vector the first vector of each text encoder still is; "" where it was trained."""
    tokens = set()
    for name, table in tables.items():
        vector = weights.tensors[name][:1].float()
        distances = torch.cdist(vector, table)[0]
        nearest = int(distances.argmin())
        if float(distances[nearest]) > _UNTRAINED * float(vector.norm()):
            return ""
        tokens.add(nearest)
    return str(load_tokenizer().convert_ids_to_tokens(tokens.pop())).removesuffix("</w>")


def describe_difference(difference: Difference) -> Finding:
    """How much a checkpoint differs from its base."""
    total, base = difference.total, difference.paths[0]
    if difference.is_identical or difference.has_same_weights:
        return Finding(LABEL, "warn", Message(_("none: every tensor is the same as in {base}"), base=base))
    return _describe_share(total, base)


def measure_vae(weights: Weights, base_weights: Weights, base: str) -> Finding:
    """How much a VAE differs from that of a base model.  Tensors that only one of them has are left out."""
    total = BlockDifference("")
    for name, tensor in base_weights.tensors.items():
        if name in weights.tensors and weights.tensors[name].shape == tensor.shape:
            old, new = tensor.float(), weights.tensors[name].float()
            total.add(float((old - new).square().sum()), float(old.square().sum()))
    if not total.different:
        return Finding(LABEL, "warn", Message(_("none: every tensor is the same as in {base}"), base=base))
    return _describe_share(total, base)


def _describe_share(total: BlockDifference, base: str) -> Finding:
    values = {"base": base, "different": total.different, "total": total.compared, "share": total.relative}
    if total.relative < _NEAR_ZERO:
        template = _("almost none: {different} of {total} tensors differ from {base}, by {share:.1e} of their size")
        return Finding(LABEL, "warn", Message(template, **values))
    template = _("{different} of {total} tensors differ from {base}, by {share:.3%} of their size")
    return Finding(LABEL, "ok", Message(template, **values))
