"""OneTrainer's configurations (JSON) of all versions: its migrations, and what becomes of each key."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange import reasons
from tetrad.interchange.arithmetic import onetrainer_steps, onetrainer_warmup
from tetrad.interchange.flat import flatten
from tetrad.interchange.job import Entry, Job, table_name
from tetrad.interchange.kohya.read import leave_unknown
from tetrad.interchange.onetrainer_concepts import decide_concepts
from tetrad.interchange.onetrainer_keys import CONCEPT_KEYS, FOREIGN_PARTS, KEYS, VERSION
from tetrad.interchange.onetrainer_saving import decide_loss, decide_previews, decide_saving
from tetrad.interchange.optimizers import map_arguments, map_optimizer
from tetrad.interchange.rates import read_rates
from tetrad.locales import Message, _

TRAINER = "OneTrainer"
_KINDS = {"LORA": "lora", "EMBEDDING": "textual-inversion", "FINE_TUNE": "dreambooth"}
_WHOLE = ("samples", "optimizer_defaults", "secrets", "cloud", "scheduler_params", "additional_embeddings", "quantization")
# Keys of older versions and what they are called now.
_RENAMED = {
    **{f"train_{part}": f"{part}.train" for part in ("unet", "text_encoder")},
    **{f"train_{part}_epochs": f"{part}.stop_training_after" for part in ("unet", "text_encoder")},
    **{f"{part}_learning_rate": f"{part}.learning_rate" for part in ("unet", "text_encoder", "text_encoder_2")},
    **{f"{part}_weight_dtype": f"{part}.weight_dtype" for part in ("unet", "text_encoder", "vae")},
    "token_count": "embedding.token_count",
    "initial_embedding_text": "embedding.initial_embedding_text",
    "embeddings[0].token_count": "embedding.token_count",
    "save_after": "save_every",
    "save_after_unit": "save_every_unit",
    "lora_layers": "layer_filter",
    "lora_layer_preset": "layer_filter_preset",
}
_DEFAULTS = {"epochs": 100, "batch_size": 1, "gradient_accumulation_steps": 1, "learning_rate": 3e-6, "warmup": 200.0}
_SCHEDULES = {
    "CONSTANT": "constant", "LINEAR": "linear", "COSINE": "cosine", "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts",
}  # fmt: skip
_SCALED_BY = {
    "BATCH": ("batch_size",), "GRADIENT_ACCUMULATION": ("gradient_accumulation_steps",),
    "BOTH": ("batch_size", "gradient_accumulation_steps"),
}  # fmt: skip


def read_onetrainer(path: Path, values: Mapping[str, Any]) -> Job:
    """What becomes of each key of a configuration.  E3162 for another model family."""
    method = str(values.get("training_method", "FINE_TUNE"))
    model_type = str(values.get("model_type", "STABLE_DIFFUSION_15"))
    if not model_type.startswith(("STABLE_DIFFUSION_1", "STABLE_DIFFUSION_2", "STABLE_DIFFUSION_XL")):
        template = _("{file} is a configuration of {trainer} for {family}; Tetrad trains Stable Diffusion 1, 2 and XL")
        raise TetradError("E3162", template, file=path, trainer=TRAINER, family=model_type)
    if method not in _KINDS:
        template = _("{file} trains {method}, which is none of {known}; a VAE is trained with tetrad train vae-decoder")
        raise TetradError("E3162", template, file=path, method=method, known=", ".join(_KINDS))
    job = Job(TRAINER, path, _migrate(values), method)
    job.settings["method.kind"] = _KINDS[method]
    _note_version(job)
    for name in list(job.entries):
        base = table_name(name)
        rule = CONCEPT_KEYS.get(base.removeprefix("concepts.")) if base.startswith("concepts.") else KEYS.get(base)
        if rule:
            rule(job, name)
        elif base.split(".")[0] in FOREIGN_PARTS:
            job.skip(name, Message(reasons.OTHER_FAMILY))
    _decide_model(job, method, model_type)
    decide_concepts(job)
    _decide_length(job)
    carries = _decide_optimizer(job)
    _decide_schedule(job)
    _decide_rates(job, method, model_type, carries)
    {"LORA": _decide_network, "EMBEDDING": _decide_embedding}.get(method, _skip_network)(job)
    decide_loss(job)
    decide_saving(job)
    decide_previews(job)
    _settle_rest(job)
    return job


def _migrate(values: Mapping[str, Any]) -> dict[str, Entry]:
    """The keys as version 11 has them; each is shown as the file spells it.  TrainConfig.py, migrations 0 to 10"""
    flat = flatten(values, whole=_WHOLE)
    entries: dict[str, Entry] = {}
    for name, entry in flat.items():
        new = _RENAMED.get(name, name)
        if name == "optimizer":  # a word before version 1
            new = "optimizer.optimizer"
        elif name.startswith("optimizer_") and name != "optimizer_defaults":
            new = f"optimizer.{name.removeprefix('optimizer_')}"
        entries[new] = entry
        if name.startswith("train_") and name.endswith("_epochs"):
            entries[f"{new}_unit"] = Entry(name, "EPOCH", entry.value)
    return entries


def _note_version(job: Job) -> None:
    version = job.get("__version")
    if isinstance(version, int) and version > VERSION:
        template = _("the file is of version {version} of OneTrainer's configurations; Tetrad knows them up to {known}")
        job.notes.append(Message(template, version=version, known=VERSION))


def _decide_model(job: Job, method: str, model_type: str) -> None:
    if "training_method" in job.entries:
        job.map("training_method", {"method.kind": _KINDS[method]})
    if "model_type" in job.entries:
        if "INPAINTING" in model_type:
            job.leave("model_type", Message(_("inpainting models are not trained; give a model without inpainting")))
        else:
            job.skip("model_type", Message(reasons.FAMILY))
    if job.flag("force_v_prediction") or job.flag("rescale_noise_scheduler_to_zero_terminal_snr"):
        job.settings["prediction"] = "v"
    for name, settings in (
        ("force_v_prediction", {"prediction": "v"}),
        ("force_epsilon_prediction", {"prediction": "epsilon"}),
        ("rescale_noise_scheduler_to_zero_terminal_snr", {"loss.zero_terminal_snr": True, "prediction": "v"}),
    ):
        if name in job.entries:
            job.map(name, settings) if job.flag(name) else job.equal(name)
    _decide_skipped_layers(job, model_type)
    checkpointing = [name for name in job.entries if name.rpartition(".")[2] == "gradient_checkpointing"]
    for name in checkpointing:
        job.map(name, {"train.gradient_checkpointing": job.get(name) not in (False, "OFF", None)})


def _decide_skipped_layers(job: Job, model_type: str) -> None:
    """Layers skipped beyond the family's own."""
    is_xl = "XL" in model_type
    names = [name for name in ("text_encoder_layer_skip", "text_encoder_2_layer_skip") if name in job.entries]
    numbers = {job.whole(name) for name in names}
    for name in names:
        if numbers == {0}:
            job.equal(name)
        elif is_xl and (len(names) < 2 or len(numbers) > 1):
            job.leave(name, Message(_("the text encoders skip the same number of layers")))
        else:
            job.map(name, {"text.clip_skip": job.whole(name) + (2 if is_xl else 1)})


def _decide_length(job: Job) -> None:
    """Epochs as steps where the images are there; OneTrainer leaves out what does not fill a batch."""
    epochs = job.whole("epochs", _DEFAULTS["epochs"])
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


def _decide_optimizer(job: Job) -> bool:
    """The optimizer with its arguments; null and false are its usual values."""
    given = job.word("optimizer.optimizer", "ADAMW")
    carries = map_optimizer(job, "optimizer.optimizer", given)
    arguments = {}
    for name in list(job.entries):
        if not name.startswith("optimizer.") or name in job.rows or name == "optimizer.optimizer":
            continue
        key, value = name.removeprefix("optimizer."), job.get(name)
        if value in (None, False, "NONE"):
            job.equal(name)
        elif key in ("beta1", "beta2") and value in (0.9, 0.999):
            job.equal(name)
        else:
            arguments[key] = value
    map_arguments(job, "optimizer.", arguments)
    if "weight_decay" in job.entries and job.get("weight_decay") is not None:  # of 2023, on top
        job.map("weight_decay", {"train.weight_decay": job.number("weight_decay")})
    if "clip_grad_norm" in job.entries:
        job.map("clip_grad_norm", {"train.max_grad_norm": job.number("clip_grad_norm", 0.0)})
    _decide_ema(job)
    return carries


def _decide_ema(job: Job) -> None:
    on = job.word("ema", "OFF") != "OFF"
    interval = max(1, job.whole("ema_update_step_interval", 5))
    decay = (job.number("ema_decay", 0.999) or 0.0) ** (1 / interval)
    for name in ("ema", "ema_decay", "ema_update_step_interval"):
        if name in job.entries:
            if on:
                job.map(name, {"train.ema": decay})
            elif name == "ema":
                job.equal(name)
            else:
                job.skip(name, Message(_("it only counts with {value}"), value="ema"))


def _decide_schedule(job: Job) -> None:
    """The schedule, its warm-up of 200 steps by default, and the keys of schedules that Tetrad does not have."""
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
        job.map("learning_rate_cycles", {"train.scheduler_cycles": max(1, round(job.number("learning_rate_cycles", 1) or 1))})
    elif "learning_rate_cycles" in job.entries:
        job.skip("learning_rate_cycles", Message(_("it only counts with {value}"), value="COSINE_WITH_HARD_RESTARTS"))
    if "learning_rate_min_factor" in job.entries:
        lowest = job.number("learning_rate_min_factor", 0.0)
        reason = Message(_("the rate falls to 0 instead of to a share of itself"))
        job.leave("learning_rate_min_factor", reason) if lowest and ours != "constant" else job.equal("learning_rate_min_factor")
    for name in ("custom_learning_rate_scheduler", "scheduler_params"):
        if name in job.entries:
            job.skip(name, Message(_("it only counts with {value}"), value="CUSTOM"))
    _decide_warmup(job)


def _decide_warmup(job: Job) -> None:
    name, warmup = "learning_rate_warmup_steps", job.number("learning_rate_warmup_steps", _DEFAULTS["warmup"]) or 0.0
    steps, accumulation = job.settings.get("train.steps", 0), job.settings["train.gradient_accumulation"]
    if not warmup:
        job.equal(name)
    elif warmup <= 1 and not steps:
        reason = Message(_("a share of the run cannot be worked out while the images are not there; there is no warm-up"))
        job.leave(name, reason)
    else:
        count = onetrainer_warmup(warmup, steps, accumulation)
        job.map(name, {"train.warmup_steps": count, "train.warmup_from_zero": True})


def _decide_rates(job: Job, method: str, model_type: str, carries: bool) -> None:
    """learning_rate, or each part's own; text encoders train unless they are off."""
    base = job.number("learning_rate", _DEFAULTS["learning_rate"]) or 0.0
    unet = job.number("unet.learning_rate", base) or base
    if method == "EMBEDDING":
        unet = job.number("embedding_learning_rate", base) or base
    encoders = ("text_encoder", "text_encoder_2") if "XL" in model_type else ("text_encoder",)
    trained = [each for each in encoders if f"{each}.train" not in job.entries or job.flag(f"{each}.train")]
    rates = [job.number(f"{each}.learning_rate", base) or base for each in trained]
    factor = _scale_of(job)
    has_text = bool(trained) and method != "EMBEDDING"
    found = read_rates(job, "learning_rate", unet * factor, rates[0] * factor if has_text else None, carries)
    found.put(job, "learning_rate")
    job.settings |= found.settings
    if method != "EMBEDDING":
        job.settings["method.text_encoder"] = has_text
    _put_parts(job, encoders, trained, rates, found, method)


def _scale_of(job: Job) -> float:
    name = "learning_rate_scaler"
    given = job.word(name, "NONE").removeprefix("GLOBAL_")
    if given not in _SCALED_BY:
        if name in job.entries:
            job.equal(name) if given == "NONE" else job.leave(name, Message(_("the learning rate is not scaled")))
        return 1.0
    factor = math.sqrt(math.prod(job.whole(key, 1) for key in _SCALED_BY[given]))
    job.map(name, {}, Message(_("worked into the learning rate: × {factor}"), factor=f"{factor:g}"))
    return factor


def _put_parts(job: Job, encoders: tuple[str, ...], trained: list[str], rates: list[float], found: Any, method: str) -> None:
    if method == "EMBEDDING":
        for name in ("unet", *encoders):
            for key in ("train", "learning_rate"):
                if f"{name}.{key}" in job.entries:
                    job.skip(f"{name}.{key}", Message(_("only the embedding is trained")))
        if "embedding_learning_rate" in job.entries:
            found.put(job, "embedding_learning_rate") if job.get("embedding_learning_rate") else job.equal("embedding_learning_rate")
    elif "embedding_learning_rate" in job.entries:
        job.equal("embedding_learning_rate")
    if method != "EMBEDDING" and "unet.learning_rate" in job.entries:
        found.put(job, "unet.learning_rate", "train.learning_rate") if job.get("unet.learning_rate") else job.equal("unet.learning_rate")
    if method != "EMBEDDING" and "unet.train" in job.entries:
        job.equal("unet.train") if job.flag("unet.train") else job.leave("unet.train", Message(
            _("the U-Net is always trained; only the text encoders cannot be")))  # fmt: skip
    for name in encoders if method != "EMBEDDING" else ():
        key = f"{name}.train"
        if key in job.entries:
            if len(trained) == 1 and len(encoders) == 2:
                job.leave(key, Message(_("both text encoders are trained, or none")))
            else:
                job.map(key, {"method.text_encoder": name in trained})
        _put_rate(job, name, trained, rates, found)
    for part in ("unet", *encoders):
        _decide_stop(job, part, part in trained and method != "EMBEDDING")
    for name in ("text_encoder_2.train", "text_encoder_2.learning_rate"):
        if name in job.entries and name not in job.rows:
            job.skip(name, Message(_("the model has one text encoder")))


def _put_rate(job: Job, name: str, trained: list[str], rates: list[float], found: Any) -> None:
    key = f"{name}.learning_rate"
    if key not in job.entries:
        return
    if name not in trained:
        job.skip(key, Message(_("the text encoders are not trained")))
    elif job.get(key) is None:
        job.equal(key)
    elif len(set(rates)) > 1:
        job.leave(key, Message(_("both text encoders are trained at the first of the two rates")))
    else:
        found.put(job, key, "text_encoder")


def _decide_stop(job: Job, part: str, is_trained_text: bool) -> None:
    """After which epoch or step a part is frozen."""
    name, unit_name = f"{part}.stop_training_after", f"{part}.stop_training_after_unit"
    unit, count = job.word(unit_name, "NEVER"), job.number(name, 0.0) or 0.0
    steps = job.settings.get("train.steps", 0)
    last = count * job.epoch_steps if unit == "EPOCH" else count
    if unit == "NEVER" or not count:
        decide = lambda key: job.equal(key)  # noqa: E731
    elif part == "unet" and (unit == "EPOCH" and count >= job.whole("epochs", 100)):
        decide = lambda key: job.equal(key)  # noqa: E731
    elif part != "unet" and not is_trained_text:
        decide = lambda key: job.skip(key, Message(_("the text encoders are not trained")))  # noqa: E731
    elif part != "unet" and unit == "EPOCH" and not steps:
        share = min(1.0, count / max(1, job.whole("epochs", 100)))
        decide = lambda key: job.map(key, {"train.text_encoder_share": share})  # noqa: E731
    elif part != "unet" and unit in ("EPOCH", "STEP") and steps:
        decide = lambda key: job.map(key, {"train.text_encoder_share": min(1.0, last / steps)})  # noqa: E731
    else:
        decide = lambda key: job.leave(key, Message(_("the part is trained to the end")))  # noqa: E731
    for key in (name, unit_name):
        if key in job.entries:
            decide(key)


def _decide_network(job: Job) -> None:
    """Rank and alpha, and the layers: OneTrainer's full set includes the convolutions of the ResNet blocks."""
    kind = job.word("peft_type", "LORA")
    if "peft_type" in job.entries:
        template = _("Tetrad reads {network} files but does not train them; the run trains a plain LoRA of rank 16")
        job.equal("peft_type") if kind == "LORA" else job.leave("peft_type", Message(template, network=kind))
    rank, alpha = job.whole("lora_rank", 16), job.number("lora_alpha", 1.0) or 1.0
    if kind == "LORA":
        job.map("lora_rank", {"method.rank": rank})
        job.map("lora_alpha", {"method.alpha": alpha})
    else:
        for name in ("lora_rank", "lora_alpha"):
            if name in job.entries:
                job.leave(name, Message(_("it is for another type of network")))
    if "lora_decompose_output_axis" in job.entries:
        name = "lora_decompose_output_axis"
        if job.flag("lora_decompose") and not job.flag(name):
            job.leave(name, Message(_("a DoRA has one magnitude for each output")))
        else:
            job.equal(name)
    _decide_layers(job, rank, alpha, kind == "LORA")
    _skip_embedding(job)


def _decide_layers(job: Job, rank: int, alpha: float, is_lora: bool) -> None:
    preset = job.word("layer_filter_preset", "full")
    if preset == "full" and is_lora and not job.word("layer_filter"):
        reason = Message(_("but for the first and last convolutions and the time embedding, which are not trained"))
        job.map("layer_filter_preset", {"method.conv_rank": rank, "method.conv_alpha": alpha}, reason)
    elif "layer_filter_preset" in job.entries:
        reason = Message(_("attention and feed-forward layers are trained"))
        job.equal("layer_filter_preset") if preset == "attn-mlp" else job.leave("layer_filter_preset", reason)
    for name in ("layer_filter", "layer_filter_regex"):
        if name in job.entries:
            counts = job.get(name) and preset not in ("full", "attn-mlp", "attn-only")
            job.leave(name, Message(_("layers are not chosen by parts of their names"))) if counts else job.equal(name)


def _decide_embedding(job: Job) -> None:
    word = job.word("embedding.placeholder", "")
    if "embedding.placeholder" in job.entries:
        job.map("embedding.placeholder", {"data.trigger_word": word}) if word else job.equal("embedding.placeholder")
    job.map("embedding.token_count", {"method.vectors": job.whole("embedding.token_count", 1) or 1})
    if text := job.word("embedding.initial_embedding_text").strip():
        job.map("embedding.initial_embedding_text", {"method.initial_text": text})
    elif "embedding.initial_embedding_text" in job.entries:
        job.equal("embedding.initial_embedding_text")
    if "embedding.model_name" in job.entries:
        job.take_path("embedding.model_name", "continue_from")
        job.rows.get("embedding.model_name") or job.equal("embedding.model_name")
    for name in ("lora_rank", "lora_alpha", "peft_type", "layer_filter", "layer_filter_preset", "layer_filter_regex"):
        if name in job.entries:
            job.skip(name, Message(_("it only counts for a LoRA")))


def _skip_network(job: Job) -> None:
    for name in (
        "lora_rank", "lora_alpha", "peft_type", "lora_decompose", "lora_decompose_output_axis", "lora_model_name",
    ):  # fmt: skip
        if name in job.entries:
            job.skip(name, Message(_("it only counts for a LoRA")))
            job.settings.pop("method.dora", None)
    for name in ("layer_filter", "layer_filter_preset", "layer_filter_regex"):
        if name in job.entries:
            preset = job.word("layer_filter_preset", "full")
            off = preset == "full" or not job.get(name)
            job.equal(name) if off else job.leave(name, Message(_("all layers of the model are trained")))
    _skip_embedding(job)


def _skip_embedding(job: Job) -> None:
    for name in job.entries:
        if name.startswith("embedding.") and name not in job.rows:
            job.skip(name, Message(_("it only counts for an embedding")))


def _settle_rest(job: Job) -> None:
    for name in job.entries:
        base = table_name(name)
        known = KEYS if not base.startswith("concepts.") else CONCEPT_KEYS
        if name in job.rows:
            continue
        if base.removeprefix("concepts.") in known:
            job.skip(name, Message(_("it has no effect in this run")))
        else:
            leave_unknown(job, name, known)
    if job.settings.get("train.fused_backward"):
        job.settings["train.max_grad_norm"] = 0.0
