"""The process that plans runs for the page: `python -m tetrad.web.planning_child SPEEDS`, asked by `planning`.

It keeps models without their weights, since a plan needs only their shapes. `SPEEDS` is a file with measured speeds.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from tetrad import library
from tetrad.builtin import resolve_model_path
from tetrad.doctor.examine import examine
from tetrad.documents import parse_json, read_text_file
from tetrad.estimate import recommend as advice
from tetrad.estimate.image_cost import ImageCost, measure_image_cost
from tetrad.estimate.speed import SMALL_RESOLUTION, DeviceSpeed, measure_device_speed
from tetrad.estimate.step_cost import StepCost, copy_to_meta, measure_step_cost
from tetrad.formats.atomic_write import replace_file
from tetrad.locales import Message, in_english
from tetrad.methods.settings import MethodSettings
from tetrad.methods.trigger_word import advise_on_trigger_word, suggest_words
from tetrad.models import device as devices
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec, get_free_memory
from tetrad.models.tokenizer import encode_token_ids
from tetrad.run.continuation import locate_start
from tetrad.run.dataset import find_images, select_training_vae
from tetrad.run.planned_run import plan_run, read_dataset
from tetrad.run.precision import select_training_device
from tetrad.settings import Data, build_recipe
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
        self.images: dict[int, ImageCost] = {}
        self.estimates: dict[tuple[object, ...], list[advice.MethodEstimate]] = {}
        self.holds_device = False

    def plan(self, request: Request) -> Answers:
        """The plan of the recipe in "recipe", and what a run of it needs."""
        recipe = locate_start(build_recipe(request.values["recipe"]))
        dataset = read_dataset(recipe)
        request.check()
        yield {
            "event": "plan",
            **plan_run(recipe, dataset, self).as_values(),
            "command": describe_command(recipe),
            "holds_device": self.holds_device,
        }

    def methods(self, request: Request) -> Answers:
        """The four methods for the images in "images", and which of them suits best."""
        values = request.values
        device = select_training_device(values["device"], "auto", values["model"])
        model = self.open_model(values["model"])
        listing = find_images(Data(images=values["images"], class_word=values["class_word"]), "", False)
        limit, goal = get_free_memory(device.device), values["goal"]
        word = advice.suggest_trigger_word(listing, values["trigger_word"])
        count = values["count"] or len(listing)
        key = (id(model), device, count, goal, word, values["class_word"])
        if key not in self.estimates:
            speed = self.measure(model, device, 4 if model.resolution <= SMALL_RESOLUTION else 1)
            about = {"trigger_word": word, "class_word": values["class_word"], "image_cost": self.count_image(model)}
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

    def count_step(self, model: Model, method: MethodSettings, side: int, batch_size: int) -> StepCost:
        """The cost of a step, counted once for these settings, as that takes seconds."""
        key = (id(model), repr(method), side, batch_size)  # models are kept, so their addresses stay theirs
        if key not in self.steps:
            self.steps[key] = measure_step_cost(model, method, side, side, batch_size)
        return self.steps[key]

    def count_image(self, model: Model) -> ImageCost:
        """The cost of an image, counted once for a model."""
        key = id(model)
        if key not in self.images:
            self.images[key] = measure_image_cost(model)
        return self.images[key]

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
    """Warnings about the trigger word in "word", and rare ones; without a word the best one for "images" is chosen.

    It is none of those in "taken", unless the images themselves name it.
    """
    word = request.values["word"]
    if not word:
        listing = find_images(Data(images=request.values["images"]), "", False)
        word = advice.suggest_trigger_word(listing, taken=request.values["taken"])
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
