"""Extracts a LoRA from the difference of two checkpoints, layer by layer from disk."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from tetrad.builtin import BUILTIN_NAME, MODEL_PATH
from tetrad.errors import TetradError
from tetrad.library.checkpoints import DTYPES, check_finite
from tetrad.library.hashes import get_file_hash
from tetrad.library.vae.bake import check_output_path
from tetrad.locales import Message, _
from tetrad.merging.checkpoint import OpenCheckpoint, open_checkpoint
from tetrad.merging.lora_metadata import describe_origin, inherit_metadata
from tetrad.merging.lora_output import LoraOutput, LoraReport
from tetrad.merging.ranks import RankChoice, count_average_rank, fit_into
from tetrad.methods.lora.combine import CombinedLayer
from tetrad.methods.lora.settings import MAX_RANK
from tetrad.methods.lora.svd import factorize
from tetrad.models.base import LayerPatterns, Model
from tetrad.models.families import FAMILIES
from tetrad.weights import Weights

DEFAULT_RANK = 64


@dataclass(frozen=True)
class Extracted:
    """The report on the file, and what a person should know."""

    report: LoraReport
    warnings: tuple[Message, ...]


@dataclass
class _Extraction:
    """What is collected from the differences of one tensor after the other."""

    layers: dict[str, CombinedLayer] = field(default_factory=dict)
    left_out: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # squared norms by kind


def extract_lora(
    base_path: Path,
    tuned_path: Path,
    output_path: Path,
    ranks: RankChoice | None = None,
    convolutions: bool = False,
    precision: str = "fp16",
    on_tensor: Callable[[int, int], None] = lambda done, total: None,
) -> Extracted:
    """Write a LoRA (with `convolutions` a LoCon) of the difference between a tuned checkpoint and its base.

    Without `ranks` every layer has at most rank 64. Only one layer's difference is in memory at a time, and the factors
    that are kept. Raises E5320 for checkpoints of different families, E5329 for different tensors or shapes, E5330
    where no layer of a LoRA differs, and what `open_checkpoint` and `LoraOutput.write` raise.
    """
    check_output_path(output_path)
    ranks = RankChoice(DEFAULT_RANK) if ranks is None or ranks.is_exact else ranks
    convolutions = convolutions or ranks.conv_rank is not None
    with open_checkpoint(base_path) as base, open_checkpoint(tuned_path) as tuned:
        _check_same_layers(base, tuned)
        model = base.build_model()
        extraction = _extract(base, tuned, model, ranks, convolutions, DTYPES[precision].itemsize, on_tensor)
        if not extraction.layers:
            template = _("{tuned} and {base} do not differ in any layer that a LoRA changes; nothing is written")
            raise TetradError("E5330", template, tuned=tuned_path, base=base_path)
        vae_differs = _have_different_vaes(base, tuned)
        metadata = _build_metadata(base, tuned, model, ranks)
    output = LoraOutput(output_path, model, DTYPES[precision], ranks, metadata)
    left_out = {kind: squares**0.5 for kind, squares in extraction.left_out.items()}
    report = output.write(extraction.layers, left_out)
    return Extracted(report, tuple(_list_warnings(base, tuned, vae_differs)))


def _extract(
    base: OpenCheckpoint,
    tuned: OpenCheckpoint,
    model: Model,
    ranks: RankChoice,
    convolutions: bool,
    itemsize: int,
    on_tensor: Callable[[int, int], None],
) -> _Extraction:
    kinds = {
        name: _find_kind(name, tensor.ndim, model.layers, convolutions)
        for name, tensor in base.shapes.tensors.items()
        if not name.startswith("vae.")
    }
    average_rank = MAX_RANK
    if ranks.max_bytes is not None:
        changed = [name for name, kind in kinds.items() if kind is None and not base.read(name).equal(tuned.read(name))]
        shapes = [base.shapes.tensors[name].shape for name in changed]
        average_rank = count_average_rank(shapes, ranks.max_bytes, itemsize)
    extraction = _Extraction()
    for done, (name, kind) in enumerate(kinds.items(), 1):
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
        on_tensor(done, len(kinds))
    return extraction


def _have_different_vaes(base: OpenCheckpoint, tuned: OpenCheckpoint) -> bool:
    names = (name for name in base.shapes.tensors if name.startswith("vae.") and name in tuned.shapes.tensors)
    return any(not base.read(name).float().equal(tuned.read(name).float()) for name in names)


def _read(checkpoint: OpenCheckpoint, name: str) -> Tensor:
    """A tensor in float32.  E5014 for NaN or Inf."""
    tensor = checkpoint.read(name).float()
    check_finite(checkpoint.path, Weights("checkpoint", {name: tensor}))
    return tensor


def _find_kind(name: str, dimensions: int, layers: LayerPatterns, convolutions: bool) -> str | None:
    """Which of the kinds of tensors that the LoRA does not hold a tensor is of; None for one that it holds."""
    path, _dot, tensor_name = name.rpartition(".")
    if tensor_name != "weight":
        return _("biases")
    if layers.attention.fullmatch(path) or layers.text.fullmatch(path):
        return None
    if layers.convolutions.fullmatch(path):
        return None if convolutions else _("convolutions")
    return _("norms") if dimensions == 1 else _("other layers")


def _check_same_layers(base: OpenCheckpoint, tuned: OpenCheckpoint) -> None:
    """E5320 for different families, E5329 where a tensor is in only one file or has another shape."""
    if base.family != tuned.family:
        titles = [FAMILIES[each.family].family_title for each in (tuned, base)]
        template = _("{tuned} is a {family} checkpoint, but {base} is a {base_family} checkpoint; give the base it was trained on")
        values = {"tuned": tuned.path, "family": titles[0], "base": base.path, "base_family": titles[1]}
        raise TetradError("E5320", template, **values)
    shapes, tuned_shapes = (
        {name: tuple(tensor.shape) for name, tensor in each.shapes.tensors.items() if not name.startswith("vae.")}
        for each in (base, tuned)
    )
    for name in sorted(shapes.keys() | tuned_shapes.keys()):
        if shapes.get(name) != tuned_shapes.get(name):
            template = _("{tensor} has the shape {found} in {tuned}, but {expected} in {base}; give the base it was trained on")
            missing = Message(_("none"))
            raise TetradError(
                "E5329",
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


def _list_warnings(base: OpenCheckpoint, tuned: OpenCheckpoint, vae_differs: bool) -> list[Message]:
    warnings = []
    trained_on = tuned.metadata.get("ss_new_sd_model_hash", "")
    if trained_on and base.path.is_file() and trained_on != get_file_hash(base.path):
        template = _("{tuned} says that it was trained on {model}, which is another file than {base}")
        name = tuned.metadata.get("ss_sd_model_name", trained_on[:10])
        warnings.append(Message(template, tuned=tuned.path.name, model=name, base=base.path.name))
    if vae_differs:
        template = _("the VAE of {tuned} differs from the base's, and no LoRA holds it; write it out with tetrad vae extract")
        warnings.append(Message(template, tuned=tuned.path.name))
    return warnings
