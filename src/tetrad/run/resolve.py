"""Resolves a recipe to a plan: the one place where every value that the recipe leaves open is decided."""

from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

from tetrad import library
from tetrad.builtin import resolve_images_path
from tetrad.builtin.usual_training import count_usual_steps, list_usual_rates
from tetrad.data.buckets import count_batches
from tetrad.errors import TetradError, naming_file
from tetrad.estimate.forecast import MemoryForecast, forecast_memory
from tetrad.estimate.speed import SMALL_RESOLUTION
from tetrad.locales import _
from tetrad.methods.base import behavior_of
from tetrad.methods.settings import MethodSettings
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec
from tetrad.run.continuation import check_replaceable, name_of, read_trained_steps
from tetrad.run.dataset import Dataset
from tetrad.run.folder import file_name
from tetrad.run.plan import JudgePlan, ModelPlan, Plan, SamplePlan, SavePlan, TrainPlan, count_preserved
from tetrad.run.previews import default_prompts
from tetrad.run.processes.share import check_share
from tetrad.run.resolve_data import resolve_data
from tetrad.run.resolve_judge import resolve_judge
from tetrad.run.resolve_memory import decides_to_pack, resolve_memory
from tetrad.settings import Recipe, Sample, Train
from tetrad.settings.field import replace
from tetrad.settings.learning_rate import LearningRate, parse_learning_rate
from tetrad.settings.optimizers import get_facts
from tetrad.weights import Weights

_KEPT_TO_STOP = 2  # files besides the best one, where the run may end before its last step
_TIMESCALE = 10_000  # steps of inverse_sqrt without a warm-up, as in transformers
_DECAY_SHARE = 0.2  # of the steps, for warmup_stable_decay
_FOUND_RATE = "1"  # for an optimizer that finds its own rate, of which this is a factor


@dataclass(frozen=True)
class Facts:
    """What is known about the dataset, the model and the device when the plan is made."""

    dataset: Dataset
    model: Model
    start: Weights | None  # the trained file that the run continues from
    device: DeviceSpec
    start_format: str = ""  # the format of that file, "" where the method cannot write it

    @property
    def steps_before(self) -> int:
        return read_trained_steps(self.start)


def resolve(recipe: Recipe, facts: Facts) -> tuple[Plan, MemoryForecast | None]:
    """The plan of the run, and the memory it is estimated to need (None for a small model).

    Raises E3151 … for invalid settings of class images, E3153 where no step is left, E3159 for a file
    that cannot be replaced, and the method's own errors where its settings do not match the file it continues from.
    """
    dataset, model = facts.dataset, facts.model
    resolution = dataset.resolution or model.resolution
    method = _resolve_method(recipe, facts)
    file_format = recipe.save.format or facts.start_format or next(iter(library.formats_of(method.artifact.type)))
    if recipe.save.replace and recipe.continue_from:
        check_replaceable(recipe.continue_from, method.artifact, file_format)
    judge = _resolve_judge(recipe, method, facts, resolution)
    dataset = facts.dataset.hold_out(judge.held_out_images)
    facts = replace_fields(facts, dataset=dataset)
    train, forecast = _resolve_train(recipe, method, facts, resolution, judge)
    plan = Plan(
        model=ModelPlan(recipe.model, model.family, model.noise.prediction, recipe.vae, recipe.continue_from),
        data=resolve_data(recipe, dataset, resolution),
        text=replace(recipe.text, clip_skip=recipe.text.clip_skip or model.text_encoders[0].default_clip_skip),
        method=method,
        train=train,
        loss=recipe.loss,
        save=_resolve_save(recipe, method, file_format, dataset.trigger_word, judge),
        sample=_resolve_sample(recipe.sample, method, facts, train, resolution),
        judge=judge,
    )
    return plan, forecast


def _resolve_save(
    recipe: Recipe, method: MethodSettings, file_format: str, trigger_word: str, judge: JudgePlan
) -> SavePlan:
    """What is saved; a run that ends by itself saves whenever it is measured, and keeps the newest files and the best.

    Unless the recipe says when to save.
    """
    save = recipe.save
    saves_to_stop = judge.stops and judge.every > 0
    return SavePlan(
        out=save.out,
        name=resolve_name(recipe, trigger_word),
        every=judge.every if saves_to_stop else save.every,
        every_epochs=save.every_epochs,
        every_minutes=save.every_minutes,
        keep_last=save.keep_last or (_KEPT_TO_STOP if saves_to_stop else 0),
        format=file_format,
        precision=save.precision or method.artifact.precision,
        keep_resume=save.keep_resume,
        replace=save.replace and bool(recipe.continue_from),
        about=save.about,
    )


def _resolve_judge(recipe: Recipe, method: MethodSettings, facts: Facts, resolution: int) -> JudgePlan:
    """How the run is judged; what is held out is decided from the length that the run has with all images."""
    batch_size, _steps_per_epoch, steps = _resolve_length(recipe, method, facts, resolution)
    samples = batch_size * recipe.train.gradient_accumulation
    return resolve_judge(recipe, facts.dataset.subjects, steps - facts.steps_before, samples)


def _resolve_length(recipe: Recipe, method: MethodSettings, facts: Facts, resolution: int) -> tuple[int, float, int]:
    """The batch size, the steps of an epoch, and the last step."""
    photos = facts.dataset.subjects
    batch_size = recipe.train.batch_size or facts.dataset.batch_size or (4 if resolution <= SMALL_RESOLUTION else 1)
    steps_per_epoch = count_batches(photos, resolution, batch_size) / recipe.train.gradient_accumulation
    return batch_size, steps_per_epoch, _resolve_steps(recipe, method, facts, steps_per_epoch)


def _resolve_train(
    recipe: Recipe, method: MethodSettings, facts: Facts, resolution: int, judge: JudgePlan
) -> tuple[TrainPlan, MemoryForecast | None]:
    """Steps, batch size, learning rates and memory settings, and the memory that a step is estimated to need."""
    train, photos = recipe.train, facts.dataset.subjects
    batch_size, steps_per_epoch, steps = _resolve_length(recipe, method, facts, resolution)
    preserve = recipe.data.preserve
    preserved = count_preserved(preserve, method, batch_size)
    rate_factor = preserve.learning_rate_factor if preserved else 1.0
    optimizer = get_facts(train.optimizer)
    warmup_steps = train.warmup_steps or int(train.warmup_share * steps)
    keeps_original = preserved > 0 or judge.uses_images or recipe.data.unmasked_prior_weight > 0
    has_class_images = recipe.data.class_images.is_enabled or len(facts.dataset.photos) > len(photos)
    samples = preserved + (2 * batch_size if has_class_images else batch_size)
    memory = resolve_memory(
        train,
        samples,
        facts.device.device,
        lambda size: forecast_memory(facts.model, method, train, resolution, size, facts.device, keeps_original),
    )
    plan = TrainPlan(
        steps=steps,
        steps_before=facts.steps_before,
        images=len(photos),
        repeats=sum(photo.subset.repeats for photo in photos),
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        gradient_accumulation=train.gradient_accumulation,
        samples_per_update=samples * train.gradient_accumulation,
        samples_at_once=memory.samples_at_once,
        learning_rates={
            part: _scale(rate, rate_factor)
            for part, rate in _resolve_learning_rates(train, method, facts.model).items()
        },
        scheduler=train.scheduler or ("constant" if optimizer.is_schedule_free else method.artifact.scheduler),
        scheduler_cycles=train.scheduler_cycles,
        scheduler_power=train.scheduler_power,
        scheduler_min_ratio=train.scheduler_min_ratio,
        scheduler_timescale=train.scheduler_timescale or _usual_timescale(train, steps, warmup_steps),
        decay_steps=train.decay_steps or round(_DECAY_SHARE * steps),
        warmup_steps=warmup_steps,
        warmup_from_zero=train.warmup_from_zero,
        optimizer=train.optimizer,
        optimizer_args=train.optimizer_args,
        block_rates=train.block_rates,
        weight_decay=method.artifact.weight_decay if train.weight_decay is None else train.weight_decay,
        max_grad_norm=0.0 if train.fused_backward else train.max_grad_norm,
        text_encoder_steps=round(train.text_encoder_share * steps),
        ema=train.ema,
        seed=train.seed,
        device=str(facts.device.device),
        processes=train.processes,
        sharding=train.sharding if train.has_several_processes else "none",
        dtype=str(facts.device.dtype).removeprefix("torch."),
        quantize_base=train.quantize_base,
        fused_backward=train.fused_backward,
        gradient_checkpointing=memory.gradient_checkpointing,
        packs_convolutions=decides_to_pack(train, memory, facts.model, resolution, facts.device),
    )
    check_share(plan, train.allow_slower)
    return plan, memory.forecast


def _usual_timescale(train: Train, steps: int, warmup_steps: int) -> int:
    """The steps of a schedule that has its own length: all of them, or for inverse_sqrt those of the warm-up."""
    return steps if train.scheduler == "cosine_annealing" else warmup_steps or _TIMESCALE


def _resolve_sample(
    sample: Sample, method: MethodSettings, facts: Facts, train: TrainPlan, resolution: int
) -> SamplePlan:
    """The preview prompts, and how often previews are generated: four times, or never where they would take long."""
    prompts = default_prompts(sample, facts.dataset, shows_person=getattr(method, "subject", "") == "face")
    is_fast = resolution <= SMALL_RESOLUTION or facts.device.device.type != "cpu"
    quarter = -(-(train.steps - train.steps_before) // 4)
    by_epochs = max(1, round(sample.every_epochs * train.steps_per_epoch)) if sample.every_epochs else 0
    by_minutes = 0.0 if sample.every or by_epochs else sample.every_minutes
    return SamplePlan(
        prompts=prompts.prompts,
        overfit_prompts=prompts.overfit_prompts,
        negative_prompt=sample.negative_prompt,
        every=max(0, sample.every or by_epochs or (quarter if is_fast and not by_minutes else 0)),
        every_minutes=by_minutes,
        before_training=sample.before_training,
        steps=sample.steps,
        cfg_scale=sample.cfg_scale,
        sampler=sample.sampler,
        seed=train.seed if sample.seed is None else sample.seed,
        next_seeds=sample.next_seeds,
        width=sample.width,
        height=sample.height,
    )


def _resolve_method(recipe: Recipe, facts: Facts) -> MethodSettings:
    """The method's settings: those of the file it continues from, or its defaults for this number of images."""
    word = facts.dataset.trigger_word
    behavior = behavior_of(recipe.method)
    if facts.start is None:
        settings = recipe.method.with_defaults(word, len(facts.dataset.subjects), facts.dataset.class_word)
    else:
        with naming_file(Path(recipe.continue_from)):
            resumed: MethodSettings = behavior.resume_from(recipe.method, facts.start, facts.model)
        settings = resumed.with_defaults(word, 0, facts.dataset.class_word)
    behavior.check_settings(settings, facts.model)
    return settings


def _resolve_steps(recipe: Recipe, method: MethodSettings, facts: Facts, steps_per_epoch: float) -> int:
    """The last step: by train.epochs, train.steps, or the method's default.  E3153 where it is reached already."""
    before = facts.steps_before
    if recipe.train.epochs:
        return before + max(1, round(recipe.train.epochs * steps_per_epoch))
    steps = recipe.train.steps or before + count_usual_steps(method, len(facts.dataset.subjects), facts.model.name)
    if steps <= before:
        raise TetradError(
            "E3153",
            _(
                "train.steps is {steps}, but {file} was already trained up to step {before}; steps are counted from the"
                " first run, so use more than {before}"
            ),
            file=recipe.continue_from,
            before=before,
            steps=steps,
        )
    return steps


def _resolve_learning_rates(train: Train, method: MethodSettings, model: Model) -> dict[str, LearningRate]:
    """The learning rate of each part that has its own; "" is for every other part.

    It is the recipe's, or else the usual one. A single learning rate in the recipe keeps the method's ratio between
    parts, for example half of it for text encoders. An optimizer that finds its own rate has 1 for all parts.
    """
    own = list_usual_rates(method, model.name)
    if get_facts(train.optimizer).finds_rate:
        own = {"": parse_learning_rate(_FOUND_RATE)}
    base = train.learning_rate or own[""]
    given = _list_text_rates(train, model)
    rates = {"": base}
    for part in model.parts():
        if part in given:
            rates[part] = given[part]
        elif part in own and train.learning_rate is None:
            rates[part] = own[part]
        elif part in own and own[part].is_single_rate and own[""].is_single_rate:
            rates[part] = base.multiply(own[part](1) / own[""](1))
    return rates


def _scale(rate: LearningRate, factor: float) -> LearningRate:
    """A rate times a factor, in as many digits as people write: 3e-4, not 3.0000000000000003e-4."""
    if factor == 1:
        return rate
    return LearningRate(
        tuple((float(f"{value:.12g}"), bound) for value, bound in rate.multiply(factor).pieces), rate.is_single_rate
    )


def _list_text_rates(train: Train, model: Model) -> dict[str, LearningRate]:
    """The rates of text encoders that are given; a second one has that of the first where it has none of its own."""
    first, second = train.text_encoder_learning_rate, train.text_encoder_2_learning_rate
    names = [encoder.name for encoder in model.text_encoders]
    rates = dict(zip(names, (first, second or first), strict=False))
    return {name: rate for name, rate in rates.items() if rate is not None}


def resolve_name(recipe: Recipe, trigger_word: str) -> str:
    """The run's name: save.name, the name of the file it continues from, the trigger word or the image folder's name.

    An embedding is named after its trigger word, so a new word gives it a new name.
    """
    renames = recipe.method.artifact.requires_trigger_word and recipe.data.trigger_word
    kept = name_of(recipe.continue_from) if recipe.continue_from and not renames else ""
    return recipe.save.name or kept or file_name(trigger_word or resolve_images_path(recipe.data.images).stem)
