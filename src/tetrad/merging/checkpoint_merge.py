"""Merge checkpoints into a new one, tensor by tensor from disk."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.formats.atomic_write import write_atomically
from tetrad.formats.tensor_writer import check_free_space
from tetrad.library.configurations import list_configurations
from tetrad.library.vae.bake import check_output_path
from tetrad.locales import Message, _
from tetrad.merging.choices import METHODS, CheckpointMerge, MergeMethod
from tetrad.merging.history import Progress, build_metadata, write_with_history
from tetrad.merging.merged_tensors import MergedTensors
from tetrad.merging.parents import (
    open_parents,
)
from tetrad.paths import expand_path


@dataclass(frozen=True)
class MergedCheckpoint:
    """The file that a merge has written, and what was done that a person may not expect."""

    path: Path
    notes: list[Message] = field(default_factory=list)


def merge_checkpoints(
    models: Sequence[str | Path],
    out: str | Path,
    *,
    weights: Sequence[float | None] = (),
    weight: float | None = None,
    base: str | Path | None = None,
    block_weights: str = "",
    on_start: Progress = lambda total: lambda: None,
    **choices: str | float,
) -> MergedCheckpoint:
    """Merge checkpoints of one family into a new .safetensors file.

    `weights` has the weight of each model, `weight` that of all without one; `block_weights` is a preset, a list or
    names with numbers, for two models (and a base). `choices` are the fields of `CheckpointMerge`: method,
    text_encoder, vae, density, seed, precision. All sums are computed in float32.

    Raises E3301 … E3303 for values that cannot be used, E5301 … E5303 for models that do not fit together or a result
    that the precision cannot hold, E5014 for NaN in a model, E5210 for an output path that cannot be used, E4204 where
    the disk is too small.
    """
    chosen = CheckpointMerge(**choices)  # type: ignore[arg-type]
    method = METHODS[chosen.method]
    if weights and len(weights) != len(models):
        template = _("there are {weights} weights for {models} models; give one for each model")
        raise TetradError("E3301", template, weights=len(weights), models=len(models))
    resolved = method.resolve_weights(list(weights) or [None] * len(models), weight)
    _check_base(method, base)
    paths, out = [expand_path(model) for model in models], expand_path(out)
    base_path = expand_path(base) if base else None
    configurations = {out.with_suffix(each.suffix): each for each in list_configurations(paths[0])}
    check_out(out, [*paths, *([base_path] if base_path else [])], configurations)
    with open_parents(paths, base_path) as (parents, opened_base):
        merge = MergedTensors(parents, opened_base, resolved, chosen, block_weights)
        layouts = merge.layouts()
        check_free_space(out, sum(layout.nbytes for layout in layouts.values()))
        describe = partial(build_metadata, out, parents, opened_base, resolved, merge.blocks, chosen)
        files = [parent.path for parent in merge.everyone.values()]
        write_with_history(out, layouts, merge.compute, describe, files, on_start, workers=merge.workers)
        notes = merge.describe()
    return MergedCheckpoint(out, [*notes, *copy_configurations(configurations)])


def copy_configurations(configurations: Mapping[Path, Path]) -> list[Message]:
    """Copy the configurations beside a model, by their new paths, since they say what it predicts; a note for each."""
    for copy, configuration in configurations.items():
        write_atomically(copy, configuration.read_bytes())
    template = _("{configuration} is copied to {copy}")
    return [Message(template, configuration=old.name, copy=copy.name) for copy, old in configurations.items()]


def _check_base(method: MergeMethod, base: str | Path | None) -> None:
    """E3301 where a base is missing or has no effect."""
    if base and not method.adds_differences:
        template = _("a base has no effect on {method}; leave it out, or use add-difference, ties or dare")
        raise TetradError("E3301", template, method=method.title)
    if method.needs_base and not base:
        template = _("{method} computes A + (B − C)·M and needs C, the model that B was made from; give it with --base")
        raise TetradError("E3301", template, method=method.title)


def check_out(out: Path, paths: Sequence[Path], configurations: Iterable[Path]) -> None:
    """E5210 where the result cannot be written there."""
    if any(path.exists() and out.exists() and path.samefile(out) for path in paths):
        template = _("{path} is one of the models that are merged; choose another name with --out")
        raise TetradError("E5210", template, path=out)
    check_output_path(out)
    for configuration in configurations:
        check_output_path(configuration, configuration.suffix)
