"""What sd-scripts' keys of length, learning rate, schedule and optimizer become."""

from typing import Any

from tetrad.interchange.arithmetic import kohya_epoch_steps, kohya_warmup
from tetrad.interchange.job import Entry, Job
from tetrad.interchange.optimizers import (
    find_own_schedule,
    map_arguments,
    map_optimizer,
    parse_arguments,
    plain_name,
)
from tetrad.interchange.pictures import Bucket, kohya_bucket, one_size
from tetrad.interchange.rates import note_long_warmup
from tetrad.locales import Message, _

_DEFAULT_STEPS = 1600
_SCHEDULES = (
    *("constant", "linear", "cosine", "cosine_with_restarts", "polynomial"),
    *("inverse_sqrt", "cosine_with_min_lr", "warmup_stable_decay"),
)
_OURS = {"cosine_with_min_lr": "cosine"}


def list_of(job: Job, name: str) -> list[str]:
    """A list of texts; one text is split at spaces, without its quotes, as kohya_ss does."""
    value = job.get(name)
    if value is None:
        return []
    if isinstance(value, str):
        return value.replace('"', "").replace("'", "").split()
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def decide_batch(job: Job) -> None:
    """Batch size and accumulation; a data set's own batch size comes first."""
    batch = max(1, job.whole("train_batch_size", 1))
    accumulation = max(1, job.whole("gradient_accumulation_steps", 1))
    own = job.get("dataset_config") is not None
    has_class_images = bool(job.get("reg_data_dir")) and not own
    size = batch // 2 if has_class_images and batch % 2 == 0 else batch
    reason = None
    if has_class_images:
        template = _(
            "an update there takes {batch} images of either kind; here as many class images are beside"
            " the {size} images"
        )
        reason = Message(template, batch=batch, size=size)
    if own:
        template = _("the batch size of the data set counts; this one only where it gives none")
        job.map("train_batch_size", {"train.batch_size": 0}, Message(template))
    else:
        job.map("train_batch_size", {"train.batch_size": size}, reason)
    job.map("gradient_accumulation_steps", {"train.gradient_accumulation": accumulation})


def decide_length(job: Job) -> None:
    """The number of updates, from the images where their folder is there."""
    processes = max(1, job.whole("num_processes", 1))
    if "num_processes" in job.entries and "num_processes" not in job.rows:
        template = _("there an update takes {count} batches at once, on as many devices")
        job.skip("num_processes", Message(_("Tetrad trains on one device"))) if processes == 1 else job.leave(
            "num_processes", Message(template, count=processes)
        )
    epochs, steps = job.whole("max_train_epochs"), job.whole("max_train_steps")
    job.epoch_steps = _count_epoch_steps(job, processes)
    if epochs > 0:
        if "max_train_steps" in job.entries:
            job.skip("max_train_steps", Message(_("max_train_epochs comes first")))
        if job.epoch_steps:
            template = _("{steps} steps = {epochs} epochs × {per_epoch} steps")
            values = {"steps": epochs * job.epoch_steps, "epochs": epochs, "per_epoch": job.epoch_steps}
            job.map("max_train_epochs", {"train.steps": epochs * job.epoch_steps}, Message(template, **values))
        else:
            job.map("max_train_epochs", {"train.epochs": epochs})
        return
    if "max_train_epochs" in job.entries:
        job.equal("max_train_epochs")
    job.map("max_train_steps", {"train.steps": steps or _DEFAULT_STEPS})


def _count_epoch_steps(job: Job, processes: int) -> int:
    """Updates in an epoch; 0 where the images are not known."""
    pictures = job.pictures
    if pictures is None:
        return 0
    batch = max(1, job.whole("train_batch_size", 1))
    batches = pictures.count_batches(batch, find_bucket(job))
    return kohya_epoch_steps(batches, processes, max(1, job.whole("gradient_accumulation_steps", 1)))


def find_bucket(job: Job) -> Bucket:
    """The function that gives the shape an image is cut to."""
    if not job.flag("enable_bucket"):
        return one_size
    sides = sides_of(job.get("resolution")) or (512, 512)
    steps = job.whole("bucket_reso_steps", 64) or 64
    lowest, highest = job.whole("min_bucket_reso", 256) or 256, job.whole("max_bucket_reso", 1024) or 1024
    return kohya_bucket(sides, lowest, highest, steps, job.flag("bucket_no_upscale"))


def sides_of(value: Any) -> tuple[int, int] | None:
    """Width and height of "768,512", "512", 512 or [768, 512]; None for anything else."""
    parts = [*value] if isinstance(value, list) else str(value or "").split(",")
    try:
        sides = [int(float(part)) for part in parts]
    except (TypeError, ValueError):
        return None
    return (sides[0], sides[-1]) if len(sides) in (1, 2) and min(sides) > 0 else None


def decide_optimizer(job: Job) -> bool:
    """The optimizer and its arguments; whether the file's rates mean the same here."""
    given = job.word("optimizer_type")
    for name, meaning in (("use_8bit_adam", "AdamW8bit"), ("use_lion_optimizer", "Lion")):
        if name in job.entries and not job.flag(name):
            job.equal(name)
        elif job.flag(name):
            given = given or meaning
            job.skip(name, Message(_("it is the old spelling of optimizer_type = {value}"), value=meaning))
    carries = map_optimizer(job, "optimizer_type", given or "AdamW")
    texts = list_of(job, "optimizer_args")
    arguments = parse_arguments(job, "optimizer_args", texts) if texts else {}
    if "optimizer_args" in job.entries:
        job.equal("optimizer_args", Message(_("its arguments are listed one by one"))) if texts else job.equal(
            "optimizer_args"
        )
    job.entries |= {f"optimizer_args {key}": Entry(f"optimizer_args {key}", value) for key, value in arguments.items()}
    map_arguments(job, "optimizer_args ", arguments)
    if plain_name(given).startswith("paged"):
        job.notes.append(Message(_("the optimizer's state is not paged to the CPU, which changes only the memory")))
    return carries


def decide_schedule(job: Job) -> None:
    """The learning-rate scheduler with its numbers, and the warm-up."""
    if reason := find_own_schedule(job):
        for name in job.entries:
            if name.startswith("lr_") and name not in job.rows:
                job.skip(name, reason)
        job.settings["train.scheduler"] = "constant"
        return
    name = job.word("lr_scheduler", "constant")
    steps = job.settings.get("train.steps", 0)
    torch_class = job.word("lr_scheduler_type")
    arguments = list_of(job, "lr_scheduler_args")
    settings: dict[str, Any] = {}
    if torch_class:
        name = _decide_torch_schedule(job, torch_class, arguments, steps)
    elif "lr_scheduler_type" in job.entries:
        job.equal("lr_scheduler_type")
    if "lr_scheduler_args" in job.entries and "lr_scheduler_args" not in job.rows:
        if arguments:
            job.skip("lr_scheduler_args", Message(_("it only counts with lr_scheduler_type")))
        else:
            job.equal("lr_scheduler_args")
    base = "constant" if name in ("constant_with_warmup", "adafactor") else name
    if torch_class:
        settings["train.scheduler"] = name
    elif base in _SCHEDULES:
        settings["train.scheduler"] = _OURS.get(base, base)
    else:
        settings["train.scheduler"] = "cosine" if "cosine" in base.lower() else "constant"
    if not torch_class:
        if base in _SCHEDULES and name != "adafactor":
            job.map("lr_scheduler", settings)
        else:
            template = _("Tetrad does not have this schedule; the run uses {scheduler}")
            job.leave("lr_scheduler", Message(template, scheduler=settings["train.scheduler"]))
            _note_unknown_schedule(job, name)
    job.settings |= settings
    _decide_cycles(job, base, steps)
    _decide_warmup(job, name, steps)


def _note_unknown_schedule(job: Job, name: str) -> None:
    known = (
        *_SCHEDULES,
        "constant_with_warmup",
        "adafactor",
        "piecewise_constant",
    )
    if name not in known:
        job.failures.append(Message(_("{value} is no schedule of sd-scripts, which stops with it"), value=name))


def _decide_torch_schedule(job: Job, torch_class: str, arguments: list[str], steps: int) -> str:
    """The schedule of a torch class: CosineAnnealingLR with its own number of steps."""
    values = parse_arguments(job, "lr_scheduler_args", arguments)
    period, lowest = values.get("T_max"), values.get("eta_min", 0)
    is_cosine = torch_class.rpartition(".")[2] == "CosineAnnealingLR"
    if "lr_scheduler" in job.entries:
        job.skip("lr_scheduler", Message(_("lr_scheduler_type comes first")))
    if is_cosine and isinstance(period, int) and period > 0:
        rate = job.number("unet_lr") or job.number("learning_rate") or 0.0
        ratio = {"train.scheduler_min_ratio": lowest / rate} if lowest and 0 < lowest < rate else {}
        is_whole = period == steps
        name = "cosine" if is_whole else "cosine_annealing"
        job.map("lr_scheduler_type", {"train.scheduler": name})
        own = {} if is_whole else {"train.scheduler_timescale": period}
        job.map("lr_scheduler_args", own | ratio or {"train.scheduler": name})
        return name
    template = _("Tetrad does not have this schedule; the run uses {scheduler}")
    ours = "cosine" if is_cosine else "constant"
    job.leave("lr_scheduler_type", Message(template, scheduler=ours))
    if "lr_scheduler_args" in job.entries:
        job.leave("lr_scheduler_args", Message(template, scheduler=ours))
    return ours


def _decide_cycles(job: Job, scheduler: str, steps: int) -> None:
    """Cycles and power, always written where they count; keys of other schedules have no effect."""
    if scheduler == "cosine_with_restarts":
        job.map("lr_scheduler_num_cycles", {"train.scheduler_cycles": job.whole("lr_scheduler_num_cycles", 1) or 1})
    elif "lr_scheduler_num_cycles" in job.entries:
        job.skip("lr_scheduler_num_cycles", Message(_("it only counts with {value}"), value="cosine_with_restarts"))
    if scheduler == "polynomial":
        job.map("lr_scheduler_power", {"train.scheduler_power": job.number("lr_scheduler_power", 1.0) or 1.0})
    elif "lr_scheduler_power" in job.entries:
        job.skip("lr_scheduler_power", Message(_("it only counts with {value}"), value="polynomial"))
    decay = job.number("lr_decay_steps", 0.0) or 0.0
    decay_steps = int(decay * steps) if 0 < decay < 1 else int(decay)
    for name, schedulers, values in (
        ("lr_decay_steps", ("warmup_stable_decay",), {"train.decay_steps": decay_steps}),
        (
            "lr_scheduler_timescale",
            ("inverse_sqrt",),
            {"train.scheduler_timescale": job.whole("lr_scheduler_timescale")},
        ),
        (
            "lr_scheduler_min_lr_ratio",
            ("cosine_with_min_lr", "warmup_stable_decay"),
            {"train.scheduler_min_ratio": job.number("lr_scheduler_min_lr_ratio", 0.0) or 0.0},
        ),
    ):
        if scheduler in schedulers:
            job.map(name, values)
        elif name in job.entries:
            job.skip(name, Message(_("it only counts with {value}"), value=" / ".join(schedulers)))


def _decide_warmup(job: Job, scheduler: str, steps: int) -> None:
    """The warm-up, whose first update has rate 0 there; a float in TOML is a share of the run."""
    given = job.get("lr_warmup_steps")
    if given in (None, 0, "0", 0.0):
        if "lr_warmup_steps" in job.entries:
            job.equal("lr_warmup_steps")
        return
    share, is_share = _read_warmup(job, given)
    if is_share and share >= 1:
        template = _(
            "{value} is a float, which sd-scripts reads as {value} × the run, so the rate stays near 0 to the end; if"
            " {count} steps are meant, write {count} without a point"
        )
        job.notes.append(Message(template, value=given, count=int(share)))
    if scheduler == "constant" or job.word("lr_scheduler_type"):
        template = _("sd-scripts stops where lr_warmup_steps is given with this schedule")
        job.failures.append(Message(template))
    if not steps and is_share:  # while the images are not there
        job.map("lr_warmup_steps", {"train.warmup_share": min(1.0, share), "train.warmup_from_zero": True})
        return
    warmup = kohya_warmup(share, is_share, steps)
    note_long_warmup(job, warmup, steps)
    job.map("lr_warmup_steps", {"train.warmup_steps": min(warmup, 1_000_000), "train.warmup_from_zero": True})


def _read_warmup(job: Job, given: Any) -> tuple[float, bool]:
    """The number, and whether it is a share of the run."""
    if isinstance(given, str):
        text = given.strip()
        if text.endswith("%"):
            return float(text[:-1]) / 100, True
        number = job.number("lr_warmup_steps", 0.0) or 0.0
        return number, number < 1
    return float(given), isinstance(given, float)
