"""The result of comparing two files."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from tetrad.locales import Message, in_english


@dataclass
class BlockDifference:
    """How a block of A and B differs: ‖A - B‖ / ‖A‖ over all its tensors, or the changes ΔW of two LoRAs."""

    block: str | Message
    compared: int = 0  # tensors, or layers of LoRAs, that both files have
    different: int = 0
    squared_difference: float = 0.0
    squared_norm: float = 0.0

    def add(self, squared_difference: float, squared_norm: float) -> None:
        self.compared += 1
        self.different += squared_difference > 0
        self.squared_difference += squared_difference
        self.squared_norm += squared_norm

    @property
    def relative(self) -> float:
        """0 where they are the same; infinite where A is zero and B is not."""
        if not self.squared_difference:
            return 0.0
        return (self.squared_difference / self.squared_norm) ** 0.5 if self.squared_norm else float("inf")


@dataclass
class Difference:
    """What differs between two files, A and B."""

    paths: tuple[str, str]
    types: tuple[Message, Message]
    compares_changes: bool = False  # of LoRAs: the changes ΔW, and not the tensors
    is_identical: bool = False  # byte for byte
    blocks: list[BlockDifference] = field(default_factory=list)
    only_in: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))  # names of tensors or layers
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    dtypes: dict[tuple[str, str], int] = field(default_factory=dict)  # number of tensors by both dtypes
    not_finite: list[str] = field(default_factory=list)  # tensors with NaN or Inf, which no difference is known of
    metadata: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)  # None where a file lacks the key
    notes: list[Message] = field(default_factory=list)

    @property
    def total(self) -> BlockDifference:
        """All blocks as one."""
        return BlockDifference(
            "",
            sum(each.compared for each in self.blocks),
            sum(each.different for each in self.blocks),
            sum(each.squared_difference for each in self.blocks),
            sum(each.squared_norm for each in self.blocks),
        )

    @property
    def has_same_weights(self) -> bool:
        """Whether every tensor, or every change of a LoRA, is the same."""
        return not (any(self.only_in) or self.shapes or self.not_finite or self.total.different)

    def as_record(self) -> dict[str, Any]:
        """The difference as plain values for programs, in English."""
        return {
            "a": self.paths[0],
            "b": self.paths[1],
            "types": in_english(self.types),
            "identical": self.is_identical,
            "same_weights": self.is_identical or self.has_same_weights,
            "compares_changes": self.compares_changes,
            "relative": _finite(self.total.relative),
            "blocks": [_as_record(each) for each in self.blocks],
            "only_in_a": self.only_in[0],
            "only_in_b": self.only_in[1],
            "shapes": {name: [list(shape) for shape in both] for name, both in self.shapes.items()},
            "dtypes": [{"a": both[0], "b": both[1], "tensors": count} for both, count in self.dtypes.items()],
            "not_finite": self.not_finite,
            "metadata": {key: list(both) for key, both in self.metadata.items()},
            "notes": in_english(self.notes),
        }


def _as_record(block: BlockDifference) -> dict[str, Any]:
    return {
        "block": in_english(block.block),
        "compared": block.compared,
        "different": block.different,
        "relative": _finite(block.relative),
    }


def _finite(number: float) -> float | None:
    """JSON has no infinity."""
    return number if isfinite(number) else None
