"""Compares the methods for a set of images, a goal and a machine: time, memory, file size, and the best choice."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from types import MappingProxyType
from typing import Any

from tetrad.builtin.usual_training import count_usual_steps, list_usual_rates
from tetrad.data.captions.caption_files import read_caption
from tetrad.data.discover.layouts import Listing
from tetrad.estimate.image_cost import ImageCost, estimate_image_seconds, measure_image_cost
from tetrad.estimate.memory import MemoryOptions, choose_memory_options
from tetrad.estimate.speed import SMALL_RESOLUTION, DeviceSpeed, estimate_step_seconds, measure_device_speed
from tetrad.estimate.step_cache import recall_step_cost
from tetrad.estimate.step_cost import StepCost
from tetrad.locales import Message, _
from tetrad.methods import METHODS
from tetrad.methods.advice import parse_goal
from tetrad.methods.settings import MethodSettings
from tetrad.methods.trigger_word import is_rare, suggest_words
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec
from tetrad.settings.field import as_toml, section_names
from tetrad.settings.sample import Sample
from tetrad.settings.toml import build_recipe

_USUAL_PREVIEWS = 5 * 4  # of four prompts, before the first step and after each quarter of the steps
_PRECISION_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}


@dataclass(frozen=True)
class MethodEstimate:
    """The estimated costs of one method for one data set."""

    method: str
    steps: int
    steps_per_image: float
    learning_rate: str | Message
    settings: Message | None  # the method's most important settings
    seconds: float  # of all steps
    seconds_of_previews: float  # of the previews that a run makes, come on top
    memory_bytes: int
    file_bytes: int
    fits: bool
    memory_options: MemoryOptions
    good_at: str
    bad_at: str


def estimate_methods(
    model: Model,
    image_count: int,
    goal: str,
    device_spec: DeviceSpec,
    memory_limit: int = 0,
    device_speed: DeviceSpeed | None = None,
    trigger_word: str = "zkr",
    class_word: str = "",
    given: Mapping[str, Any] = MappingProxyType({}),
    image_cost: ImageCost | None = None,
) -> Iterator[MethodEstimate]:
    """An estimate for every method, in METHODS' order; `memory_limit` in bytes, 0 for none.

    `given` are settings of methods, such as `algorithm`; each counts for the methods that have it.
    `image_cost` is that of the model, where it has been counted already.
    """
    resolution = model.resolution
    batch_size = 4 if resolution <= SMALL_RESOLUTION else 1
    device_speed = device_speed or measure_device_speed(
        device_spec.device, device_spec.dtype, model.width, resolution // model.vae.downsampling_factor, batch_size
    )
    seconds_of_previews = _estimate_previews(model, device_spec, device_speed, image_cost)
    for name, method in make_methods(image_count, goal, trigger_word, class_word, given).items():
        step = recall_step_cost(model, method, resolution, resolution, batch_size)
        memory_options, memory_bytes = choose_memory_options(step, device_spec.device, device_spec.dtype, memory_limit)
        steps = count_usual_steps(method, image_count, model.name)
        yield MethodEstimate(
            name,
            steps,
            steps / max(1, image_count),
            _format_learning_rates(method, model.name),
            method.describe(),
            steps * estimate_step_seconds(step, device_speed, memory_options.gradient_checkpointing),
            seconds_of_previews,
            memory_bytes,
            _estimate_file_bytes(model, method, step),
            not memory_limit or memory_bytes <= memory_limit,
            memory_options,
            method.advice.good_at,
            method.advice.bad_at,
        )


def _estimate_previews(
    model: Model, device_spec: DeviceSpec, device_speed: DeviceSpeed, image_cost: ImageCost | None
) -> float:
    """The seconds of a run's usual previews; a run of a large model on the CPU makes none."""
    if model.resolution > SMALL_RESOLUTION and device_spec.device.type == "cpu":
        return 0.0
    sample, cost = Sample(), image_cost or measure_image_cost(model)
    return _USUAL_PREVIEWS * estimate_image_seconds(cost, device_speed, sample.steps, sample.uses_guidance)


def _format_learning_rates(method: MethodSettings, model: str) -> str | Message:
    """The usual learning rate, and that of the text encoders where they are trained."""
    rates = list_usual_rates(method, model)
    text_rate = rates.get("text_encoder") if getattr(method, "text_encoder", False) else None
    if not text_rate:
        return str(rates[""])
    return Message(_("{rate}, text encoder {text_rate}"), rate=rates[""], text_rate=text_rate)


def make_methods(
    image_count: int,
    goal: str,
    trigger_word: str = "zkr",
    class_word: str = "",
    given: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, MethodSettings]:
    """Each method with the settings for this goal, and those of `given` that it has.

    E3155 for an unknown goal, E3101 for a setting that no method has, E3102 and E3103 for a wrong value.
    """
    parsed = parse_goal(goal)
    unknown = given.keys() - {name for method in METHODS.values() for name in section_names(method)}
    methods = {}
    for kind, method in METHODS.items():
        own = {name: value for name, value in given.items() if name in section_names(method) or name in unknown}
        settings = {"kind": kind, **method.advice.settings_for(parsed), **own}
        methods[kind] = build_recipe({"method": settings}).method.with_defaults(trigger_word, image_count, class_word)
    return methods


def _estimate_file_bytes(model: Model, method: MethodSettings, step: StepCost) -> int:
    """Bytes of the trained file's tensors."""
    artifact = method.artifact
    parameter_count = sum(shape.numel() for shape in step.trainable_shapes)
    if artifact.is_full_model:
        networks = [*model.parts().values(), *model.vae.networks]
        parameter_count = sum(parameter.numel() for network in networks for parameter in network.parameters())
    return parameter_count * _PRECISION_BYTES[artifact.precision]


def choose_method(estimates: Mapping[str, MethodEstimate], goal: str) -> tuple[MethodEstimate, Message]:
    """The best suited method that fits into memory, and the reason for the choice."""
    aim = parse_goal(goal).kind
    order = sorted(METHODS, key=lambda kind: METHODS[kind].advice.suits[aim])
    fitting = [kind for kind in order if estimates[kind].fits]
    if not fitting:
        smallest = min(estimates.values(), key=lambda estimate: estimate.memory_bytes)
        return smallest, Message(_("no method fits into this memory; this one needs the least"))
    best = fitting[0]
    if best == order[0]:
        return estimates[best], Message(METHODS[best].advice.because.get(aim) or _("it suits this goal best"))
    template = _("{best} would suit better, but does not fit into this memory; {next} is the next best that fits")
    return estimates[best], Message(template, best=order[0], next=best)


def build_probe_command(goal: str, model: str, class_word: str = "", prediction: str = "") -> str:
    """The command that shows what the model can generate of this goal without any training."""
    subject = class_word or next(part for part in (*parse_goal(goal).parts, "") if part != "style") or "house"
    prompt = f"a photo of {'an' if subject[:1].lower() in 'aeiou' else 'a'} {subject}"
    if "style" in parse_goal(goal).parts:
        prompt = prompt.replace("a photo", "a painting", 1)
    return " ".join(["tetrad", "probe", *map(quote, [prompt, *_build_model_flags(model, prediction)])])


def _build_model_flags(model: str, prediction: str) -> list[str]:
    flags = ["--model", model] if model != "builtin" else []
    return [*flags, *(["--prediction-type", prediction] if prediction else [])]


def suggest_trigger_word(listing: Listing, trigger_word: str = "", taken: Collection[str] = ()) -> str:
    """The trigger word: the given one, the data set's own, the rare word of most captions, or one that is not taken."""
    if trigger_word:
        return trigger_word
    dataset_words = {entry.subset.trigger_word for entry in listing.entries if not entry.subset.is_class_images}
    candidates = [*(dataset_words if len(dataset_words) == 1 else ()), *_list_shared_words(read_captions(listing))]
    return next((word for word in candidates if word), next(suggest_words("zkr", taken)))


def _list_shared_words(captions: Sequence[str]) -> list[str]:
    """The rare words that more than half of the captions have, the most frequent first."""
    written = [set(re.findall(r"[^\W_]+", text.lower())) for text in captions if text]
    counts = Counter(word for words in written for word in sorted(words))
    shared = [word for word, count in counts.most_common() if count > len(written) / 2]
    return [word for word in shared if word.isascii() and not word.isdigit() and is_rare(word)]


def read_captions(listing: Listing) -> list[str]:
    """The caption of each image, "" where it has none; class images are left out."""
    entries = [entry for entry in listing.entries if not entry.subset.is_class_images]
    return [entry.raw_caption.text or read_caption(entry.path).text for entry in entries]


def build_train_command(
    estimate: MethodEstimate,
    goal: str,
    images: str,
    model: str,
    trigger_word: str,
    class_word: str = "",
    has_captions: bool = True,
    prediction: str = "",
    given: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """The command that starts the recommended training.  Images of a style without captions get the style template."""
    aim = parse_goal(goal)
    options = [f"--{key} {value}" for key, value in METHODS[estimate.method].advice.settings_for(aim).items()]
    options += ["--template style"] * (aim.parts == ("style",) and not has_captions)
    arguments = ["tetrad", "train", estimate.method, images, *_build_model_flags(model, prediction)]
    own = {name: value for name, value in given.items() if name in section_names(METHODS[estimate.method])}
    options += [
        f"--set method.{name}={as_toml(value) if isinstance(value, bool) else value}" for name, value in own.items()
    ]
    arguments += ["--trigger-word", trigger_word, *(["--class-word", class_word] if class_word else [])]
    return " ".join([*map(quote, arguments), *options, *estimate.memory_options.flags])
