"""What a weight file is made of, told by its names and shapes alone: no model is needed, and no file kept in memory."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from tetrad.formats import kohya, peft

Shape = tuple[int, ...]

ENDINGS = sorted({*kohya.TENSORS.values(), *peft.ENDINGS}, key=len, reverse=True)
DOWN = re.compile(r"(down|lora_A|_A\.default|hada_w1_b|lokr_w[12]_b)(\.default)?(\.weight)?$")
UP = re.compile(r"(up|lora_B)(\.default)?\.weight$")
PARTS = (
    ("second text encoder", re.compile(r"^(lora_te2_|text_encoder_2\.)")),
    ("text encoder", re.compile(r"^(lora_te1?_|text_encoder\.|lycoris_text_model)")),
    ("U-Net", re.compile(r"")),
)
ALGORITHMS = (("LoHa", "hada_"), ("LoKr", "lokr_"), ("whole differences", "diff"))


@dataclass
class Survey:
    """Shapes by name, how many tensors have which precision, and what is wrong with the numbers."""

    shapes: dict[str, Shape] = field(default_factory=dict)
    precisions: Counter[str] = field(default_factory=Counter)
    scalars: dict[str, float] = field(default_factory=dict)  # of the tensors that are a single number
    damaged: list[str] = field(default_factory=list)  # that hold NaN or infinity
    zero: set[str] = field(default_factory=set)  # that hold nothing but zeros

    @property
    def numbers(self) -> int:
        return sum(size(shape) for shape in self.shapes.values())

    def part(self, start: str) -> int:
        """How many numbers the tensors have whose names begin so."""
        return sum(size(shape) for name, shape in self.shapes.items() if name.startswith(start))


def surveyed(tensors: Iterable[tuple[str, Tensor]]) -> Survey:
    """A survey of tensors that come one after the other."""
    found = Survey()
    for name, tensor in tensors:
        found.shapes[name] = tuple(tensor.shape)
        found.precisions[str(tensor.dtype).removeprefix("torch.")] += 1
        if tensor.numel() and tensor.is_floating_point():
            if not tensor.isfinite().all():
                found.damaged.append(name)
            elif not tensor.any():
                found.zero.add(name)
        if tensor.numel() == 1:
            found.scalars[name] = float(tensor)
    return found


def size(shape: Shape) -> int:
    number = 1
    for side in shape:
        number *= side
    return number


@dataclass(frozen=True)
class Lora:
    """How a LoRA is built: in whose spelling, by which algorithm, where, how large."""

    spelling: str
    algorithm: str
    modules: Mapping[str, int]  # by part of the model
    ranks: Mapping[int, int]  # how many modules have each
    conv_ranks: Mapping[int, int]  # the same of convolutions of more than one pixel
    alphas: Mapping[float, int]
    unknown: list[str]  # keys of no known algorithm
    silent: int  # modules that change nothing, since half of their product is zero


def lora(found: Survey) -> Lora:
    """What the tensors of a LoRA in any spelling say of it."""
    modules: dict[str, set[str]] = {}
    unknown: list[str] = []
    for name in found.shapes:
        module, ending = apart(name)
        if ending:
            modules.setdefault(module, set()).add(ending)
        else:
            unknown.append(name)
    ranks, conv_ranks = Counter[int](), Counter[int]()
    for name, shape in found.shapes.items():
        if DOWN.search(name) and len(shape) > 1:
            (conv_ranks if size(shape[2:]) > 1 else ranks)[shape[0]] += 1
    endings = {ending for each in modules.values() for ending in each}
    return Lora(
        "kohya" if any(name.startswith(("lora_", kohya.LYCORIS)) for name in modules) else "PEFT or diffusers",
        algorithm(endings, bool(conv_ranks)),
        Counter(next(part for part, begins in PARTS if begins.search(module)) for module in modules),
        ranks,
        conv_ranks,
        Counter(value for name, value in found.scalars.items() if name.endswith("alpha")),
        unknown,
        sum(bool(UP.search(name)) for name in found.zero),
    )


def apart(name: str) -> tuple[str, str]:
    """A key as its module and what the tensor is to it; "" for that where no algorithm has such a tensor."""
    for pattern in (peft.PROCESSOR, peft.TEXT_PROCESSOR):
        if old := pattern.fullmatch(name):
            return f"{old[1]}{old[2]}", f"lora.{old[3]}.weight"
    ending = next((ending for ending in ENDINGS if name.endswith(f".{ending}")), "")
    return name.removesuffix(f".{ending}"), ending


def algorithm(endings: set[str], convolutions: bool) -> str:
    """What people call a LoRA with such tensors."""
    found = [title for title, start in ALGORITHMS if any(ending.startswith(start) for ending in endings)]
    if any("down" in ending or "lora_A" in ending for ending in endings):
        found.insert(0, "LoCon" if convolutions else "LoRA")
    if endings & {"dora_scale", *(name for name, kind in peft.ENDINGS.items() if kind == "magnitude")}:
        found.append("DoRA")
    return " and ".join(found) or "of no known algorithm"
