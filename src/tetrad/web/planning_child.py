"""The process that plans runs for the page: `python -m tetrad.web.planning_child SPEEDS`, asked by `planning`.

It keeps models without their weights, since a plan needs only their shapes. `SPEEDS` is a file with measured speeds.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from tetrad import library
from tetrad.builtin import resolve_model_path
from tetrad.data.cache_folder import get_cache_folder
from tetrad.data.latent_cache import LatentCache
from tetrad.doctor.examine import examine
from tetrad.documents import parse_json, read_text_file
from tetrad.estimate import recommend as advice
from tetrad.estimate.memory import FLOAT32_BYTES, estimate_memory
from tetrad.estimate.speed import SMALL_RESOLUTION, DeviceSpeed, estimate_step_seconds, measure_device_speed
from tetrad.estimate.step_cost import StepCost, copy_to_meta, measure_step_cost
from tetrad.formats.atomic_write import replace_file
from tetrad.locales import Message, in_english
from tetrad.methods.settings import MethodSettings
from tetrad.methods.trigger_word import advise_on_trigger_word, suggest_words
from tetrad.models import device as devices
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec, get_free_memory, select_device
from tetrad.models.tokenizer import encode_token_ids
from tetrad.paths import expand_path
from tetrad.run.class_images import describe_generator
from tetrad.run.continuation import locate_start, read_trigger_word
from tetrad.run.dataset import Dataset, find_images, load_dataset, select_training_vae
from tetrad.run.disk import DiskNeed, estimate_need
from tetrad.run.plan import Plan
from tetrad.run.preflight import builtin_model_notes
from tetrad.run.previews import list_preview_steps
from tetrad.run.resolve import Facts, resolve
from tetrad.run.step_files import list_planned_steps
from tetrad.settings import Data, Recipe, build_recipe
from tetrad.web.drafts import describe_command
from tetrad.web.file_list import list_files_of_page
from tetrad.web.files_child import find_networks, list_choices, read_parameters
from tetrad.web.model_list import list_models, list_mounted_vaes, list_vaes
from tetrad.web.resident_child import Answers, Request, serve

_ModelKey = tuple[str, int, int, str]
_WORDS = 4  # suggested trigger words


class Planner:
    """Keeps what several plans need: models, and how fast devices are."""

    def __init__(self, speeds: Path) -> None:
        self.speeds = speeds
        self.models: dict[_ModelKey, Model] = {}
        self.steps: dict[tuple[object, ...], StepCost] = {}
        self.estimates: dict[tuple[object, ...], list[advice.MethodEstimate]] = {}
        self.holds_device = False

    def plan(self, request: Request) -> Answers:
        """The plan of the recipe in "recipe", and what a run of it needs."""
        recipe = locate_start(build_recipe(request.values["recipe"]))
        device = select_device(recipe.train.device, recipe.train.precision)
        dataset, notes = _read_dataset(recipe)
        request.check()
        model = self.open_model(recipe.model, recipe.prediction)
        start = None
        if recipe.continue_from:
            start = library.read_weights(expand_path(recipe.continue_from), model, recipe.method.artifact.type)
        plan, _forecast = resolve(recipe, Facts(dataset, model, start, device))
        identity = describe_generator(recipe.model, plan.data.resolution, recipe.text.clip_skip)
        need = estimate_need(plan, model, dataset.photos, identity)
        yield {
            "event": "plan",
            **_describe_length(plan),
            **self.describe_cost(plan, model, device),
            **_describe_files(plan, need),
            "plan": plan.as_values(),
            "command": describe_command(recipe),
            "notes": notes,
            "holds_device": self.holds_device,
        }

    def methods(self, request: Request) -> Answers:
        """The four methods for the images in "images", and which of them suits best."""
        values = request.values
        device, model = select_device(values["device"]), self.open_model(values["model"])
        listing = find_images(Data(images=values["images"], class_word=values["class_word"]), "", False)
        limit, goal = get_free_memory(device.device), values["goal"]
        word = advice.suggest_trigger_word(listing, values["trigger_word"])
        count = values["count"] or len(listing)
        key = (id(model), device, count, goal, word, values["class_word"])
        if key not in self.estimates:
            speed = self.measure(model, device, 4 if model.resolution <= SMALL_RESOLUTION else 1)
            about = {"trigger_word": word, "class_word": values["class_word"]}
            found = advice.estimate_methods(model, count, goal, device, limit, speed, **about)
            self.estimates[key] = list(found)
        best, reason = advice.choose_method({each.method: each for each in self.estimates[key]}, goal)
        yield {
            "event": "methods",
            "methods": list(map(_as_record, self.estimates[key])),
            "best": best.method,
            "reason": reason.as_record(),
            "trigger_word": word,
            "images": count,
            "free_memory_bytes": limit,
            "holds_device": self.holds_device,
        }

    def describe_model(self, request: Request) -> Answers:
        """What the model in "model" is, and which VAE encodes the images with "vae"."""
        values = request.values
        model = self.open_model(values["model"])
        choice = select_training_vae(values["model"], values["vae"], model)
        yield {
            "event": "model",
            "family": model.family_title,
            "resolution": model.resolution,
            "prediction": model.noise.prediction,
            "vae": choice.label.as_record() if isinstance(choice.label, Message) else choice.label,
            "vae_reason": choice.reason.as_record(),
            "vae_warnings": [warning.as_record() for warning in choice.warnings],
            "vaes": list_vaes(values["model"]),
        }

    def open_model(self, name: str, prediction: str = "") -> Model:
        """A model without its weights."""
        path = resolve_model_path(name)
        state = path.stat() if path.exists() else None
        key = (str(path), state.st_size if state else 0, state.st_mtime_ns if state else 0, prediction)
        if key not in self.models:
            self.models[key] = copy_to_meta(library.load_model(name, prediction))
        return self.models[key]

    def describe_cost(self, plan: Plan, model: Model, device: DeviceSpec) -> dict[str, Any]:
        """The time and the memory of a run."""
        train, side = plan.train, plan.data.resolution
        step = measure_step_cost(model, plan.method, side, side, train.batch_size)
        seconds = estimate_step_seconds(
            step, self.measure(model, device, train.batch_size), train.gradient_checkpointing
        )
        settings = {"fused_backward": train.fused_backward, "gradient_checkpointing": train.gradient_checkpointing}
        memory = estimate_memory(step, device.device, device.dtype, train.optimizer, **settings).total
        memory += FLOAT32_BYTES * sum(shape.numel() for shape in step.trainable_shapes) if train.ema else 0
        return {
            "seconds": seconds * train.gradient_accumulation * (train.steps - train.steps_before),
            "memory_bytes": memory,
            "free_memory_bytes": get_free_memory(device.device),
            "device": devices.describe_device(device.device),
        }

    def count_step(self, model: Model, method: MethodSettings, side: int, batch_size: int) -> StepCost:
        """The cost of a step, counted once for these settings, as that takes seconds."""
        key = (id(model), repr(method), side, batch_size)  # models are kept, so their addresses stay theirs
        if key not in self.steps:
            self.steps[key] = measure_step_cost(model, method, side, side, batch_size)
        return self.steps[key]

    def measure(self, model: Model, device: DeviceSpec, batch_size: int) -> DeviceSpeed:
        """The speed of a device for models as wide as this one: measured once, then read from the file."""
        side = model.resolution // model.vae.downsampling_factor
        key = f"{devices.describe_device(device.device)} {device.dtype} {model.width} {side} {batch_size}"
        known: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            known = parse_json(read_text_file(self.speeds))
        if key not in known:
            self.holds_device |= device.device.type != "cpu"
            speed = measure_device_speed(device.device, device.dtype, model.width, side, batch_size)
            with suppress(OSError):
                self.speeds.parent.mkdir(parents=True, exist_ok=True)
                replace_file(self.speeds, json.dumps(known | {key: asdict(speed)}).encode())
            return speed
        return DeviceSpeed(**known[key])


def check_word(request: Request) -> Answers:
    """Warnings about the trigger word in "word", and rare ones; without a word the best one for "images" is taken."""
    word = request.values["word"]
    if not word:
        listing = find_images(Data(images=request.values["images"]), "", False)
        word = advice.suggest_trigger_word(listing)
    found = advise_on_trigger_word(word, request.values["others"])
    warnings = [{"code": code, **warning.as_record()} for code, warning in found.warnings]
    suggestions = list(islice(suggest_words(word, request.values["others"]), _WORDS))
    tokens = len(encode_token_ids(word))
    yield {"event": "word", "word": word, "warnings": warnings, "suggestions": suggestions, "tokens": tokens}


def check_computer(request: Request) -> Answers:
    """The checks of `tetrad doctor`, each as soon as it is done."""
    models_dir = request.values["models_dir"]
    for check in examine(Path(request.values["runs"]), Path(models_dir) if models_dir else None):
        request.check()
        about = {"label": Message(check.label).as_record(), "found": check.found.as_record()}
        advice = check.advice.as_record() if check.advice else None
        yield {"event": "check", "name": check.name, "state": check.state, "advice": advice, **about}


def _read_dataset(recipe: Recipe) -> tuple[Dataset, list[Mapping[str, Any]]]:
    """The images of a recipe, decoded once, and the notes about them and about the built-in model."""
    required = recipe.method.artifact.requires_trigger_word
    word = read_trigger_word(recipe.continue_from, recipe.method.artifact)
    events = load_dataset(recipe.data, required, word, LatentCache(get_cache_folder()))
    while True:
        try:
            next(events)
        except StopIteration as end:
            dataset: Dataset = end.value
            notes = [*builtin_model_notes(recipe), *dataset.notes]
            return dataset, [{"code": note.code, **note.message.as_record()} for note in notes]


def _describe_length(plan: Plan) -> dict[str, Any]:
    train = plan.train
    new_steps = train.steps - train.steps_before
    return {
        "steps": new_steps,
        "length": plan.length().as_record(),
        "images": train.images,
        "batch_size": train.batch_size * train.gradient_accumulation,
        "repeats": train.repeats / train.images,
        "epochs": new_steps / train.steps_per_epoch,
        "steps_per_image": train.steps_per_image,
        "views_per_image": new_steps / train.steps_per_epoch * train.repeats / train.images,
    }


def _describe_files(plan: Plan, need: DiskNeed) -> dict[str, Any]:
    out = expand_path(plan.save.out).absolute()
    existing = next(each for each in (out, *out.parents) if each.exists())
    suffix = library.formats_of(plan.method.artifact.type)[plan.save.format].suffix
    return {
        "folder": str(out / plan.save.name),
        "file": plan.save.name + suffix,
        "files": len(list(list_planned_steps(plan.save, plan.train))) + 1,
        "file_bytes": need.result,
        "previews": len(list(list_preview_steps(plan))),
        "prompts": [*plan.sample.prompts, *plan.sample.overfit_prompts],
        "disk_bytes": need.folder + need.class_images + need.latents,
        "free_disk_bytes": shutil.disk_usage(existing).free,
    }


def _as_record(estimate: advice.MethodEstimate) -> dict[str, Any]:
    """An estimate as plain values; its sentences as records that the page can translate."""
    record = {name: value for name, value in vars(estimate).items() if name != "memory_options"}
    texts = {"good_at": Message(estimate.good_at).as_record(), "bad_at": Message(estimate.bad_at).as_record()}
    texts["settings"] = estimate.settings.as_record() if estimate.settings else {}
    return {**record, **texts, "learning_rate": in_english(estimate.learning_rate), "options": _list_options(estimate)}


def _list_options(estimate: advice.MethodEstimate) -> Sequence[str]:
    return [flag.removeprefix("--set ") for flag in estimate.memory_options.flags]


if __name__ == "__main__":
    planner = Planner(Path(sys.argv[1]))
    serve(
        {
            "plan": planner.plan,
            "methods": planner.methods,
            "model": planner.describe_model,
            "models": list_models,
            "files": list_files_of_page,
            "vaes": list_mounted_vaes,
            "doctor": check_computer,
            "word": check_word,
            "networks": find_networks,
            "choices": list_choices,
            "parameters": read_parameters,
        }
    )
