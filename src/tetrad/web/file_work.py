"""Work on model files that a person chooses on the page: what is wanted, the command that does it, and its result."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from tetrad.builtin import BUILTIN_NAME
from tetrad.errors import TetradError
from tetrad.installation import check_name, choose_free_name, make_safe_stem
from tetrad.locales import _

MAX_FILES = 20
# What a file of each kind can be converted to, as its command knows it: the format with the ending of its file.
CONVERSIONS: dict[str, dict[str, str]] = {
    "checkpoint": {"safetensors": ".safetensors", "ckpt": ".ckpt", "diffusers": ""},
    "lora": dict.fromkeys(("kohya", "diffusers", "lycoris"), ".safetensors"),
    "embedding": {"safetensors": ".safetensors", "pt": ".pt", "png": ".png"},
    "hypernetwork": dict.fromkeys(("kohya", "diffusers"), ".safetensors"),
    "": {"safetensors": ".safetensors", "ckpt": ".ckpt"},
}
_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1}
_RANK = 32  # of a LoRA that is extracted, unless something else limits it
_HEADER_BYTES = 100_000  # of a file, besides its tensors


class Parent(BaseModel):
    """A file by its id in the library, with its weight where the work has weights."""

    id: str = Field(max_length=100)
    weight: float = Field(1.0, ge=-100, le=100, allow_inf_nan=False)


class Work(BaseModel):
    """What is to be done with which files; the other values are the options of the command, and files are ids."""

    do: Literal["merge", "extract", "resize", "convert", "install"]
    kind: Literal["checkpoint", "lora", "embedding", "hypernetwork", ""] = ""
    files: list[Parent] = Field(min_length=1, max_length=MAX_FILES)
    name: str = Field("", max_length=200)  # of the result; "": one is chosen
    folder: str = Field("", max_length=100)  # id of the folder for it; "": that of the page
    precision: Literal["", "fp32", "fp16", "bf16", "fp8"] = ""
    method: Literal["weighted-sum", "add-difference", "sum", "slerp", "ties", "dare"] = "weighted-sum"
    base: str = Field("", max_length=100)
    blocks: str = Field("", max_length=2_000)
    text_encoder: str = Field("", max_length=10)
    vae: str = Field("", max_length=100)  # a letter, "merge", or the id of a file
    density: float = Field(0.5, gt=0, le=1)
    seed: int = Field(1, ge=0, lt=2**32)
    into: str = Field("", max_length=100)
    model: str = Field("", max_length=100)
    rank: int | None = Field(None, ge=1, le=4_096)
    conv_rank: int | None = Field(None, ge=1, le=4_096)
    energy: float | None = Field(None, gt=0, le=1)
    max_size: float | None = Field(None, gt=0, le=1_000_000)  # in megabytes
    convolutions: bool = True
    average: bool = False
    to: str = Field("", max_length=20)
    ema: Literal["keep", "drop", "use"] = "keep"
    prediction_type: Literal["", "epsilon", "v"] = ""
    strength: float = Field(0.0, ge=-10, le=10)  # 0: that of the command
    bundle: str = Field("", max_length=100)  # an embedding
    split: bool = False
    destination: str = Field("", max_length=100)

    def list_ids(self) -> set[str]:
        """The ids of all files that are named; letters and the built-in model are none."""
        named = {each.id for each in self.files} | {self.base, self.into, self.model, self.bundle}
        return (named | ({self.vae} if len(self.vae) == 16 else set())) - {"", BUILTIN_NAME}

    @property
    def suffix(self) -> str:
        """The ending of the result; a folder has none.  E5350 for a format that there is not."""
        if self.do == "convert":
            known = CONVERSIONS[self.kind]
            if self.to not in known:
                template = _("there is no format {format} for such a file; choose one of {known}")
                raise TetradError("E5350", template, format=self.to or "–", known=", ".join(known))
            return known[self.to]
        if self.do == "merge" and self.kind == "hypernetwork":
            return ".pt"
        is_embedding = self.do == "merge" and self.kind == "embedding"
        return CONVERSIONS["embedding"].get(self.to, ".safetensors") if is_embedding else ".safetensors"

    @property
    def check(self) -> str:
        """What is checked before the work begins, see `file_checks.outline`."""
        if self.do == "merge" and self.kind == "checkpoint":
            return "checkpoint"
        return "lora" if self.kind == "lora" and self.do in ("merge", "resize") else ""


@dataclass(frozen=True)
class Resolved:
    """Work with the paths of its files by their ids, and the folder of its result."""

    work: Work
    paths: Mapping[str, str]
    folder: Path

    @property
    def files(self) -> list[str]:
        return [self.paths[each.id] for each in self.work.files]

    def path(self, id: str) -> str:
        """A file as the command takes it; "" for none."""
        return id if id in ("", BUILTIN_NAME) else self.paths[id]

    def choose_target(self) -> Path:
        """The result: the name that was given, or one that is free.

        E4322 for a name that some system cannot have, E5210 where it is taken.
        """
        suffix = self.work.suffix
        if not self.work.name:
            name = check_name(make_safe_stem(self._suggest())[:80])
            return self.folder / f"{choose_free_name(self.folder, name, suffix)}{suffix}"
        target = self.folder / f"{check_name(self.work.name)}{suffix}"
        if target.exists():
            template = _("{path} already exists and is not overwritten; choose another name")
            raise TetradError("E5210", template, path=target)
        return target

    def _suggest(self) -> str:
        stems = [Path(path).stem for path in self.files]
        if self.work.do == "merge":
            return "-".join([*([Path(self.path(self.work.into)).stem] if self.work.into else []), *stems, "merged"])
        return stems[-1] + {"extract": "-lora", "resize": "-resized"}.get(self.work.do, "")

    def command(self, target: Path) -> list[str]:
        """The arguments of `tetrad` that do the work."""
        work = self.work
        options = [each for name, value in self._list_options() for each in (f"--{name}", value)] + list_flags(work)
        if work.do == "convert":
            return ["convert", *self.files, *options, "--out", str(target)]
        if work.do in ("resize", "extract"):
            start = ["resize"] if work.do == "resize" else ["extract", "lora"]
            return [*start, *self._list_base(), *self.files, *options, "--out", str(target)]
        return ["merge", work.kind, *self._list_weighted(), *options, "--out", str(target)]

    def _list_base(self) -> list[str]:
        return [self.path(self.work.base)] if self.work.base and self.work.do == "extract" else []

    def _list_weighted(self) -> Iterator[str]:
        """The parents as a merge takes them."""
        work = self.work
        for number, (path, parent) in enumerate(zip(self.files, work.files, strict=True)):
            is_first = work.kind == "checkpoint" and work.method != "sum" and number == 0
            is_plain = work.kind == "embedding" and not work.average
            yield path if is_first or is_plain else f"{path}:{parent.weight:g}"

    def _list_options(self) -> Iterator[tuple[str, str]]:
        """The options that differ from what the command does without them."""
        work = self.work
        yield from _OPTIONS[work.do if work.do != "merge" else work.kind](self)
        if work.precision and not (work.do == "merge" and work.kind in ("embedding", "hypernetwork")):
            yield "precision", work.precision

    def list_checkpoint_options(self) -> Iterator[tuple[str, str]]:
        work = self.work
        yield "method", work.method
        if work.base and work.method in ("add-difference", "ties", "dare"):
            yield "base", self.path(work.base)
        if work.blocks and work.method != "sum":
            yield "blocks", work.blocks
        if work.text_encoder not in ("", "merge"):
            yield "text-encoder", work.text_encoder
        if work.vae not in ("", "A"):
            yield "vae", self.paths.get(work.vae, work.vae)
        if work.method in ("ties", "dare"):
            yield "density", f"{work.density:g}"
        if work.method == "dare":
            yield "seed", str(work.seed)

    def list_lora_options(self) -> Iterator[tuple[str, str]]:
        if self.work.into:
            yield "into", self.path(self.work.into)
            return
        if self.work.model:
            yield "model", self.path(self.work.model)
        yield from self.list_limits()

    def list_limits(self) -> Iterator[tuple[str, str]]:
        """What limits the ranks of a LoRA."""
        work = self.work
        for name in ("rank", "conv_rank", "energy"):
            if (value := getattr(work, name)) is not None:
                yield name.replace("_", "-"), f"{value:g}"
        if work.max_size is not None:
            yield "max-size", f"{work.max_size:g}MB"

    def list_conversion_options(self) -> Iterator[tuple[str, str]]:
        work = self.work
        yield "to", work.to
        if work.ema != "keep" and work.kind == "checkpoint":
            yield "ema", work.ema
        if work.prediction_type and work.kind == "checkpoint":
            yield "prediction-type", work.prediction_type
        if work.kind in ("lora", "hypernetwork"):
            if work.model:
                yield "model", self.path(work.model)
            if work.rank is not None:
                yield "rank", str(work.rank)
        if work.kind == "hypernetwork" and work.strength not in (0, 1):
            yield "strength", f"{work.strength:g}"
        if work.bundle and work.kind == "lora":
            yield "bundle", self.path(work.bundle)


def _list_no_options(resolved: Resolved) -> Iterator[tuple[str, str]]:
    yield from ()


_OPTIONS: Mapping[str, Any] = {
    "checkpoint": Resolved.list_checkpoint_options,
    "lora": Resolved.list_lora_options,
    "embedding": _list_no_options,
    "hypernetwork": _list_no_options,
    "extract": Resolved.list_limits,
    "resize": Resolved.list_lora_options,
    "convert": Resolved.list_conversion_options,
}


def list_flags(work: Work) -> list[str]:
    """The options without a value."""
    flags = []
    if work.do == "extract" and not work.convolutions:
        flags.append("--no-convolutions")
    if work.do == "merge" and work.kind == "embedding" and work.average:
        flags.append("--average")
    if work.do == "convert" and work.kind == "lora" and work.split:
        flags.append("--split")
    return flags


def estimate_size(work: Work, outlines: Sequence[Mapping[str, Any]], into: Mapping[str, Any] | None) -> int | None:
    """About how large the result will be in bytes; None where nothing tells."""
    first = into or outlines[0]
    if work.do == "extract":
        elements = outlines[-1]["extracted"] * (work.rank or _RANK)
        is_known = work.energy is None and work.max_size is None and elements
        return _cap(work, elements * _BYTES.get(work.precision, 2) if is_known else None)
    if work.do == "convert" and work.kind == "hypernetwork":
        return None
    if work.kind == "lora" and not into and work.do != "convert":
        return _cap(work, _estimate_lora(work, outlines))
    if work.kind == "embedding" and work.do == "merge" and not work.average:
        return sum(each["bytes"] for each in outlines)
    if not first["elements"] or not first["dtype"]:
        return int(first["bytes"])
    kept = first["ema"] if work.do == "convert" and work.ema == "keep" else 0
    return int((first["elements"] + kept) * _BYTES.get(work.precision or first["dtype"], 2)) + _HEADER_BYTES


def _estimate_lora(work: Work, outlines: Sequence[Mapping[str, Any]]) -> int:
    """The ranks stand side by side, unless they are limited."""
    size = max(_BYTES.get(work.precision or each["dtype"], 2) for each in outlines)
    elements = sum(each["elements"] for each in outlines)
    ranks = sum(each["rank"] for each in outlines)
    share = min(1.0, work.rank / ranks) if work.rank and ranks else 1.0
    return int(elements * size * share) + _HEADER_BYTES


def _cap(work: Work, size: int | None) -> int | None:
    limit = int(work.max_size * 1e6) if work.max_size is not None else None
    return min(each for each in (size, limit) if each is not None) if size or limit else None
