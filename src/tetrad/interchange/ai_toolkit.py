"""ai-toolkit's jobs (YAML or JSON): what becomes of each key.  toolkit/config_modules.py, BaseSDTrainProcess.py"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange.ai_toolkit_keys import KEYS
from tetrad.interchange.flat import flatten
from tetrad.interchange.job import Entry, Job, table_name
from tetrad.interchange.kohya.read import leave_unknown
from tetrad.interchange.optimizers import ADAPTIVE, map_arguments, map_optimizer, plain_name
from tetrad.interchange.pictures import read_folder
from tetrad.interchange.rates import read_rates
from tetrad.locales import Message, _

TRAINER = "ai-toolkit"
_TYPES = ("sd_trainer", "diffusion_trainer")
_OTHER_FAMILIES = (
    "is_flux", "is_v3", "is_auraflow", "is_lumina2", "is_pixart", "is_pixart_sigma", "is_omnigen", "is_hidream",
)  # fmt: skip
_WHOLE = ("train.optimizer_params", "train.lr_scheduler_params", "network.network_kwargs", "model.model_kwargs",
          "sample.samples", "slider.targets", "adapter", "datasets.controls")  # fmt: skip
_DEFAULT_STEPS, _DEFAULT_RATE = 1000, 1e-6


def read_ai_toolkit(path: Path, values: Mapping[str, Any]) -> Job:
    """What becomes of each key of a job.  E3162 for another kind of job, several processes, or another model family."""
    config = values.get("config")
    processes = config.get("process") if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping) or not isinstance(processes, list) or not processes:
        template = _("{file} is a job of {trainer} without config.process; save it again there")
        raise TetradError("E3162", template, file=path, trainer=TRAINER)
    if len(processes) > 1:
        template = _("{file} has {count} processes, and a recipe is one run; save each of them as a job of its own")
        raise TetradError("E3162", template, file=path, count=len(processes))
    process: Mapping[str, Any] = processes[0]
    _check_job(path, process)
    outer = {key: value for key, value in values.items() if key != "config"}
    named = {f"config.{key}": value for key, value in config.items() if key != "process"}
    own = {("process." + key if not isinstance(value, Mapping | list) else key): value for key, value in process.items()}
    name = str(config.get("name", ""))
    entries = {
        key: Entry(entry.shown, _fill_name(entry.value, name))
        for key, entry in flatten({**outer, **named, **own}, whole=_WHOLE).items()
    }
    job = Job(TRAINER, path, entries, str(process.get("type", "")))
    return _fill(job)


def _fill_name(value: Any, name: str) -> Any:
    return value.replace("[name]", name) if isinstance(value, str) else value


def _check_job(path: Path, process: Mapping[str, Any]) -> None:
    model = process.get("model", {})
    model = model if isinstance(model, Mapping) else {}
    family = str(model.get("arch", "") or "").partition(":")[0]
    chosen = next((name for name in _OTHER_FAMILIES if model.get(name)), "")
    known = family in ("", "sd", "sd1", "sd15", "sd2", "sdxl")
    if not known or chosen:
        template = _("{file} is a configuration of {trainer} for {family}; Tetrad trains Stable Diffusion 1, 2 and XL")
        shown = (family or chosen.removeprefix("is_")).upper()
        raise TetradError("E3162", template, file=path, trainer=TRAINER, family=shown)


def _check_type(job: Job) -> None:
    """Note E3162 for a job that is not a training on images; its keys are listed all the same."""
    if job.base not in _TYPES:
        template = _("{file} is a job of the type {kind} of {trainer}; Tetrad reads jobs of the types {known}")
        if "slider" in job.base:
            template = _("{file} is a job of the type {kind} of {trainer}; Tetrad does not train sliders from texts alone")
        values = {"kind": job.base, "trainer": TRAINER, "known": ", ".join(_TYPES)}
        job.errors.append(TetradError("E3162", template, file=job.path, **values))


def _fill(job: Job) -> Job:
    _check_type(job)
    for name in list(job.entries):
        if rule := KEYS.get(table_name(name)):
            rule(job, name)
    kind = _decide_method(job)
    _decide_datasets(job)
    _decide_length(job)
    _decide_training(job, kind)
    _decide_saving(job)
    _decide_previews(job)
    for name in job.entries:
        if name in job.rows:
            continue
        if table_name(name) in KEYS:
            job.skip(name, Message(_("it has no effect in this run")))
        else:
            leave_unknown(job, name, KEYS)
    return job


def _decide_method(job: Job) -> str:
    """A network is a LoRA, an embedding Textual Inversion; without either the whole model is trained."""
    has_network = any(name.startswith("network.") for name in job.entries)
    has_embedding = any(name.startswith("embedding.") for name in job.entries)
    kind = "lora" if has_network else "textual-inversion" if has_embedding else "dreambooth"
    job.settings["method.kind"] = kind
    if "process.type" in job.entries:
        job.map("process.type", {"method.kind": kind})
    if has_network:
        _decide_network(job)
    for name in job.entries:
        if name.startswith("embedding.") and has_network:
            job.leave(name, Message(_("embeddings are not trained together with another method")))
    if kind == "textual-inversion":
        _decide_embedding(job)
    return kind


def _decide_embedding(job: Job) -> None:
    settings = {"trigger": ("data.trigger_word", str), "tokens": ("method.vectors", int), "init_words": ("method.initial_text", str)}
    for key, (setting, kind) in settings.items():
        name = f"embedding.{key}"
        if name in job.entries:
            job.map(name, {setting: kind(job.get(name))}) if job.get(name) else job.equal(name)
    if "embedding.save_format" in job.entries:
        is_pt = job.word("embedding.save_format") == "pt"
        job.map("embedding.save_format", {"save.format": "pt"}) if is_pt else job.equal("embedding.save_format")


def _decide_network(job: Job) -> None:
    """Rank and alpha: rank comes before linear, and without an alpha it is 1."""
    kind = job.word("network.type", "lora")
    is_lora = kind in ("lora", "locon", "lierla", "dora")
    template = _("Tetrad reads {network} files but does not train them; the run trains a plain LoRA of rank 16")
    if "network.type" in job.entries:
        settings = {"method.kind": "lora"} | ({"method.dora": True} if kind == "dora" else {})
        job.map("network.type", settings) if is_lora else job.leave("network.type", Message(template, network=kind))
    own = {"network.rank": "network.linear", "network.alpha": "network.linear_alpha"}
    for first, second in own.items():
        if first in job.entries and second in job.entries:
            job.skip(second, Message(_("{key} comes first"), key=first))
    rank_name = "network.rank" if job.get("network.rank") else "network.linear"
    alpha_name = "network.alpha" if job.get("network.alpha") else "network.linear_alpha"
    rank, alpha = job.whole(rank_name, 4), job.number(alpha_name, 1.0) or 1.0
    conv, conv_alpha = job.whole("network.conv"), job.number("network.conv_alpha") or job.number("network.conv")
    if not is_lora:
        for name in (rank_name, alpha_name, "network.conv", "network.conv_alpha"):
            if name in job.entries:
                job.leave(name, Message(_("it is for another type of network")))
        return
    job.map(rank_name, {"method.rank": rank})
    job.map(alpha_name, {"method.alpha": alpha})
    for name, settings in (
        ("network.conv", {"method.conv_rank": conv}), ("network.conv_alpha", {"method.conv_alpha": conv_alpha}),
    ):  # fmt: skip
        if name in job.entries:
            job.map(name, settings) if conv else job.equal(name)
    for name in ("network.lokr_full_rank", "network.lokr_factor", "network.old_lokr_format"):
        if name in job.entries:
            job.skip(name, Message(_("it is for another type of network")))


def _decide_datasets(job: Job) -> None:
    """The first folder of training images and the first of class images; a list of resolutions makes an epoch longer."""
    numbers = sorted({int(name[9 : name.index("]")]) for name in job.entries if name.startswith("datasets[")})
    own = [number for number in numbers if not job.flag(f"datasets[{number}].is_reg")]
    reg = [number for number in numbers if number not in own]
    for number in numbers:
        prefix = f"datasets[{number}]."
        if number in own[1:] or number in reg[1:]:
            for name in job.entries:
                if name.startswith(prefix):
                    job.leave(name, Message(_("only the first folder of images is used")))
        else:
            _decide_folder(job, prefix, number in reg)
    _decide_word(job)


def _decide_folder(job: Job, prefix: str, is_reg: bool) -> None:
    name = f"{prefix}folder_path" if job.get(f"{prefix}folder_path") else f"{prefix}dataset_path"
    job.take_path(name, "data.class_images.images" if is_reg else "data.images")
    sides = job.get(f"{prefix}resolution") or 512
    sides = sorted(int(side) for side in sides) if isinstance(sides, list) else [int(sides)]
    repeats = job.whole(f"{prefix}num_repeats", 1) or 1
    if is_reg:
        job.notes.append(
            Message(_("there every second step is a batch of class images; here they are beside the images in every step"))
        )
        for key in ("resolution", "num_repeats", "is_reg", "caption_dropout_rate", "caption_ext"):
            if f"{prefix}{key}" in job.entries:
                job.skip(f"{prefix}{key}", Message(_("class images are used as the images are")))
        return
    if len(set(sides)) > 1 and f"{prefix}resolution" in job.entries:
        job.settings["data.resolution"] = sides[-1]
        template = _("images are trained at one resolution, {largest}")
        job.leave(f"{prefix}resolution", Message(template, largest=sides[-1]))
    else:
        job.map(f"{prefix}resolution", {"data.resolution": sides[-1]})
    if f"{prefix}num_repeats" in job.entries:
        job.map(f"{prefix}num_repeats", {"data.repeats": repeats})
    if f"{prefix}is_reg" in job.entries:
        job.equal(f"{prefix}is_reg")
    folder = Path(job.word(name)).expanduser()
    if job.get(name) and (found := read_folder(folder)):
        job.pictures = found.repeat(repeats * len(sides))
    _decide_captions(job, prefix)


def _decide_captions(job: Job, prefix: str) -> None:
    kind, extension = f"{prefix}caption_type", f"{prefix}caption_ext"
    if job.get(kind):
        template = _("ai-toolkit takes it for the ending of caption files, instead of caption_ext")
        job.map(kind, {"data.captions.extension": job.word(kind)}, Message(template))
        if extension in job.entries:
            job.skip(extension, Message(_("{key} comes first"), key="caption_type"))
    elif extension in job.entries:
        job.map(extension, {"data.captions.extension": job.word(extension, "txt")})
    flips = f"{prefix}flip_x"
    if flips in job.entries:
        reason = Message(_("there each image is used twice in an epoch, upright and mirrored; here either at random"))
        job.map(flips, {"data.flip": True}, reason) if job.flag(flips) else job.equal(flips)


def _decide_word(job: Job) -> None:
    """The trigger word is put before captions that lack it, which Tetrad does too."""
    names = [name for name in job.entries if name == "process.trigger_word" or name.endswith("].trigger_word")]
    for name in names:
        word = job.word(name)
        job.map(name, {"data.trigger_word": word}) if word else job.equal(name)


def _decide_length(job: Job) -> None:
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


def _decide_training(job: Job, kind: str) -> None:
    """Optimizer, rate and schedule: a LoRA has one rate for both parts."""
    given = job.word("train.optimizer", "adamw")
    carries = map_optimizer(job, "train.optimizer", given)
    found: Any = job.get("train.optimizer_params")
    arguments: dict[str, Any] = {str(key): value for key, value in found.items()} if isinstance(found, Mapping) else {}
    if "train.optimizer_params" in job.entries:
        job.equal("train.optimizer_params", Message(_("its arguments are listed one by one")) if arguments else None)
    job.entries |= {f"train.optimizer_params.{key}": Entry(f"train.optimizer_params.{key}", value) for key, value in arguments.items()}
    map_arguments(job, "train.optimizer_params.", arguments)
    rate = job.number("train.lr", _DEFAULT_RATE) or _DEFAULT_RATE
    if plain_name(given) in ADAPTIVE and rate < 0.1:
        job.notes.append(Message(_("ai-toolkit raises a rate below 0.1 to 1 for this optimizer")))
    has_text = job.flag("train.train_text_encoder") and kind != "textual-inversion"
    rates = read_rates(job, "train.lr", rate, rate if has_text else None, carries)
    rates.put(job, "train.lr")
    if kind != "textual-inversion":
        job.map("train.train_text_encoder", {"method.text_encoder": has_text})
    for name in ("train.unet_lr", "train.text_encoder_lr", "train.embedding_lr", "train.refiner_lr", "train.adapter_lr"):
        if name in job.entries:
            job.skip(name, Message(_("only train.lr counts there")))
    if "train.train_unet" in job.entries:
        on = job.flag("train.train_unet")
        reason = Message(_("the U-Net is always trained; only the text encoders cannot be"))
        job.equal("train.train_unet") if on else job.leave("train.train_unet", reason)
    _decide_schedule(job)
    _decide_ema(job)


def _decide_schedule(job: Job) -> None:
    """torch's schedules, whose linear rises, and whose restarts over the whole run are none."""
    given, steps = job.word("train.lr_scheduler", "constant"), job.settings["train.steps"]
    found: Any = job.get("train.lr_scheduler_params")
    params: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    template = _("Tetrad does not have this schedule; the run uses {scheduler}")
    settings: dict[str, Any] = {"train.scheduler": given}
    if given == "constant_with_warmup":
        warmup = int(params.get("num_warmup_steps", 1000))
        settings = {"train.scheduler": "constant", "train.warmup_steps": warmup, "train.warmup_from_zero": True}
    elif given == "cosine_with_restarts":
        period = int(params.get("T_0", steps))
        if steps % max(1, period):
            settings = {}
        elif period < steps:
            settings |= {"train.scheduler_cycles": steps // period}
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
        job.map("train.lr_scheduler_params", settings) if params and settings else job.equal("train.lr_scheduler_params")


def _decide_ema(job: Job) -> None:
    """ema_config may be there without being used."""
    on = job.flag("train.ema_config.use_ema")
    decay = job.number("train.ema_config.ema_decay", 0.999) or 0.999
    for name in ("train.ema_config.use_ema", "train.ema_config.ema_decay"):
        if name in job.entries:
            job.map(name, {"train.ema": decay}) if on else job.equal(name)


def _decide_saving(job: Job) -> None:
    for name in ("process.training_folder", "config.training_folder"):
        if name in job.entries:
            job.map(name, {"save.out": job.word(name, "output")})
    if "config.name" in job.entries:
        job.map("config.name", {"save.name": job.word("config.name")})
    every = job.whole("save.save_every", 1000)
    job.map("save.save_every", {"save.every": max(0, every)})
    kept = job.whole("save.max_step_saves_to_keep", 5)
    job.map("save.max_step_saves_to_keep", {"save.keep_last": kept})
    if "save.save_format" in job.entries:
        is_diffusers = job.word("save.save_format") == "diffusers"
        job.map("save.save_format", {"save.format": "diffusers"}) if is_diffusers else job.equal("save.save_format")


def _decide_previews(job: Job) -> None:
    """Previews, whose prompts may have options of their own."""
    has_section = any(name.startswith("sample.") for name in job.entries)
    off = job.flag("train.disable_sampling") or not has_section
    if "train.disable_sampling" in job.entries:
        job.map("train.disable_sampling", {"sample.every": -1}) if off else job.equal("train.disable_sampling")
    if off:
        job.settings["sample.every"] = -1
    else:
        job.map("sample.sample_every", {"sample.every": job.whole("sample.sample_every", 100)})
    if "train.skip_first_sample" in job.entries:
        job.map("train.skip_first_sample", {"sample.before_training": not job.flag("train.skip_first_sample")})
    texts: Any = job.get("sample.prompts")
    samples: Any = job.get("sample.samples")
    if isinstance(samples, list):
        texts = [str(item.get("prompt", "")) for item in samples if isinstance(item, Mapping)]
    for name in ("sample.prompts", "sample.samples"):
        if name in job.entries:
            job.map(name, {"sample.prompts": _clean(job, texts)}) if texts else job.equal(name)


def _clean(job: Job, texts: list[Any]) -> list[str]:
    """Prompts without their options, and with the trigger word for [trigger]."""
    word = job.word("process.trigger_word")
    return [str(text).partition(" --")[0].replace("[trigger]", word).strip() for text in texts]
