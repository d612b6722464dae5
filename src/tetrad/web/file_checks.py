"""What `inspection_child` reads for work on files: outlines before it begins, verifications, and differences.

Only headers are read for an outline, except of LoRAs, which are small.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import isfinite, prod
from pathlib import Path
from typing import Any

from tetrad.builtin import resolve_model_path
from tetrad.comparison import BlockDifference, describe_rest, describe_sameness
from tetrad.comparison.diff import diff
from tetrad.formats import ldm
from tetrad.formats.suffixes import is_image
from tetrad.formats.tensor_streams import TensorLayout, open_tensors
from tetrad.library.checkpoints import DTYPES
from tetrad.library.identification import artifact_type, identify
from tetrad.locales import Message, _
from tetrad.merging import (
    EMA,
    PRESETS,
    VAE,
    LoraChoice,
    list_blocks,
    open_parents,
    parse_block_weights,
    part_of,
    read_loras,
)
from tetrad.verification.verify import verify
from tetrad.web.resident_child import Answers, Request

_LORA_DOWN = (".lora_down.weight", ".lora_A.weight")
_NOT_EXTRACTED = ("embedding", "norm")  # parts of names of tensors that no LoRA is made of
_MODEL_KEYS = ("ss_sd_model_name", "sd_checkpoint_name")  # of metadata: the model that a file was trained on


def outline(request: Request) -> Answers:
    """What is to be known of "files", and of "more", before they are merged or changed.

    "check" is their type where they are to be read together, perhaps with the model "base". Raises what the command
    would say before it begins to work, such as E5301 for files of different families, and E3302 for bad "blocks".
    """
    values = request.values
    paths, base = list(map(resolve_model_path, values["files"])), values["base"]
    if check := _CHECKS.get(values["check"]):
        check(paths, resolve_model_path(base) if base else None)
    outlines = [describe_outline(path) for path in (*paths, *map(resolve_model_path, values["more"]))]
    yield {"event": "outline", "files": outlines, **_describe_blocks(values, paths)}


def _check_checkpoints(paths: Sequence[Path], base: Path | None) -> None:
    with open_parents(paths, base):
        return


def _check_loras(paths: Sequence[Path], base: Path | None) -> None:
    _read_loras(tuple((path, path.stat().st_mtime_ns) for path in paths), base)


@lru_cache(maxsize=8)
def _read_loras(files: tuple[tuple[Path, int], ...], base: Path | None) -> None:
    """Raises what reading them together raises; once for files that stay as they are."""
    read_loras([LoraChoice(path) for path, _state in files], base)


_CHECKS: Mapping[str, Callable[[Sequence[Path], Path | None], None]] = {
    "checkpoint": _check_checkpoints,
    "lora": _check_loras,
}


def _describe_blocks(values: Mapping[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """The blocks that checkpoints can be merged by, and the presets of weights for them."""
    if values["check"] != "checkpoint":
        return {"blocks": [], "presets": {}}
    with open_tensors(paths[0]) as file:
        blocks = list_blocks(ldm.normalize_name(name) for name in file)
    if values["blocks"]:
        parse_block_weights(values["blocks"], blocks, 0)
    return {"blocks": blocks, "presets": {name: [*parse_block_weights(name, blocks, 0).values()] for name in PRESETS}}


def describe_outline(path: Path) -> dict[str, Any]:
    """{type, bytes, elements, dtype, ema, rank, extracted, model}: numbers from which the size of a result follows.

    `elements` are those of weights without EMA, `ema` the elements of EMA weights, `rank` the mean rank of a LoRA,
    `extracted` the elements of a LoRA of rank 1 for every layer.
    """
    about = {"elements": 0, "dtype": "", "ema": 0, "rank": 0.0, "extracted": 0, "model": ""}
    if path.is_dir():
        size = sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
        return {**about, "type": "checkpoint", "bytes": size}
    if is_image(path):
        return {**about, "type": "embedding", "bytes": path.stat().st_size}
    with open_tensors(path) as file:
        layouts = {name: layout for name, layout in file.items() if layout.dtype.is_floating_point}
        metadata = file.metadata
    sizes = {name: prod(layout.shape) for name, layout in layouts.items()}
    ema = sum(size for name, size in sizes.items() if part_of(name) == EMA)
    ranks = [layout.shape[0] for name, layout in layouts.items() if name.endswith(_LORA_DOWN)]
    return {
        "type": artifact_type(identify(layouts)),
        "bytes": path.stat().st_size,
        "elements": sum(sizes.values()) - ema,
        "dtype": _most_common_dtype(layouts, sizes),
        "ema": ema,
        "rank": sum(ranks) / len(ranks) if ranks else 0.0,
        "extracted": sum(_count_extracted(name, layout) for name, layout in layouts.items()),
        "model": next((str(metadata[key]) for key in _MODEL_KEYS if key in metadata), ""),
    }


def _most_common_dtype(layouts: Mapping[str, TensorLayout], sizes: Mapping[str, int]) -> str:
    """The precision of most of the elements, by its short name."""
    counts: Counter[str] = Counter()
    names = {dtype: name for name, dtype in DTYPES.items()}
    for name, layout in layouts.items():
        counts[names.get(layout.dtype, "")] += sizes[name]
    return counts.most_common(1)[0][0] if counts else ""


def _count_extracted(name: str, layout: TensorLayout) -> int:
    """The elements that a LoRA of rank 1 has for a layer of a checkpoint."""
    is_layer = len(layout.shape) > 1 and not any(part in name for part in _NOT_EXTRACTED)
    if not is_layer or part_of(name) in (EMA, VAE):
        return 0
    return layout.shape[0] + prod(layout.shape[1:])


def verify_file(request: Request) -> Answers:
    """What `tetrad verify` says of the file at "path"; with "base", a checkpoint, also how much it changes."""
    found = verify(request.values["path"], base=request.values["base"])
    yield {
        "event": "verification",
        "what": found.inspection.what.as_record(),
        "family": _as_record(found.inspection.facts.get("family", "")),
        "findings": [{"label": each.label, "state": each.state, **each.found.as_record()} for each in found.findings],
        "verdicts": [
            {"readers": readers, "outcome": verdict.outcome, **verdict.reason.as_record()}
            for readers, verdict in found.group_verdicts()
        ],
    }


def compare_files(request: Request) -> Answers:
    """What `tetrad diff` says of the files "a" and "b"."""
    difference = diff(request.values["a"], request.values["b"])
    same = describe_sameness(difference)
    total = difference.total
    total.block = Message(_("all"))
    blocks = [] if same else [each for each in (*difference.blocks, total) if each.different]
    yield {
        "event": "difference",
        "types": [each.as_record() for each in difference.types],
        "same": same.as_record() if same else None,
        "compares_changes": difference.compares_changes,
        "blocks": [_describe_block(each) for each in blocks],
        "rest": [each.as_record() for each in describe_rest(difference)],
    }


def _describe_block(block: BlockDifference) -> dict[str, Any]:
    share = block.relative if isfinite(block.relative) else None
    return {
        "block": _as_record(block.block),
        "compared": block.compared,
        "different": block.different,
        "relative": share,
    }


def _as_record(value: Any) -> dict[str, Any]:
    return value.as_record() if isinstance(value, Message) else {"text": str(value)}
