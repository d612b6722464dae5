"""The plan of a run: the recipe with every value decided, so that no 0 or None means "choose automatically"."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import tomli_w

from tetrad.locales import Message, _, ngettext
from tetrad.methods.settings import MethodSettings
from tetrad.settings.buckets import BucketSettings
from tetrad.settings.captions import CaptionSettings
from tetrad.settings.field import replace
from tetrad.settings.image_folder import ImageFolder
from tetrad.settings.learning_rate import LearningRate
from tetrad.settings.loss import Loss
from tetrad.settings.preserve import PreserveSettings
from tetrad.settings.recipe import Text
from tetrad.settings.schedulers import Scheduler
from tetrad.settings.toml import as_values


@dataclass(frozen=True)
class ModelPlan:
    path: str  # or "builtin"
    family: str
    prediction: str  # "epsilon" or "v"
    vae: str  # the file whose latents are trained on; "" for the checkpoint's own
    continue_from: str  # a file; "" for a fresh start


@dataclass(frozen=True)
class ClassImagePlan:
    """The class images of a run; the folder is "" for none."""

    folder: str
    count: int
    prompt: str
    weight: float

    @property
    def is_enabled(self) -> bool:
        return bool(self.folder)


@dataclass(frozen=True)
class DataPlan:
    images: str
    folders: tuple[ImageFolder, ...]  # more of them
    trigger_word: str  # "" for none
    class_word: str
    resolution: int
    flip: bool
    alpha_mask: bool
    masks: str  # a folder; "" for none
    unmasked_weight: float
    unmasked_prior_weight: float  # 0: off
    unmasked_probability: float
    buckets: BucketSettings
    captions: CaptionSettings
    class_images: ClassImagePlan
    preserve: PreserveSettings


@dataclass(frozen=True)
class TrainPlan:
    steps: int  # in total, with those of the file it continues from
    steps_before: int  # of the file it continues from
    images: int
    repeats: int  # how many images an epoch uses, counting repeats
    steps_per_epoch: float
    batch_size: int
    gradient_accumulation: int
    samples_per_update: int  # images, with class images and preserved ones
    samples_at_once: int  # that are computed at once, at most
    learning_rates: Mapping[str, LearningRate]  # by part; "" is for every part without its own
    scheduler: Scheduler
    scheduler_cycles: int
    scheduler_power: float
    scheduler_min_ratio: float
    scheduler_timescale: int
    decay_steps: int
    warmup_steps: int
    warmup_from_zero: bool
    optimizer: str
    optimizer_args: tuple[str, ...]
    block_rates: str  # "" for none
    weight_decay: float
    max_grad_norm: float  # 0: off
    text_encoder_steps: int  # the last step in which text encoders train
    ema: float  # 0: off
    seed: int
    device: str
    processes: int  # that share each update
    sharding: str  # "full" where each of them has a part of the trained weights, else "none"
    dtype: str
    quantize_base: str  # "none", "8bit" or "nf4"
    fused_backward: bool
    gradient_checkpointing: bool
    packs_convolutions: bool  # frozen ones, on a CPU

    @property
    def epochs(self) -> float:
        """Epochs in total, with those before this run."""
        return self.steps / self.steps_per_epoch

    @property
    def steps_per_image(self) -> float:
        """The steps of this run for each image, whatever the batch size: what `--steps-per-image` sets."""
        return (self.steps - self.steps_before) / self.images

    def learning_rate(self, part: str) -> LearningRate:
        return self.learning_rates.get(part, self.learning_rates[""])


@dataclass(frozen=True)
class SavePlan:
    out: str
    name: str
    every: int  # steps; 0: only at the end
    every_epochs: int  # 0: off
    every_minutes: float  # 0: off
    keep_last: int  # files that are saved before the end; 0: all
    format: str
    precision: str
    keep_resume: bool  # keep the resume points of a run that has ended
    replace: bool  # write the result over the file that the run continues from
    about: Mapping[str, str]  # what the file says about itself


@dataclass(frozen=True)
class SamplePlan:
    prompts: tuple[str, ...]
    overfit_prompts: tuple[str, ...]
    negative_prompt: str
    every: int  # steps; 0: off
    every_minutes: float  # 0: off
    before_training: bool
    steps: int
    cfg_scale: float
    sampler: str
    seed: int
    next_seeds: bool  # each prompt has the seed after that of the one before
    width: int  # 0: of the training
    height: int

    @property
    def makes_previews(self) -> bool:
        return self.every > 0 or self.every_minutes > 0


@dataclass(frozen=True)
class JudgePlan:
    """How a run is judged; `predictions` is 0 for a run that is not."""

    predictions: int  # of each measurement
    every: int  # steps between measurements; files are measured too whenever they are saved
    held_out_images: tuple[str, ...]  # sha256 of the images that are not trained on
    stops: bool  # whether the run may end before its last step
    images: Literal["off", "end", "previews"] = "off"  # when images are generated to score the run by

    @property
    def is_enabled(self) -> bool:
        return self.predictions > 0

    @property
    def uses_images(self) -> bool:
        return self.images != "off"


@dataclass(frozen=True)
class Plan:
    """Every value of a run."""

    model: ModelPlan
    data: DataPlan
    text: Text
    method: MethodSettings
    train: TrainPlan
    loss: Loss
    save: SavePlan
    sample: SamplePlan
    judge: JudgePlan

    @property
    def preserve(self) -> PreserveSettings:
        """The settings of the samples that are preserved, off where the method needs none."""
        preserve = self.data.preserve
        return preserve if preserves_others(preserve, self.method) else replace(preserve, samples=0)

    @property
    def has_teacher(self) -> bool:
        """Whether steps need what the model predicted before training."""
        return self.preserve.is_enabled or self.data.unmasked_prior_weight > 0

    @property
    def teacher_samples(self) -> int:
        """The samples of a batch whose prediction before training is needed too."""
        batch = self.train.batch_size
        held = batch if self.data.unmasked_prior_weight else 0
        return held + count_preserved(self.data.preserve, self.method, batch)

    @property
    def keeps_original(self) -> bool:
        """Whether the run needs the model as it was before training, beside the one that it trains."""
        return self.has_teacher or self.judge.uses_images

    def as_values(self) -> dict[str, Any]:
        """The whole plan as values that TOML and JSON can hold, by section."""
        values = {field.name: _to_toml_value(getattr(self, field.name)) for field in fields(self)}
        values["train"]["steps_per_image"] = self.train.steps_per_image
        return values

    def as_toml(self) -> str:
        """The whole plan, for the run's folder."""
        return tomli_w.dumps(self.as_values())

    def length(self) -> Message:
        """The length of the run in steps, and what they are computed from."""
        train = self.train
        batch = train.batch_size * train.gradient_accumulation
        new_steps = train.steps - train.steps_before
        epochs, repeats = _shorten(new_steps / train.steps_per_epoch), _shorten(train.repeats / train.images)
        if epochs * train.images * repeats == new_steps * batch:
            template = _("{steps} = {epochs} × {images} × {repeats} / batch {batch}, {steps_per_image} per image")
        else:  # some batches are not full, since all images of a batch are in one bucket, or a number is rounded
            template = _(
                "{steps} {sign} {epochs} of {epoch_steps} ({images} × {repeats}, batch {batch}), {steps_per_image} per"
                " image"
            )
        return Message(
            template,
            steps=count_steps(new_steps),
            sign="=" if epochs * _shorten(train.steps_per_epoch) == new_steps else "≈",
            epoch_steps=count_steps(train.steps_per_epoch),
            epochs=Message(ngettext("{count} epoch", "{count} epochs", _plural_number(epochs)), count=_format(epochs)),
            images=Message(ngettext("{count} image", "{count} images", train.images), count=f"{train.images:,}"),
            repeats=Message(
                ngettext("{count} repeat", "{count} repeats", _plural_number(repeats)), count=_format(repeats)
            ),
            batch=f"{batch:,}",
            steps_per_image=count_steps(train.steps_per_image),
        )


def preserves_others(preserve: PreserveSettings, method: MethodSettings) -> bool:
    """Whether samples are preserved: not for an embedding, which changes only prompts with its trigger word."""
    return preserve.is_enabled and not method.artifact.requires_trigger_word


def count_preserved(preserve: PreserveSettings, method: MethodSettings, batch_size: int) -> int:
    """The samples that preserve other images in each batch."""
    return min(preserve.samples, batch_size) if preserves_others(preserve, method) else 0


def count_steps(count: float) -> Message:
    """`1 step`, `2.5 steps`, `15,000 steps`."""
    number = _shorten(count)
    return Message(ngettext("{count} step", "{count} steps", _plural_number(number)), count=_format(number))


def _shorten(number: float) -> Decimal:
    """The number as it is shown: with four significant digits below 1000, else rounded to an integer."""
    return Decimal(f"{number:.4g}") if number < 1000 else Decimal(round(number))


def _format(number: Decimal) -> str:
    """`0.001`, `2.5`, `15,000`."""
    return f"{number:,f}"


def _plural_number(number: Decimal) -> int:
    """The number that decides between singular and plural; 2 for a number that is not an integer."""
    return int(number) if number == int(number) else 2


def _to_toml_value(value: Any) -> Any:
    """A part of a plan as values that TOML can hold."""
    if isinstance(value, LearningRate | Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key or "other parts": _to_toml_value(inner) for key, inner in value.items()}
    if not is_dataclass(value) or isinstance(value, type):
        return [_to_toml_value(each) for each in value] if isinstance(value, tuple) else value
    if hasattr(value, "__pydantic_fields__"):
        return as_values(value)
    return {field.name: _to_toml_value(getattr(value, field.name)) for field in fields(value)}
