"""OneTrainer's length, learning rates, schedule and optimizer."""

import math

from tetrad.interchange.arithmetic import onetrainer_steps, onetrainer_warmup
from tetrad.interchange.job import Job
from tetrad.interchange.optimizers import find_own_schedule
from tetrad.interchange.rates import Rates, note_long_warmup, read_rates
from tetrad.locales import Message, _

_EPOCHS, _LEARNING_RATE, _WARMUP = 100, 3e-6, 200.0  # OneTrainer's defaults
_SCHEDULES = {
    "CONSTANT": "constant",
    "LINEAR": "linear",
    "COSINE": "cosine",
    "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts",
    "REX": "rex",
}
_SECOND_RATE = "train.text_encoder_2_learning_rate"
_RATE_OF = {"text_encoder": "train.text_encoder_learning_rate", "text_encoder_2": _SECOND_RATE}
_SCALED_BY = {
    "BATCH": ("batch_size",),
    "GRADIENT_ACCUMULATION": ("gradient_accumulation_steps",),
    "BOTH": ("batch_size", "gradient_accumulation_steps"),
}


def decide_length(job: Job) -> None:
    """Epochs as steps where the images are there; OneTrainer leaves out what does not fill a batch."""
    epochs = job.whole("epochs", _EPOCHS)
    batch, accumulation = max(1, job.whole("batch_size", 1)), max(1, job.whole("gradient_accumulation_steps", 1))
    job.map("batch_size", {"train.batch_size": batch})
    job.map("gradient_accumulation_steps", {"train.gradient_accumulation": accumulation})
    if job.pictures is None:
        job.map("epochs", {"train.epochs": epochs})
        return
    batches = job.pictures.count_batches(batch, job.bucket, keeps_rest=False)
    steps = onetrainer_steps(batches, epochs, accumulation)
    if not steps:
        template = _("OneTrainer makes no step with {images} images at batch size {batch}, because no batch is full")
        job.failures.append(Message(template, images=len(job.pictures), batch=batch))
        job.map("epochs", {"train.epochs": epochs})
        return
    template = _("{steps} steps = {epochs} epochs × {batches} full batches / accumulation {accumulation}")
    values = {"steps": steps, "epochs": epochs, "batches": batches, "accumulation": accumulation}
    job.map("epochs", {"train.steps": steps}, Message(template, **values))
    job.epoch_steps = max(1, round(batches / accumulation))


def decide_schedule(job: Job) -> None:
    """The schedule, its warm-up of 200 steps by default, and the keys of schedules that Tetrad does not have."""
    if reason := find_own_schedule(job):
        for name in job.entries:
            if name.startswith(("learning_rate_", "custom_learning", "scheduler_")) and name not in job.rows:
                job.skip(name, reason)
        job.settings["train.scheduler"] = "constant"
        return
    given = job.word("learning_rate_scheduler", "CONSTANT")
    ours = _SCHEDULES.get(given)
    if ours:
        job.map("learning_rate_scheduler", {"train.scheduler": ours})
    else:
        ours = "cosine" if "COSINE" in given else "constant"
        template = _("Tetrad does not have this schedule; the run uses {scheduler}")
        job.leave("learning_rate_scheduler", Message(template, scheduler=ours))
        job.settings["train.scheduler"] = ours
    if ours == "cosine_with_restarts":
        job.map(
            "learning_rate_cycles",
            {"train.scheduler_cycles": max(1, round(job.number("learning_rate_cycles", 1) or 1))},
        )
    elif "learning_rate_cycles" in job.entries:
        job.skip("learning_rate_cycles", Message(_("it only counts with {value}"), value="COSINE_WITH_HARD_RESTARTS"))
    if "learning_rate_min_factor" in job.entries:
        lowest = job.number("learning_rate_min_factor", 0.0)
        settings = {"train.scheduler_min_ratio": lowest}
        job.map("learning_rate_min_factor", settings) if lowest and ours != "constant" else job.equal(
            "learning_rate_min_factor"
        )
    for name in ("custom_learning_rate_scheduler", "scheduler_params"):
        if name in job.entries:
            job.skip(name, Message(_("it only counts with {value}"), value="CUSTOM"))
    _decide_warmup(job)


def _decide_warmup(job: Job) -> None:
    name, warmup = "learning_rate_warmup_steps", job.number("learning_rate_warmup_steps", _WARMUP) or 0.0
    steps, accumulation = job.settings.get("train.steps", 0), job.settings["train.gradient_accumulation"]
    if not warmup:
        job.equal(name)
    elif warmup < 1 and not steps:  # while the images are not there
        job.map(name, {"train.warmup_share": warmup, "train.warmup_from_zero": True})
    elif warmup == 1 and not steps:
        job.map(name, {"train.warmup_share": 1.0, "train.warmup_from_zero": True}, Message(_("the whole run")))
    else:
        if warmup == 1:
            template = _("{key} = 1 is the whole run for OneTrainer, so the rate rises to its end; 2 or more are steps")
            job.notes.append(Message(template, key=job.get_shown_name(name)))
        count = onetrainer_warmup(warmup, steps, accumulation)
        note_long_warmup(job, count, steps)
        job.map(name, {"train.warmup_steps": count, "train.warmup_from_zero": True})


def decide_rates(job: Job, method: str, model_type: str, carries: bool) -> None:
    """learning_rate, or each part's own; text encoders train unless they are off."""
    base = job.number("learning_rate", _LEARNING_RATE) or 0.0
    unet = job.number("unet.learning_rate", base) or base
    if method == "EMBEDDING":
        unet = job.number("embedding_learning_rate", base) or base
    encoders = ("text_encoder", "text_encoder_2") if "XL" in model_type else ("text_encoder",)
    trained = [each for each in encoders if f"{each}.train" not in job.entries or job.flag(f"{each}.train")]
    rates = [job.number(f"{each}.learning_rate", base) or base if each in trained else 0.0 for each in encoders]
    factor = _scale_of(job)
    has_text = bool(trained) and method != "EMBEDDING"
    found = read_rates(job, "learning_rate", unet * factor, rates[0] * factor if has_text else None, carries)
    found.put(job, "learning_rate")
    job.settings |= found.settings
    if method != "EMBEDDING":
        job.settings["method.text_encoder"] = has_text
    if has_text and len(set(rates)) > 1 and not found.reason:
        job.settings[_SECOND_RATE] = rates[1] * factor
    _put_parts(job, encoders, trained, rates, found, method)


def _scale_of(job: Job) -> float:
    name = "learning_rate_scaler"
    given = job.word(name, "NONE").removeprefix("GLOBAL_")
    if given not in _SCALED_BY:
        if name in job.entries:
            job.equal(name) if given == "NONE" else job.leave(name, Message(_("the learning rate is not scaled")))
        return 1.0
    factor = math.sqrt(math.prod(job.whole(key, 1) for key in _SCALED_BY[given]))
    job.map(name, {}, Message(_("included in the learning rate: × {factor}"), factor=f"{factor:g}"))
    return factor


def _put_parts(
    job: Job, encoders: tuple[str, ...], trained: list[str], rates: list[float], found: Rates, method: str
) -> None:
    if method == "EMBEDDING":
        for name in ("unet", *encoders):
            for key in ("train", "learning_rate"):
                if f"{name}.{key}" in job.entries:
                    job.skip(f"{name}.{key}", Message(_("only the embedding is trained")))
        if "embedding_learning_rate" in job.entries:
            found.put(job, "embedding_learning_rate") if job.get("embedding_learning_rate") else job.equal(
                "embedding_learning_rate"
            )
    elif "embedding_learning_rate" in job.entries:
        job.equal("embedding_learning_rate")
    if method != "EMBEDDING" and "unet.learning_rate" in job.entries:
        found.put(job, "unet.learning_rate", "train.learning_rate") if job.get("unet.learning_rate") else job.equal(
            "unet.learning_rate"
        )
    if method != "EMBEDDING" and "unet.train" in job.entries:
        job.equal("unet.train") if job.flag("unet.train") else job.leave(
            "unet.train", Message(_("the U-Net is always trained; only the text encoders cannot be"))
        )
    for name in encoders if method != "EMBEDDING" else ():
        key = f"{name}.train"
        if key in job.entries:
            if trained and name not in trained and not found.reason:
                job.map(key, {_RATE_OF[name]: 0.0})
            elif trained and name not in trained:
                job.leave(key, Message(_("both text encoders are trained, or none")))
            else:
                job.map(key, {"method.text_encoder": name in trained})
        _put_rate(job, name, trained, rates, found)
    for part in ("unet", *encoders):
        _decide_stop(job, part, part in trained and method != "EMBEDDING")
    for name in ("text_encoder_2.train", "text_encoder_2.learning_rate"):
        if name in job.entries and name not in job.rows:
            job.skip(name, Message(_("the model has one text encoder")))


def _put_rate(job: Job, name: str, trained: list[str], rates: list[float], found: Rates) -> None:
    key = f"{name}.learning_rate"
    if key not in job.entries:
        return
    if name not in trained:
        job.skip(key, Message(_("the text encoders are not trained")))
    elif job.get(key) is None:
        job.equal(key)
    elif len(set(rates)) > 1 and name == "text_encoder_2" and not found.reason:
        job.map(key, {_SECOND_RATE: job.settings[_SECOND_RATE]})
    else:
        found.put(job, key, "text_encoder")


def _decide_stop(job: Job, part: str, is_trained_text: bool) -> None:
    """After which share of the run a part is frozen."""
    name, unit_name = f"{part}.stop_training_after", f"{part}.stop_training_after_unit"
    unit, count = job.word(unit_name, "NEVER"), job.number(name, 0.0) or 0.0
    share = _share_of_run(job, unit, count)
    for key in (name, unit_name):
        if key not in job.entries:
            continue
        if unit == "NEVER" or not count or (part == "unet" and share is not None and share >= 1):
            job.equal(key)
        elif part != "unet" and not is_trained_text:
            job.skip(key, Message(_("the text encoders are not trained")))
        elif part == "unet" or share is None:
            job.leave(key, Message(_("the part is trained until the end of the run")))
        else:
            job.map(key, {"train.text_encoder_share": min(1.0, share)})


def _share_of_run(job: Job, unit: str, count: float) -> float | None:
    """Epochs or steps as a share of the run; None where it cannot be worked out."""
    steps = job.settings.get("train.steps", 0)
    if unit == "EPOCH":
        return count * job.epoch_steps / steps if steps else count / max(1, job.whole("epochs", _EPOCHS))
    return count / steps if unit == "STEP" and steps else None
