"""Which method for these pictures, this goal and this machine, and what each of them would cost."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Any

from tetrad.data.caption_files import beside
from tetrad.data.layouts import Listing
from tetrad.errors import TetradError
from tetrad.kinds import KINDS
from tetrad.methods import METHODS
from tetrad.methods.base import Method
from tetrad.methods.trigger_word import is_rare, suggestions
from tetrad.models.base import Model
from tetrad.plan import SMALL
from tetrad.training.device import Device
from tetrad.training.dry_step import DryStep, dry_step
from tetrad.training.memory import Savers, cheapest
from tetrad.training.speed import Machine, measured, seconds

BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}

# What each is good and bad at: as people who use them tell, and as its nature makes it.
CHARACTER = {
    "textual-inversion": (
        "styles and persons; the smallest file; nothing else of the model changes",
        "what the model could not draw with any words; a likeness to the last detail",
    ),
    "hypernetwork": (
        "art styles; a file of its own that can be mixed in at any strength",
        "single things; it takes many steps, and only A1111's tools read it",
    ),
    "lora": (
        "persons, things and styles; small, quick, stacks with others, every tool reads it",
        "a little less faithful than training the whole model",
    ),
    "dreambooth": (
        "faces, pets and objects, most faithfully; a whole checkpoint of its own",
        "memory and disk; it forgets other things unless class pictures stand beside",
    ),
}
# For each goal the methods from the best suited on, and why the first of them is.
ORDER: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "person": (
        ("lora", "dreambooth", "textual-inversion", "hypernetwork"),
        {"lora": "a face needs more than a word can say, and a LoRA learns it in a small file that every tool reads"},
    ),
    "object": (
        ("dreambooth", "lora", "textual-inversion", "hypernetwork"),
        {"dreambooth": "the shape of one thing is what training the whole model keeps best"},
    ),
    "style": (
        ("lora", "hypernetwork", "textual-inversion", "dreambooth"),
        {"lora": "a style is a change everywhere, and a LoRA learns it as a hypernetwork does in far fewer steps"},
    ),
}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "person": {"dreambooth": {"subject": "face"}},
    "object": {"dreambooth": {"subject": "object"}},
    "style": {"dreambooth": {"subject": "object"}},
}


@dataclass(frozen=True)
class Offer:
    """One method for one data set.  Time and memory are estimated from a step that was counted, not run."""

    kind: str
    steps: int
    learning_rate: str
    vectors: int  # of a new word; 0 where there is none
    seconds: float
    memory: int  # bytes
    file: int  # bytes
    fits: bool
    savers: Savers
    good_at: str
    bad_at: str


def offers(
    model: Model, images: int, goal: str, place: Device, limit: int = 0, machine: Machine | None = None
) -> Iterator[Offer]:
    """Every method, in METHODS' order; `limit` is the memory in bytes that it must fit, 0 for any."""
    side = model.resolution
    batch_size = 4 if side <= SMALL else 1
    width = model.parts()["unet"].get_parameter("conv_in.weight").shape[0]
    machine = machine or measured(place.device, place.dtype, width, side // model.vae.factor, batch_size)
    for kind, method in settled(images, goal).items():
        step = dry_step(model, method, side, side, batch_size)
        savers, needed = cheapest(step, place.device, place.dtype, limit)
        steps = method.steps(images)
        yield Offer(
            kind,
            steps,
            rate(method),
            getattr(method, "vectors", 0),
            steps * seconds(step, machine, savers.checkpointed),
            needed,
            size(model, method, step),
            not limit or needed <= limit,
            savers,
            *CHARACTER[kind],
        )


def rate(method: Method) -> str:
    """The usual learning rate, and that of the text encoders where they learn too."""
    found = method.rates()
    text = found.get("text_encoder", "") if getattr(method, "text_encoder", False) else ""
    return f"{found['']}, text {text}" if text else found[""]


def settled(images: int, goal: str) -> dict[str, Method]:
    """Each method as this goal wants it.  E3155 for a goal nobody knows."""
    if goal not in SETTINGS:
        raise TetradError("E3155", f"the goal must be one of {', '.join(SETTINGS)}; it is {goal!r}")
    made = {kind: method(**SETTINGS[goal].get(kind, {})) for kind, method in METHODS.items()}
    return {kind: method.decided("zkr", images) for kind, method in made.items()}


def size(model: Model, method: Method, step: DryStep) -> int:
    """Bytes of the file, without its few words about itself."""
    kind = KINDS[method.writes]
    learned = sum(shape.numel() for shape in step.learned)
    if kind.whole:
        networks = [*model.parts().values(), *model.vae.networks]
        learned = sum(parameter.numel() for network in networks for parameter in network.parameters())
    return learned * BYTES[kind.precision]


def chosen(made: Mapping[str, Offer], goal: str) -> tuple[Offer, str]:
    """The best suited that fits, and why."""
    order, why = ORDER[goal]
    fitting = [kind for kind in order if made[kind].fits]
    if not fitting:
        least = min(made.values(), key=lambda offer: offer.memory)
        return least, "none of them fits into that memory; this one comes nearest"
    best = fitting[0]
    if best in why:
        return made[best], why[best]
    return made[best], f"{order[0]} would suit better, but does not fit into that memory; {best} comes next and does"


def word_of(listing: Listing, given: str = "") -> str:
    """The trigger word: the one given, the data set's own, a rare one that every caption says, or a suggestion."""
    if given:
        return given
    words = {entry.subset.word for entry in listing.entries if not entry.subset.prior}
    said = [set(re.findall(r"[^\W_]+", text.lower())) for text in captions(listing)]
    shared = [word for word in sorted(set.intersection(*said)) if is_rare(word)] if all(said) and said else []
    return next((word for word in (*(words if len(words) == 1 else ()), *shared) if word), next(suggestions("zkr")))


def captions(listing: Listing) -> list[str]:
    """What lies beside each picture in words; "" where nothing does."""
    own = [entry for entry in listing.entries if not entry.subset.prior]
    return [entry.words.text or beside(entry.path).text for entry in own]


def command(
    offer: Offer, goal: str, images: str, model: str, word: str, class_word: str = "", captioned: bool = True
) -> str:
    """What starts it.  Pictures of a style that nobody described are called pictures in that style."""
    own = [f"--{key} {value}" for key, value in SETTINGS[goal].get(offer.kind, {}).items()]
    own += ["--template style"] * (goal == "style" and not captioned)
    words = ["tetrad", "train", offer.kind, images, *(["--model", model] if model != "builtin" else [])]
    words += ["--word", word, *(["--class-word", class_word] if class_word else [])]
    return " ".join([*map(quote, words), *own, *offer.savers.flags])
