"""The commands that work on model files, as the page starts them: arguments, formats, and the size of the result."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.web.file_work import Resolved, Work

Options = Iterator[str]
Outlines = Sequence[Mapping[str, Any]]  # of the files, as `file_checks.describe_outline` makes them
_LORA_FORMATS = dict.fromkeys(("kohya", "diffusers"), ".safetensors")
_EMBEDDING_FORMATS = {"safetensors": ".safetensors", "pt": ".pt", "png": ".png"}
_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1}
_EXTRACTED_RANK = 32  # unless something else limits it
_HEADER_BYTES = 100_000
_DIFFERENCES = ("add-difference", "ties", "dare")  # methods that take the differences to a base


def list_plain(resolved: Resolved) -> Options:
    """The files as they are."""
    yield from resolved.files


def _list_weighted(resolved: Resolved) -> Options:
    """Each file with its weight."""
    for path, parent in zip(resolved.files, resolved.work.files, strict=True):
        yield f"{path}:{parent.weight:g}"


def _list_checkpoints(resolved: Resolved) -> Options:
    """All but a sum give the first model no weight."""
    first, *others = _list_weighted(resolved)
    yield first if resolved.work.method == "sum" else resolved.files[0]
    yield from others


def _list_embeddings(resolved: Resolved) -> Options:
    yield from _list_weighted(resolved) if resolved.work.average else resolved.files


def _list_base_and_tuned(resolved: Resolved) -> Options:
    base = resolved.work.base
    yield from [resolved.path(base)] if base else []
    yield from resolved.files


def _precision(resolved: Resolved) -> Options:
    yield from ["--precision", resolved.work.precision] if resolved.work.precision else []


def _checkpoint_options(resolved: Resolved) -> Options:
    work = resolved.work
    yield from ("--method", work.method)
    if work.base and work.method in _DIFFERENCES:
        yield from ("--base", resolved.path(work.base))
    if work.blocks:
        yield from ("--blocks", work.blocks)
    if work.text_encoder not in ("", "merge"):
        yield from ("--text-encoder", work.text_encoder)
    if work.vae not in ("", "A"):
        yield from ("--vae", resolved.path(work.vae))
    if work.method in ("ties", "dare"):
        yield from ("--density", f"{work.density:g}")
    if work.method == "dare":
        yield from ("--seed", str(work.seed))
    yield from _precision(resolved)


def _limits(resolved: Resolved) -> Options:
    """What limits the ranks of a LoRA."""
    work = resolved.work
    given = {"--rank": work.rank, "--conv-rank": work.conv_rank, "--energy": work.energy}
    for flag, value in given.items():
        yield from [flag, f"{value:g}"] if value is not None else []
    yield from ["--max-size", f"{work.max_size:g}MB"] if work.max_size is not None else []


def _resize_options(resolved: Resolved) -> Options:
    yield from _limits(resolved)
    yield from ["--model", resolved.path(resolved.work.model)] if resolved.work.model else []
    yield from _precision(resolved)


def _lora_options(resolved: Resolved) -> Options:
    into = resolved.work.into
    yield from ("--into", resolved.path(into), *_precision(resolved)) if into else _resize_options(resolved)


def _embedding_options(resolved: Resolved) -> Options:
    yield from ["--average"] if resolved.work.average else []


def _extraction_options(resolved: Resolved) -> Options:
    yield from _limits(resolved)
    yield from [] if resolved.work.convolutions else ["--no-convolutions"]
    yield from _precision(resolved)


def _conversion_options(*names: str) -> Callable[[Resolved], Options]:
    """The format, the precision, and those of the options that are chosen and that this type of file has."""

    def list_options(resolved: Resolved) -> Options:
        work = resolved.work
        yield from ("--to", work.to)
        for name in names:
            value = getattr(work, name)
            if value is True:
                yield f"--{name}"
            elif value != Work.model_fields[name].default:
                text = resolved.path(value) if isinstance(value, str) else f"{value:g}"
                yield from (f"--{name.replace('_', '-')}", text)
        yield from _precision(resolved)

    return list_options


def _no_options(resolved: Resolved) -> Options:
    yield from ()


def _estimate_tensors(work: Work, outlines: Outlines) -> int:
    """As many elements as the first file has, in its precision or another; EMA weights are left out."""
    first = outlines[0]
    if not first["elements"] or not first["dtype"]:
        return int(first["bytes"])
    return int(first["elements"] * _BYTES.get(work.precision or first["dtype"], 2)) + _HEADER_BYTES


def _estimate_conversion(work: Work, outlines: Outlines) -> int:
    ema = outlines[0]["ema"] if work.ema == "keep" else 0
    return _estimate_tensors(work, outlines) + ema * _BYTES.get(work.precision or outlines[0]["dtype"], 2)


def _estimate_lora(work: Work, outlines: Outlines) -> int:
    """Ranks stand side by side, unless they are limited; a LoRA in a checkpoint needs no place."""
    if work.into:
        return _estimate_tensors(work, outlines[-1:])
    size = max(_BYTES.get(work.precision or each["dtype"], 2) for each in outlines)
    elements, ranks = sum(each["elements"] for each in outlines), sum(each["rank"] for each in outlines)
    share = min(1.0, work.rank / ranks) if work.rank and ranks else 1.0
    return min(int(elements * size * share) + _HEADER_BYTES, _limit_of(work))


def _estimate_extraction(work: Work, outlines: Outlines) -> int | None:
    if work.max_size is not None:
        return _limit_of(work)
    elements = outlines[-1]["extracted"] * (work.rank or _EXTRACTED_RANK)
    return elements * _BYTES.get(work.precision, 2) if elements and work.energy is None else None


def _estimate_embedding(work: Work, outlines: Outlines) -> int:
    return int(outlines[0]["bytes"] if work.average else sum(each["bytes"] for each in outlines))


def _limit_of(work: Work) -> int:
    return int(work.max_size * 1e6) if work.max_size is not None else 1 << 62


@dataclass(frozen=True)
class Task:
    """A command: its name, the files and options that it gets, the endings of its result by format, and its size.

    `parents` and `result` are the types of the files and of the result. `check` is what `file_checks.outline` checks
    before it begins; the result is called like its files with `end`.
    """

    command: tuple[str, ...]
    parents: str
    result: str
    options: Callable[[Resolved], Options] = _no_options
    files: Callable[[Resolved], Options] = list_plain
    formats: Mapping[str, str] = field(default_factory=lambda: {"": ".safetensors"})
    estimate: Callable[[Work, Outlines], int | None] = _estimate_tensors
    check: str = ""
    end: str = ""

    def choose_format(self, work: Work) -> Work:
        """The work with its format; the first one where it has none.  E5350 for a format that there is not."""
        if (to := work.to or next(iter(self.formats))) not in self.formats:
            template = _("there is no format {format} for such a file; choose one of {known}")
            raise TetradError("E5350", template, format=to, known=", ".join(self.formats))
        return work.model_copy(update={"to": to})

    def choose_target(self, resolved: Resolved) -> Path:
        """The path of the result.  Raises what `Resolved.choose_target` raises."""
        stems = [Path(resolved.path(each)).stem for each in (resolved.work.into,) if each]
        named = resolved.files[-1:] if self.files is _list_base_and_tuned else resolved.files
        stems += [Path(path).stem for path in named]
        return resolved.choose_target("-".join(stems) + self.end, self.formats[resolved.work.to])

    def list_arguments(self, resolved: Resolved, target: Path) -> list[str]:
        """The arguments of `tetrad`."""
        return [*self.command, *self.files(resolved), *self.options(resolved), "--out", str(target)]


def _conversion(parents: str, formats: Mapping[str, str], *options: str) -> Task:
    return Task(
        ("convert",), parents, parents, _conversion_options(*options), formats=formats, estimate=_estimate_conversion
    )


def _cannot_tell(work: Work, outlines: Outlines) -> None:
    return None


_MODEL_FORMATS = {"safetensors": ".safetensors", "ckpt": ".ckpt"}
TASKS: dict[str, Task] = {
    "merge-checkpoint": Task(
        ("merge", "checkpoint"),
        "checkpoint",
        "checkpoint",
        _checkpoint_options,
        _list_checkpoints,
        check="checkpoint",
        end="-merged",
    ),
    "merge-lora": Task(
        ("merge", "lora"),
        "lora",
        "lora",
        _lora_options,
        _list_weighted,
        estimate=_estimate_lora,
        check="lora",
        end="-merged",
    ),
    "merge-embedding": Task(
        ("merge", "embedding"),
        "embedding",
        "embedding",
        _embedding_options,
        _list_embeddings,
        formats=_EMBEDDING_FORMATS,
        estimate=_estimate_embedding,
        end="-merged",
    ),
    "merge-hypernetwork": Task(
        ("merge", "hypernetwork"),
        "hypernetwork",
        "hypernetwork",
        files=_list_weighted,
        formats={"pt": ".pt"},
        estimate=_cannot_tell,
        end="-merged",
    ),
    "extract": Task(
        ("extract", "lora"),
        "checkpoint",
        "lora",
        _extraction_options,
        _list_base_and_tuned,
        estimate=_estimate_extraction,
        end="-lora",
    ),
    "resize": Task(("resize",), "lora", "lora", _resize_options, estimate=_estimate_lora, check="lora", end="-resized"),
    "convert-checkpoint": _conversion("checkpoint", {**_MODEL_FORMATS, "diffusers": ""}, "ema", "prediction_type"),
    "convert-lora": _conversion(
        "lora", {**_LORA_FORMATS, "lycoris": ".safetensors"}, "model", "rank", "bundle", "split"
    ),
    "convert-embedding": _conversion("embedding", _EMBEDDING_FORMATS),
    "convert-hypernetwork": replace(
        _conversion("hypernetwork", _LORA_FORMATS, "model", "strength", "rank"), result="lora", estimate=_cannot_tell
    ),
    "convert-other": _conversion("", _MODEL_FORMATS),
}
