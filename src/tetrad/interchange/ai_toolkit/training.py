"""ai-toolkit's length, learning rate, schedule, optimizer and EMA."""

from collections.abc import Mapping
from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange.half_weights import map_bf16_weights
from tetrad.interchange.job import Entry, Job
from tetrad.interchange.optimizers import ADAPTIVE, map_arguments, map_optimizer, plain_name
from tetrad.interchange.rates import read_rates
from tetrad.locales import Message, _

_DEFAULT_STEPS, _DEFAULT_RATE = 1000, 1e-6


def decide_length(job: Job) -> None:
    """Passes of the loop; an older kind of accumulation counts batches."""
    batch = max(1, job.whole("train.batch_size", 1))
    new, old = job.whole("train.gradient_accumulation", 1), job.whole("train.gradient_accumulation_steps", 1)
    steps = job.whole("train.steps", _DEFAULT_STEPS)
    job.map("train.batch_size", {"train.batch_size": batch})
    if old < 0:
        job.leave("train.gradient_accumulation_steps", Message(_("an update takes one batch instead of a whole epoch")))
        old = 1
    if new > 1 and old > 1:
        template = _("{file} has both gradient_accumulation and gradient_accumulation_steps, which ai-toolkit refuses")
        job.errors.append(TetradError("E3164", template, file=job.path.name))
    accumulation = max(1, new, old)
    for name in ("train.gradient_accumulation", "train.gradient_accumulation_steps"):
        if name in job.entries and name not in job.rows:
            job.map(name, {"train.gradient_accumulation": accumulation})
    template = _("{steps} batches in {accumulation} each for an update")
    reason = Message(template, steps=steps, accumulation=old) if old > 1 else None
    job.map("train.steps", {"train.steps": max(1, steps // max(1, old))}, reason)
    job.settings["train.gradient_accumulation"] = accumulation


def decide_training(job: Job, kind: str) -> None:
    """Optimizer, rate and schedule: a LoRA has one rate for both parts."""
    given = job.word("train.optimizer", "adamw")
    carries = map_optimizer(job, "train.optimizer", given)
    found: Any = job.get("train.optimizer_params")
    arguments: dict[str, Any] = {str(key): value for key, value in found.items()} if isinstance(found, Mapping) else {}
    if "train.optimizer_params" in job.entries:
        job.equal("train.optimizer_params", Message(_("its arguments are listed one by one")) if arguments else None)
    job.entries |= {
        f"train.optimizer_params.{key}": Entry(f"train.optimizer_params.{key}", value)
        for key, value in arguments.items()
    }
    map_arguments(job, "train.optimizer_params.", arguments)
    if carries and "eps" not in arguments:
        job.notes.append(Message(_("the optimizer's eps is 1e-6 in ai-toolkit and 1e-8 in Tetrad")))
    rate = job.number("train.lr", _DEFAULT_RATE) or _DEFAULT_RATE
    if plain_name(given) in ADAPTIVE and rate < 0.1:
        rate = 1.0
        job.notes.append(Message(_("ai-toolkit raises a rate below 0.1 to 1 for this optimizer")))
    has_text = job.flag("train.train_text_encoder") and kind != "textual-inversion"
    rates = read_rates(job, "train.lr", rate, rate if has_text else None, carries)
    rates.put(job, "train.lr")
    if kind != "textual-inversion":
        job.map("train.train_text_encoder", {"method.text_encoder": has_text})
    for name in (
        "train.unet_lr",
        "train.text_encoder_lr",
        "train.embedding_lr",
        "train.refiner_lr",
        "train.adapter_lr",
    ):
        if name in job.entries:
            job.skip(name, Message(_("only train.lr counts there")))
    if "train.train_unet" in job.entries:
        on = job.flag("train.train_unet")
        reason = Message(_("the U-Net is always trained; only the text encoders cannot be"))
        if kind == "textual-inversion":
            job.skip("train.train_unet", Message(_("only the embedding is trained")))
        else:
            job.equal("train.train_unet") if on else job.leave("train.train_unet", reason)
    _decide_schedule(job)
    _decide_ema(job)
    if kind == "dreambooth" and job.settings.get("train.precision") == "bf16":
        _decide_half_weights(job)


def _decide_half_weights(job: Job) -> None:
    """A whole model is trained in the dtype of the computation."""
    name = "train.dtype"
    map_bf16_weights(job, name)
    row = job.rows[name]
    if row.settings:
        job.map(name, {"train.precision": "bf16", **row.settings}, row.reason)


def _decide_schedule(job: Job) -> None:
    """torch's schedules, whose linear rises, and whose restarts over the whole run are none."""
    given, passes = job.word("train.lr_scheduler", "constant"), max(1, job.whole("train.steps", _DEFAULT_STEPS))
    per_update = max(1, job.whole("train.gradient_accumulation_steps", 1))
    found: Any = job.get("train.lr_scheduler_params")
    params: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    template = _("Tetrad does not have this schedule; the run uses {scheduler}")
    settings: dict[str, Any] = {"train.scheduler": given}
    if given == "constant_with_warmup":
        warmup = int(params.get("num_warmup_steps", 1000)) // per_update  # it is stepped in each pass
        settings = {"train.scheduler": "constant", "train.warmup_steps": warmup, "train.warmup_from_zero": True}
    elif given == "cosine_with_restarts":
        period = max(1, int(params.get("T_0", passes)))
        if passes % period:
            settings = {}
        elif period < passes:
            settings |= {"train.scheduler_cycles": passes // period}
        else:
            settings = {"train.scheduler": "cosine"}
    elif given not in ("constant", "cosine"):
        settings = {}
    if settings:
        job.map("train.lr_scheduler", settings)
    else:
        ours = "cosine" if given == "cosine_with_restarts" else "constant"
        job.settings["train.scheduler"] = ours
        job.leave("train.lr_scheduler", Message(template, scheduler=ours))
    if "train.lr_scheduler_params" in job.entries:
        job.map("train.lr_scheduler_params", settings) if params and settings else job.equal(
            "train.lr_scheduler_params"
        )


def _decide_ema(job: Job) -> None:
    """ema_config may be there without being used."""
    on = job.flag("train.ema_config.use_ema")
    decay = job.number("train.ema_config.ema_decay", 0.999) or 0.999
    for name in ("train.ema_config.use_ema", "train.ema_config.ema_decay"):
        if name in job.entries:
            job.map(name, {"train.ema": decay}) if on else job.equal(name)


def decide_preservation(job: Job) -> None:
    """Samples whose target is the model's prediction before training: on the class word, or on an empty caption."""
    by_class, by_blank = "train.diff_output_preservation", "train.blank_prompt_preservation"
    kinds = [name for name in (by_class, by_blank) if job.flag(name)]
    for name in (by_class, by_blank):
        multiplier, word = f"{name}_multiplier", f"{name}_class"
        if name not in kinds:
            for key in (name, multiplier, word):
                if key in job.entries:
                    job.equal(key)
        elif name != kinds[0]:
            for key in (name, multiplier):
                if key in job.entries:
                    job.skip(key, Message(_("{key} comes first"), key=kinds[0]))
        else:
            _map_preservation(job, name)


def _map_preservation(job: Job, name: str) -> None:
    batch = job.settings["train.batch_size"]
    captions = [job.word(f"{name}_class", "person")] if name == "train.diff_output_preservation" else [""]
    settings = {"data.preserve.samples": batch, "data.preserve.learning_rate_factor": 1.0}
    template = _("each caption there has the class word in place of the trigger word; here it is the class word alone")
    if captions == [""]:
        job.map(name, settings | {"data.preserve.captions": captions})
    else:
        job.map(name, settings, Message(template))
        job.map(f"{name}_class", {"data.preserve.captions": captions})
    job.map(f"{name}_multiplier", {"data.preserve.weight": job.number(f"{name}_multiplier", 1.0) or 1.0})
