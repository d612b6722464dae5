"""A conversion to be done: the file, the format, and what a person chose; and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

from tetrad.locales import Message

EMA_CHOICES = ("keep", "drop", "use")


@dataclass(frozen=True)
class Options:
    """What a person may choose; every conversion says which of them it uses."""

    precision: str = ""  # fp32, fp16, bf16 or fp8; "" keeps that of the file
    ema: str = "keep"  # EMA weights in a checkpoint: keep them beside the others, drop them, or use them instead
    model: str = ""  # the base model, where a conversion needs its weights
    strength: float = 1.0  # of a hypernetwork
    rank: int = 0  # of a LoRA that is made; 0 for as large as it needs to be
    prompts: Path | None = None  # a file with prompts, one a line, on which a hypernetwork is imitated
    bundle: tuple[Path, ...] = ()  # embeddings to be put into a LoRA
    split: bool = False  # whether embeddings in a LoRA become files of their own
    image: Path | None = None  # the image into which an embedding is put
    prediction_type: str = ""  # of a checkpoint, where its file does not say

    def list_chosen(self) -> list[str]:
        """The names of the options that are not as they are by default."""
        return [each.name for each in fields(self) if getattr(self, each.name) != each.default]


@dataclass
class Job:
    """One conversion.  `notes` collects what the result cannot hold, or holds in another way."""

    source: Path
    target: str  # the name of a format
    out: Path
    options: Options
    on_progress: Callable[[int, int], None] = lambda done, total: None
    notes: list[Message] = field(default_factory=list)
    more_files: list[Path] = field(default_factory=list)  # written beside `out`


@dataclass(frozen=True)
class Converter:
    """What a type of file can be converted to: formats with the endings of their files ("" is a folder)."""

    targets: dict[str, str]
    options: tuple[str, ...]
    convert: Callable[[Job], None]
