"""Compare two files: tensor by tensor, or for two LoRAs the changes that they make."""

import filecmp
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tetrad.builtin import resolve_model_path
from tetrad.comparison.blocks import block_order, make_block_finder
from tetrad.comparison.lora_changes import LoraFile, read_lora
from tetrad.comparison.named_tensors import NamedTensors, open_named_tensors
from tetrad.comparison.result import BlockDifference, Difference
from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.formats.deferred_tensors import compute_tensor
from tetrad.library.checkpoints import load_model
from tetrad.library.identification import title_of
from tetrad.locales import Message, _, ngettext
from tetrad.models.base import Model


def diff(a: str | Path, b: str | Path, *, base: str | Path = "") -> Difference:
    """What differs between two weight files or diffusers folders of one type, and how much.

    `base` is the checkpoint that two LoRAs are for: only a DoRA or an OFT needs it. Raises E5491 for files of different
    types or families, E5492 for a DoRA or an OFT without a base, and what reading them raises.
    """
    paths = resolve_model_path(str(a)), resolve_model_path(str(b))
    with open_named_tensors(paths[0]) as first, open_named_tensors(paths[1]) as second:
        _check_types(paths, first, second)
        difference = Difference((str(paths[0]), str(paths[1])), (_title(first), _title(second)))
        difference.metadata = _compare_metadata(first.metadata, second.metadata)
        if paths[0].is_file() and paths[1].is_file() and filecmp.cmp(*paths, shallow=False):
            difference.is_identical = True
        elif first.type == second.type == "lora":
            _compare_loras(difference, paths, load_model(str(base)) if base else None)
        else:
            _compare_tensors(difference, first.tensors, second.tensors)
    difference.blocks.sort(key=lambda each: block_order(each.block))
    return difference


def _title(file: NamedTensors) -> Message:
    return title_of(file.detected_type)


def _check_types(paths: tuple[Path, Path], first: NamedTensors, second: NamedTensors) -> None:
    """E5491 where the files are of different types, or the checkpoints of different families."""
    if first.detected_type != second.detected_type:
        template = _("{a} is {type_a} and {b} is {type_b}; give two files of the same type and family")
        names = {"a": paths[0], "b": paths[1], "type_a": _title(first), "type_b": _title(second)}
        raise TetradError("E5491", template, **names)


def _compare_metadata(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """The values of the keys that differ."""
    keys = sorted(first.keys() | second.keys())
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}


def _compare_tensors(
    difference: Difference,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
) -> None:
    """Compare the tensors that both have, each read once."""
    difference.only_in = _list_missing(first, second)
    common = [name for name in first if name in second]
    find_block, blocks = make_block_finder(common), dict[str | Message, BlockDifference]()
    for name in common:
        old, new = first[name], second[name]
        if old.dtype != new.dtype:
            dtypes = str(old.dtype).removeprefix("torch."), str(new.dtype).removeprefix("torch.")
            difference.dtypes[dtypes] = difference.dtypes.get(dtypes, 0) + 1
        tensors = compute_tensor(old), compute_tensor(new)
        if not _have_same_shape(tensors[0], tensors[1]):
            difference.shapes[name] = tuple(tensors[0].shape), tuple(tensors[1].shape)
        elif measured := _measure(tensors[0], tensors[1].reshape(tensors[0].shape)):
            block = find_block(name)
            blocks.setdefault(block, BlockDifference(block)).add(*measured)
        else:
            difference.not_finite.append(name)
    difference.blocks = list(blocks.values())


def _list_missing(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names that only the first has, and those that only the second has."""
    return [name for name in first if name not in second], [name for name in second if name not in first]


def _have_same_shape(first: Tensor, second: Tensor) -> bool:
    """Whether the shapes are the same, but for the sides of 1 by which a 1×1 convolution differs from a matrix."""
    return [side for side in first.shape if side != 1] == [side for side in second.shape if side != 1]


def _measure(first: Tensor, second: Tensor) -> tuple[float, float] | None:
    """‖A - B‖² and ‖A‖²; None where one of them contains NaN or Inf."""
    old, new = first.float(), second.float()
    squares = float(torch.linalg.vector_norm(old - new)) ** 2, float(torch.linalg.vector_norm(old)) ** 2
    return squares if all(map(isfinite, squares)) else None


def _compare_loras(difference: Difference, paths: tuple[Path, Path], base: Model | None) -> None:
    """Compare ΔW layer by layer, whatever the ranks and the spellings of the two files are."""
    loras = [read_lora(weight_files.read_weight_file(path), base) for path in paths]
    difference.compares_changes = True
    for file, lora in zip(paths, loras, strict=True):
        difference.notes += _describe_unmatched(file, lora)
    first, second = loras
    difference.only_in = _list_missing(first.layers, second.layers)
    common = [path for path in first.layers if path in second.layers]
    find_block, blocks = make_block_finder(common), dict[str | Message, BlockDifference]()
    for path in common:
        old, new = first.compute_change(path), second.compute_change(path)
        if old is None or new is None:
            template = _("a DoRA or an OFT changes a layer by what its own weight is; give the base model with --base")
            raise TetradError("E5492", template)
        if old.shape != new.shape:
            difference.shapes[path] = tuple(old.shape), tuple(new.shape)
        elif measured := _measure(old, new):
            block = find_block(path)
            blocks.setdefault(block, BlockDifference(block)).add(*measured)
        else:
            difference.not_finite.append(path)
    difference.blocks = list(blocks.values())


def _describe_unmatched(file: Path, lora: LoraFile) -> list[Message]:
    """That some keys are not compared, because they match no layer."""
    if not lora.unmatched:
        return []
    template = ngettext(
        "{count} key of {file} matches no layer of {model} and is not compared ({key})",
        "{count} keys of {file} match no layer of {model} and are not compared (first: {key})",
        len(lora.unmatched),
    )
    return [Message(template, file=file.name, model=lora.model.name, key=lora.unmatched[0])]
