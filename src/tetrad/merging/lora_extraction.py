"""Extracts a LoRA from the difference of two checkpoints, layer by layer from disk."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from tetrad.builtin import BUILTIN_NAME, MODEL_PATH
from tetrad.errors import TetradError
from tetrad.formats.tensors import widen_float8
from tetrad.formats.weight_files import read_tensor_names
from tetrad.library.checkpoints import require_finite
from tetrad.library.hashes import get_file_hash
from tetrad.library.identification import identify
from tetrad.library.outlines import OpenCheckpoint, open_checkpoint
from tetrad.library.vae.bake import check_output_path
from tetrad.locales import Message, _
from tetrad.merging.history import Progress
from tetrad.merging.lora_metadata import describe_origin, inherit_metadata
from tetrad.merging.lora_output import LoraOutput, LoraReport
from tetrad.merging.ranks import RankChoice, count_average_rank, fit_into
from tetrad.methods.lora.combine import CombinedLayer
from tetrad.methods.lora.settings import MAX_RANK
from tetrad.methods.lora.svd import factorize
from tetrad.models.base import Model
from tetrad.models.device import dtype_of
from tetrad.models.families import FAMILIES
from tetrad.models.layer_patterns import LayerPatterns
from tetrad.paths import expand_path

DEFAULT_RANK = 32


@dataclass
class _Extraction:
    """What is collected from the differences of one tensor after the other."""

    layers: dict[str, CombinedLayer] = field(default_factory=dict)
    left_out: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # squared norms by kind


def extract_lora(
    base: str | Path,
    tuned: str | Path,
    out: str | Path,
    *,
    convolutions: bool = True,
    precision: str = "fp16",
    on_start: Progress = lambda total: lambda: None,
    **ranks: float | None,
) -> LoraReport:
    """Write a LoRA of the difference between a tuned checkpoint and its base, with 3×3 convolutions (LoCon) or without.

    `ranks` are the fields of `RankChoice`: rank, conv_rank, energy, max_bytes; without them every layer has at most
    rank 32. Only one layer's difference is in memory at a time, and the factors that are kept.
    Raises E5004 for a LoRA, E5301 for checkpoints of different families, E5302 for different tensors or shapes, E5323
    where no layer of a LoRA differs, and what `open_checkpoint` and `LoraOutput.write` raise.
    """
    output_path = expand_path(out)
    check_output_path(output_path)
    choice = RankChoice(**ranks)  # type: ignore[arg-type]
    choice = RankChoice(DEFAULT_RANK) if choice.is_exact else choice
    _refuse_lora(expand_path(tuned))
    with open_checkpoint(expand_path(base)) as opened, open_checkpoint(expand_path(tuned)) as opened_tuned:
        _check_same_layers(opened, opened_tuned)
        model = opened.build_model()
        itemsize = dtype_of(precision).itemsize
        extraction = _extract(opened, opened_tuned, model, choice, convolutions, itemsize, on_start)
        if not extraction.layers:
            template = _("{tuned} and {base} do not differ in any layer that a LoRA changes; nothing is written")
            raise TetradError("E5323", template, tuned=tuned, base=base)
        notes = tuple(_list_notes(opened, opened_tuned))
        metadata = _build_metadata(opened, opened_tuned, model, choice)
    output = LoraOutput(output_path, model, dtype_of(precision), choice, metadata)
    return replace(output.write(extraction.layers, extraction.left_out), notes=notes)


def _refuse_lora(path: Path) -> None:
    """E5004 for a LoRA, such as that of a run, from which none has to be extracted."""
    if identify(read_tensor_names(path)) == "lora":
        template = _("{path} is a LoRA already; make it smaller with `tetrad resize`, or merge it with others")
        raise TetradError("E5004", template, path=path)


def _extract(
    base: OpenCheckpoint,
    tuned: OpenCheckpoint,
    model: Model,
    ranks: RankChoice,
    convolutions: bool,
    itemsize: int,
    on_start: Progress,
) -> _Extraction:
    kinds = {
        name: _find_kind(name, tensor.ndim, model.layers, convolutions)
        for name, tensor in base.weights.tensors.items()
        if not name.startswith("vae.")
    }
    average_rank = MAX_RANK
    if ranks.max_bytes is not None:
        changed = [
            name
            for name, kind in kinds.items()
            if kind is None and not base.read_tensor(name).equal(tuned.read_tensor(name))
        ]
        shapes = [base.weights.tensors[name].shape for name in changed]
        average_rank = count_average_rank(shapes, ranks.max_bytes, itemsize)
    extraction, on_tensor = _Extraction(), on_start(len(kinds))
    for name, kind in kinds.items():
        difference = _read(tuned, name) - _read(base, name)
        if kind is not None:
            extraction.left_out[kind] += float(difference.double().square().sum())
        elif difference.any():
            limit = ranks.limit_for(difference.shape, average_rank)
            factors = factorize(difference.flatten(1), limit)
            path = name.removesuffix(".weight")
            extraction.layers[path] = CombinedLayer(difference.shape, factors)
            if ranks.max_bytes is not None:  # so that never more is in memory than will be written
                extraction.layers = fit_into(extraction.layers, ranks.max_bytes, itemsize)
        on_tensor()
    return extraction


def _read(checkpoint: OpenCheckpoint, name: str) -> Tensor:
    """A tensor in float32.  E5014 for NaN or Inf."""
    tensor = widen_float8(checkpoint.read_tensor(name)).float()
    require_finite(checkpoint.path, name, tensor)
    return tensor


def _find_kind(name: str, dimensions: int, layers: LayerPatterns, convolutions: bool) -> str | None:
    """Which of the kinds of tensors that the LoRA does not hold a tensor is of; None for one that it holds."""
    path, _dot, tensor_name = name.rpartition(".")
    if tensor_name != "weight":
        return "biases"
    if layers.attention.fullmatch(path) or layers.text.fullmatch(path):
        return None
    if layers.convolutions.fullmatch(path):
        return None if convolutions else "convolutions"
    return "norms" if dimensions == 1 else "other layers"


def _check_same_layers(base: OpenCheckpoint, tuned: OpenCheckpoint) -> None:
    """E5301 for different families, E5302 where a tensor is in only one file or has another shape."""
    titles = [FAMILIES[each.family].family_title for each in (tuned, base)]
    if titles[0] != titles[1]:
        template = _(
            "{tuned} is a {family} checkpoint, but {base} is a {base_family} checkpoint; give the base that it was"
            " trained on"
        )
        values = {"tuned": tuned.path, "family": titles[0], "base": base.path, "base_family": titles[1]}
        raise TetradError("E5301", template, **values)
    shapes, tuned_shapes = (
        {name: tuple(tensor.shape) for name, tensor in each.weights.tensors.items() if not name.startswith("vae.")}
        for each in (base, tuned)
    )
    for name in sorted(shapes.keys() | tuned_shapes.keys()):
        if shapes.get(name) != tuned_shapes.get(name):
            template = _(
                "{tensor} has the shape {found} in {tuned}, but {expected} in {base}; give the base it was trained on"
            )
            missing = Message(_("none"))
            raise TetradError(
                "E5302",
                template,
                tensor=name,
                found=tuned_shapes.get(name, missing),
                tuned=tuned.path,
                expected=shapes.get(name, missing),
                base=base.path,
            )


def _build_metadata(base: OpenCheckpoint, tuned: OpenCheckpoint, model: Model, ranks: RankChoice) -> Mapping[str, str]:
    parents = {base.path: {"role": "base"}, tuned.path: {"role": "tuned"}}
    metadata = inherit_metadata([tuned.metadata], model) | describe_origin("extract lora", parents, ranks.as_record())
    metadata["ss_sd_model_name"] = BUILTIN_NAME if base.path == MODEL_PATH else base.path.name
    if base.path.is_file():
        metadata["ss_new_sd_model_hash"] = get_file_hash(base.path)
    return metadata


def _list_notes(base: OpenCheckpoint, tuned: OpenCheckpoint) -> Iterator[Message]:
    """What a person may not expect: another base than the tuned model's, and a VAE that differs."""
    trained_on = tuned.metadata.get("ss_new_sd_model_hash", "")
    if trained_on and base.path.is_file() and trained_on != get_file_hash(base.path):
        template = _("{tuned} says that it was trained on {model}, which is another file than {base}")
        name = tuned.metadata.get("ss_sd_model_name", trained_on[:10])
        yield Message(template, tuned=tuned.path.name, model=name, base=base.path.name)
    if _have_different_vaes(base, tuned):
        template = _(
            "the VAE of {tuned} is not that of {base}, and no LoRA holds it; write it to a file with tetrad vae extract"
        )
        yield Message(template, tuned=tuned.path.name, base=base.path.name)


def _have_different_vaes(base: OpenCheckpoint, tuned: OpenCheckpoint) -> bool:
    names = (name for name in base.weights.tensors if name.startswith("vae.") and name in tuned.weights.tensors)
    return any(not base.read_tensor(name).float().equal(tuned.read_tensor(name).float()) for name in names)
