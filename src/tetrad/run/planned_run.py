"""What a run of a recipe would do and need, found out without training: length, time, memory, disk, files."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

from tetrad import library
from tetrad.cache_location import get_cache_folder
from tetrad.data.latent_cache import LatentCache
from tetrad.estimate.forecast import count_parts, take_part
from tetrad.estimate.image_cost import ImageCost, estimate_image_seconds, measure_image_cost
from tetrad.estimate.memory import Copies, MemoryOptions, list_memory_options
from tetrad.estimate.speed import DeviceSpeed, estimate_step_seconds, measure_device_speed
from tetrad.estimate.step_cache import recall_step_cost
from tetrad.estimate.step_cost import StepCost, copy_to_meta
from tetrad.methods.settings import MethodSettings
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec, describe_device, get_free_memory
from tetrad.paths import expand_path
from tetrad.run import preflight
from tetrad.run.class_images import count_missing, describe_generator
from tetrad.run.continuation import read_trigger_word
from tetrad.run.dataset import Dataset, DatasetSample, load_dataset
from tetrad.run.dataset_sample import Preparation, SampleFinder, prepare_sample
from tetrad.run.device_notes import precision_notes
from tetrad.run.disk import DiskNeed, estimate_need
from tetrad.run.events import Note
from tetrad.run.minutes import count_timed
from tetrad.run.open_model import find_model_resolution
from tetrad.run.plan import Plan
from tetrad.run.precision import select_training_device
from tetrad.run.previews import list_preview_steps
from tetrad.run.processes.share import process_notes
from tetrad.run.resolve import Facts, resolve
from tetrad.run.resolve_memory import parts_notes
from tetrad.run.step_files import list_planned_steps
from tetrad.settings import Recipe

_USUAL_RESOLUTION = 512  # of a model whose own is not known before it is loaded


class PlanSources(Protocol):
    """Where a plan takes from what is slow to find out; the page keeps it from one plan to the next."""

    def open_model(self, name: str, prediction: str) -> Model:
        """A model; its weights may be missing."""

    def measure(self, model: Model, device: DeviceSpec, batch_size: int) -> DeviceSpeed:
        """The speed of a device for models as wide as this one."""

    def count_step(self, model: Model, method: MethodSettings, side: int, batch_size: int) -> StepCost:
        """The cost of a step on images of side × side pixels."""

    def count_image(self, model: Model) -> ImageCost:
        """The cost of an image of the model's resolution."""


class FreshSources:
    """Finds everything out anew."""

    def open_model(self, name: str, prediction: str) -> Model:
        return copy_to_meta(library.load_model(name, prediction))

    def measure(self, model: Model, device: DeviceSpec, batch_size: int) -> DeviceSpeed:
        side = model.resolution // model.vae.downsampling_factor
        return measure_device_speed(device.device, device.dtype, model.width, side, batch_size)

    def count_step(self, model: Model, method: MethodSettings, side: int, batch_size: int) -> StepCost:
        return recall_step_cost(model, method, side, side, batch_size)

    def count_image(self, model: Model) -> ImageCost:
        return measure_image_cost(model)


# What a prediction without gradients adds to the time of its training sample, measured on a CPU.
_TEACHER_SHARE = 0.3


@dataclass(frozen=True)
class Rung:
    """One of the ways to save memory, and what a run with it would take."""

    options: MemoryOptions
    memory_bytes: int
    seconds: float  # of all steps and previews


@dataclass(frozen=True)
class PlannedRun:
    """A plan and what a run of it would need in one process; times are estimates, accurate to about a third."""

    plan: Plan
    model: Model
    device: DeviceSpec
    step: StepCost
    image: ImageCost | None  # None where the run makes no previews
    speed: DeviceSpeed
    disk: DiskNeed
    sample: DatasetSample | None  # that the plan of a large data set is estimated from
    preparation: Preparation | None  # of a large data set
    missing_class_images: int  # they are generated before the training
    notes: Sequence[Note]

    @property
    def new_steps(self) -> int:
        return self.plan.train.steps - self.plan.train.steps_before

    @property
    def views_per_image(self) -> float:
        """How often each image is trained on."""
        train = self.plan.train
        return self.new_steps / train.steps_per_epoch * train.repeats / train.images

    @property
    def free_memory_bytes(self) -> int:
        return get_free_memory(self.device.device)

    @property
    def memory_bytes(self) -> int:
        train = self.plan.train
        return self._estimate_memory(
            MemoryOptions(
                train.gradient_checkpointing, train.fused_backward, train.optimizer, quantize_base=train.quantize_base
            )
        )

    @property
    def seconds(self) -> float:
        """The time of all steps and previews; encoding and saving come on top."""
        return self._estimate_seconds(self.plan.train.gradient_checkpointing)

    def count_previews(self, step_seconds: float = 0.0) -> int:
        """How many times previews are made, about so many with sample.every_minutes.

        That depends on how long a step takes, which is estimated where it is not given.
        """
        return len(list_preview_steps(self.plan)) + self._count_timed_previews(step_seconds)

    def count_preview_images(self, step_seconds: float = 0.0) -> int:
        sample = self.plan.sample
        return self.count_previews(step_seconds) * (len(sample.prompts) + len(sample.overfit_prompts))

    def _count_timed_previews(self, step_seconds: float) -> int:
        train = self.plan.train
        seconds = step_seconds or self._estimate_step_seconds(train.gradient_checkpointing)
        return count_timed(self.plan.sample.every_minutes, (train.steps_before, train.steps), seconds)

    def _count_timed_files(self, step_seconds: float) -> int:
        save, train = self.plan.save, self.plan.train
        seconds = step_seconds or self._estimate_step_seconds(train.gradient_checkpointing)
        planned = (train.steps_before, *list_planned_steps(save, train), train.steps)
        return count_timed(save.every_minutes, planned, seconds)

    def list_rungs(self) -> list[Rung]:
        """The ways to save memory, from none to all."""
        train = self.plan.train
        is_alone = train.ema == 0 and train.processes == 1
        return [
            Rung(options, self._estimate_memory(options), self._estimate_seconds(options.gradient_checkpointing))
            for options in list_memory_options(self.step, self.device.dtype, is_alone, train.quantize_base)
        ]

    def _estimate_memory(self, options: MemoryOptions) -> int:
        train = self.plan.train
        packs = train.packs_convolutions and options.gradient_checkpointing == train.gradient_checkpointing
        copies = Copies(train.ema > 0, self.plan.keeps_original, packs)
        parts = count_parts(train.processes, train.sharding)
        needed = take_part(options.estimate(self.step, self.device.device, self.device.dtype), self.model, parts)
        return needed.total + copies.count_bytes(self.step, self.device.dtype) // parts

    def _estimate_seconds(self, gradient_checkpointing: bool) -> float:
        return self._estimate_step_seconds(gradient_checkpointing) * self.new_steps + self._estimate_preview_seconds()

    def _estimate_step_seconds(self, gradient_checkpointing: bool) -> float:
        passes = self.plan.train.samples_per_update / self.plan.train.samples_at_once
        seconds = estimate_step_seconds(self.step, self.speed, gradient_checkpointing)
        taught = self.plan.teacher_samples * self.plan.train.gradient_accumulation
        seconds *= 1 + _TEACHER_SHARE * taught / self.plan.train.samples_per_update
        return seconds * passes

    def _estimate_preview_seconds(self) -> float:
        sample = self.plan.sample
        if self.image is None:
            return 0.0
        seconds = estimate_image_seconds(self.image, self.speed, sample.steps, sample.cfg_scale != 1)
        side = self.model.resolution
        area = (sample.width or side) * (sample.height or side) / side**2
        return seconds * area * self.count_preview_images()

    def as_values(self, step_seconds: float = 0.0) -> dict[str, Any]:
        """Everything as plain values; sentences are records that can be translated.  `step_seconds` may be measured."""
        train = self.plan.train
        return {
            "steps": self.new_steps,
            "length": self.plan.length().as_record(),
            "images": train.images,
            "batch_size": train.batch_size * train.gradient_accumulation,
            "repeats": train.repeats / train.images,
            "epochs": self.new_steps / train.steps_per_epoch,
            "steps_per_image": train.steps_per_image,
            "views_per_image": self.views_per_image,
            "seconds": self.seconds,
            "preparation": asdict(self.preparation) if self.preparation else None,
            "memory_bytes": self.memory_bytes,
            "free_memory_bytes": self.free_memory_bytes,
            "device": describe_device(self.device.device),
            **self._describe_files(step_seconds),
            "plan": self.plan.as_values(),
            "notes": [{"code": note.code, **note.message.as_record()} for note in self.notes],
        }

    def _describe_files(self, step_seconds: float) -> dict[str, Any]:
        plan, need = self.plan, self.disk
        timed = self._count_timed_files(step_seconds)
        kept = 0 if plan.save.keep_last else timed * need.result
        out = expand_path(plan.save.out).absolute()
        existing = next(each for each in (out, *out.parents) if each.exists())
        suffix = library.formats_of(plan.method.artifact.type)[plan.save.format].suffix
        return {
            "folder": str(out / plan.save.name),
            "file": plan.save.name + suffix,
            "files": len(list(list_planned_steps(plan.save, plan.train))) + timed + 1,
            "file_bytes": need.result,
            "previews": self.count_previews(step_seconds),
            "prompts": [*plan.sample.prompts, *plan.sample.overfit_prompts],
            "disk_bytes": need.folder + kept + need.class_images + need.latents,
            "free_disk_bytes": shutil.disk_usage(existing).free,
        }


def plan_run(recipe: Recipe, dataset: Dataset, sources: PlanSources) -> PlannedRun:
    """What a run of a recipe on its images would do and need.  Raises what the run would raise before its first step.

    The recipe is one of `locate_start`.
    """
    device = select_training_device(recipe.train.device, recipe.precision, recipe.model)
    model = sources.open_model(recipe.model, recipe.prediction)
    start = None
    if recipe.continue_from:
        start = library.read_weights(expand_path(recipe.continue_from), model, recipe.method.artifact.type)
    plan, _forecast = resolve(recipe, Facts(dataset, model, start, device))
    identity = describe_generator(recipe.model, plan.data.resolution, recipe.text.clip_skip)
    return PlannedRun(
        plan,
        model,
        device,
        sources.count_step(model, plan.method, plan.data.resolution, plan.train.samples_at_once),
        sources.count_image(model) if list_preview_steps(plan) else None,
        sources.measure(model, device, plan.train.samples_at_once),
        estimate_need(plan, model, dataset.photos, identity),
        dataset.sample,
        prepare_sample(recipe, device, plan.data, dataset.sample) if dataset.sample else None,
        count_missing(plan.data.class_images, identity),
        [
            *preflight.builtin_model_notes(recipe),
            *precision_notes(device, recipe.precision),
            *dataset.notes,
            *process_notes(plan.train),
            *parts_notes(plan.train),
        ],
    )


def read_dataset(recipe: Recipe) -> Dataset:
    """The images of a recipe, each decoded once, or a sample of many; the recipe is one of `locate_start`."""
    required = recipe.method.artifact.requires_trigger_word
    word = read_trigger_word(recipe.continue_from, recipe.method.artifact)
    cache, find_resolution = LatentCache(get_cache_folder()), partial(find_model_resolution, recipe.model)
    finder = SampleFinder()
    events = load_dataset(recipe.data, required, word, cache, find_model_resolution=find_resolution, find=finder.find)
    while True:
        try:
            next(events)
        except StopIteration as end:
            dataset: Dataset = end.value
            return finder.enlarge(dataset, dataset.resolution or find_resolution() or _USUAL_RESOLUTION)
