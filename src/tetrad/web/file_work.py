"""Work on model files that a person chooses on the page: what is wanted, and the files and folder that it names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from tetrad.builtin import BUILTIN_NAME
from tetrad.errors import TetradError
from tetrad.installation import check_name, choose_free_name, make_safe_stem
from tetrad.locales import _

MAX_FILES = 20
TASKS = Literal[
    "merge-checkpoint",
    "merge-lora",
    "merge-embedding",
    "merge-hypernetwork",
    "extract",
    "resize",
    "convert-checkpoint",
    "convert-lora",
    "convert-embedding",
    "convert-hypernetwork",
    "convert-other",
]
_ID = 100  # characters, at most
_STEM = 80


class Parent(BaseModel):
    """A file by its id in the library, with its weight where the work has weights."""

    id: str = Field(max_length=_ID)
    weight: float = Field(1.0, ge=-100, le=100, allow_inf_nan=False)


class Work(BaseModel):
    """What is to be done with which files; the other values are the options of the command, and files are ids."""

    task: TASKS
    files: list[Parent] = Field(min_length=1, max_length=MAX_FILES)
    name: str = Field("", max_length=200)  # of the result; "": one is chosen
    folder: str = Field("", max_length=_ID)  # id of the folder for it; "": that of the page
    to: str = Field("", max_length=20)  # the format; "": the only one, or the first
    precision: Literal["", "fp32", "fp16", "bf16", "fp8"] = ""
    method: Literal["weighted-sum", "add-difference", "sum", "slerp", "ties", "dare"] = "weighted-sum"
    base: str = Field("", max_length=_ID)
    blocks: str = Field("", max_length=2_000)
    text_encoder: str = Field("", max_length=10)
    vae: str = Field("", max_length=_ID)  # a letter, "merge", or the id of a file
    density: float = Field(0.5, gt=0, le=1)
    seed: int = Field(1, ge=0, lt=2**32)
    into: str = Field("", max_length=_ID)
    model: str = Field("", max_length=_ID)
    rank: int | None = Field(None, ge=1, le=4_096)
    conv_rank: int | None = Field(None, ge=1, le=4_096)
    energy: float | None = Field(None, gt=0, le=1)
    max_size: float | None = Field(None, gt=0, le=1_000_000)  # in megabytes
    convolutions: bool = True
    average: bool = False
    ema: Literal["keep", "drop", "use"] = "keep"
    prediction_type: Literal["", "epsilon", "v"] = ""
    strength: float = Field(1.0, ge=-10, le=10)
    bundle: str = Field("", max_length=_ID)  # an embedding
    split: bool = False

    def list_ids(self) -> set[str]:
        """The ids of all files that are named; letters and the built-in model are none."""
        named = {each.id for each in self.files} | {self.base, self.into, self.model, self.bundle}
        return (named | ({self.vae} if len(self.vae) > len("merge") else set())) - {"", BUILTIN_NAME}


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
        """A file as the command takes it: its path, or what else stands for one."""
        return self.paths.get(id, id)

    def choose_target(self, suggested: str, suffix: str) -> Path:
        """The result: under the name that was given, or under a free one.

        E4322 for a name that some system cannot have, E5210 where it is taken.
        """
        if not self.work.name:
            name = make_safe_stem(suggested)[:_STEM]
            return self.folder / f"{choose_free_name(self.folder, name, suffix)}{suffix}"
        target = self.folder / f"{check_name(self.work.name)}{suffix}"
        if target.exists():
            template = _("{path} is there already and is not overwritten; choose another name")
            raise TetradError("E5210", template, path=target)
        return target
