"""The facts of a run that decide which settings have an effect, and a warning for each setting that has none."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

from tetrad.data.batches import TrainingSample
from tetrad.data.caption_effects import BatchRange, find_settings_that_change_captions, is_left_open
from tetrad.data.dataset import Photo, has_own_text
from tetrad.methods.base import ParamGroup
from tetrad.models.base import Model
from tetrad.paths import expand_path
from tetrad.run.events import Note
from tetrad.run.plan import Plan, TrainPlan
from tetrad.run.step_files import list_planned_steps
from tetrad.settings import Recipe
from tetrad.settings.captions import CaptionSettings
from tetrad.settings.effects import without_effect
from tetrad.settings.field import Facts, replace
from tetrad.settings.train import Train
from tetrad.settings.vae_decoder import DecoderRecipe
from tetrad.training.lr_schedules import Decay, Schedule

_NO_EFFECT = "W3132"
# The settings of a schedule's decay, and their names in it.
_DECAY = {
    "scheduler": "scheduler",
    "scheduler_cycles": "cycles",
    "scheduler_power": "power",
    "warmup_steps": "warmup_steps",
    "warmup_share": "warmup_steps",
    "warmup_from_zero": "warmup_from_zero",
    "scheduler_min_ratio": "min_ratio",
    "scheduler_timescale": "timescale",
    "decay_steps": "decay_steps",
}
_MAX_COMPARED_STEPS = 3000


def effect_notes(
    recipe: Recipe,
    plan: Plan,
    groups: Sequence[ParamGroup],
    schedules: Sequence[Schedule],
    model: Model,
    photos: Sequence[Photo],
    samples: Sequence[TrainingSample],
) -> Iterator[Note]:
    """A warning for each setting that was given and has no effect in this run; `photos` include class images."""
    train = plan.train
    texts = {encoder.name for encoder in model.text_encoders}
    facts: Facts = {
        **caption_facts(recipe.data.captions, photos, _batch_range(train)),
        **_rate_facts(plan, groups, schedules, texts),
        "is left open": _find_left_open(recipe, photos),
        "has class images": any(sample.is_class_image for sample in samples),
        "has transparency": any(sample.masks for sample in samples),
        "fresh start": not plan.model.continue_from,
        "continues": bool(plan.model.continue_from),
        **_saving_facts(plan),
        "makes previews": plan.sample.makes_previews,
        "is judged": plan.judge.is_enabled,
    }
    for message in without_effect(recipe, facts, replace(recipe, method=plan.method)):
        yield Note(message, _NO_EFFECT)


def decoder_effect_notes(recipe: DecoderRecipe, vae: Path | None) -> Iterator[Note]:
    """The same for a run that trains the decoder of a VAE; `vae` is its file, None for the checkpoint's own."""
    is_from_folder = vae is not None and vae.resolve().is_relative_to(expand_path(recipe.vae_dir).resolve())
    for message in without_effect(recipe, {"uses VAE folder": is_from_folder}):
        yield Note(message, _NO_EFFECT)


def caption_facts(settings: CaptionSettings, photos: Sequence[Photo], batches: BatchRange) -> Facts:
    """What is true of the captions as they are used, with each subset's own settings."""
    captions = [photo.captions for photo in photos]
    own = {caption.settings for caption in captions}
    texts = [(caption.settings, caption.full_text) for caption in captions]
    return {
        "changes captions": {
            f"data.captions.{name}" for name in find_settings_that_change_captions(photos, settings, batches)
        },
        "uses captions": any(caption.uses_text for caption in captions)
        or not any(photo.subset.template for photo in photos),
        "has tags": any(len(caption.tags) > 1 for caption in captions),
        "changes tags": any(each.changes_tags for each in own),
        "has captions": any(caption.raw_text for caption in captions),
        "lacks captions": not all(
            has_own_text(photo) for photo in photos if is_left_open(photo.subset, "file_names", settings)
        ),
        "has choices": any("{" in caption.full_text or "\n" in caption.raw_text for caption in captions),
        "has separator": {
            f"data.captions.{name}"
            for name in ("keep_separator", "secondary_separator")
            if any((found := getattr(each, name)) and found in text for each, text in texts)
        },
        "reaches epoch": any(batches.reaches_epoch(each.dropout_epochs) for each in own),
        "uses file names": any(photo.caption_source == "file name" for photo in photos),
    }


def _batch_range(train: TrainPlan) -> BatchRange:
    accumulation = train.gradient_accumulation
    per_epoch = max(1, round(train.steps_per_epoch * accumulation))
    return BatchRange(train.steps_before * accumulation, train.steps * accumulation, per_epoch)


def _find_left_open(recipe: Recipe, photos: Sequence[Photo]) -> Collection[str]:
    """The settings whose value the data set leaves to the run, at least for some images."""
    subsets, data = {photo.subset for photo in photos}, recipe.data
    found = {
        f"data.captions.{name}"
        for name in vars(data.captions)
        if any(is_left_open(subset, name, data.captions) for subset in subsets)
    }
    found |= {
        key for key in ("data.flip", "data.alpha_mask") if any(key not in subset.own_settings for subset in subsets)
    }
    repeated = any("data.repeats" not in subset.own_settings and subset.repeats == data.repeats for subset in subsets)
    return found | {"data.repeats"} if repeated else found


def _rate_facts(
    plan: Plan, groups: Sequence[ParamGroup], schedules: Sequence[Schedule], texts: Collection[str]
) -> Facts:
    """What is true of the learning rates of the groups."""
    train = plan.train
    rates = [(train.learning_rate(group.part), group.part in texts) for group in groups]
    first = train.steps_before + 1
    return {
        "trains text encoder": any(is_text for _rate, is_text in rates),
        "has second text encoder": len(texts) > 1,
        "trains blocks": any(group.paths for group in groups),
        "text encoder learns": any(is_text and not rate.is_zero_from(first) for rate, is_text in rates),
        "text encoder has steps": train.text_encoder_steps >= first,
        "plain learning rate": any(rate.is_single_rate and not rate.is_zero_from(first) for rate, _text in rates),
        "changes learning rates": {
            f"train.{name}"
            for name in (*_DECAY, "text_encoder_share")
            if any(_changes_rate(name, schedule, plan) for schedule in schedules)
        },
    }


def _changes_rate(name: str, schedule: Schedule, plan: Plan) -> bool:
    """Whether a schedule has another learning rate in some step without the setting, or with another scheduler."""
    if name == "text_encoder_share":
        other = replace_fields(schedule, last_step=None)
    elif isinstance(schedule.factor, Decay):
        value: Any = getattr(Train, name) or getattr(Decay, _DECAY[name], "")
        if name == "scheduler":
            value = "linear" if plan.train.scheduler == "constant" else "constant"
        other = replace_fields(schedule, factor=replace_fields(schedule.factor, **{_DECAY[name]: value}))
    else:
        return False
    steps = range(plan.train.steps_before + 1, plan.train.steps + 1)
    compared = {*steps[:: max(1, len(steps) // _MAX_COMPARED_STEPS)], *steps[:100], *steps[-100:]}
    if schedule.last_step is not None and schedule.last_step + 1 in steps:
        compared.add(schedule.last_step + 1)
    return any(schedule(step) != other(step) for step in compared)


def _saving_facts(plan: Plan) -> Facts:
    """Which settings save a file before the last step, and whether there are more of these files than are kept."""
    save, off = plan.save, {"every": 0, "every_epochs": 0}
    alone = {name: replace_fields(save, **off | {name: getattr(save, name)}) for name in off}
    saving = {f"save.{name}" for name, each in alone.items() if any(list_planned_steps(each, plan.train))}
    count = sum(1 for _step in list_planned_steps(save, plan.train))
    return {
        "saves before the end": saving,
        "saves more than it keeps": save.every_minutes > 0 or count > save.keep_last,
    }
