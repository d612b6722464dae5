"""kohya_ss' own count of steps, its warm-up in per cents, and what it hands on of the rates."""

from tetrad.interchange.arithmetic import kohya_ss_fine_tuning_steps, kohya_ss_steps
from tetrad.interchange.job import Entry, Job
from tetrad.interchange.pictures import read_folder, read_folders
from tetrad.locales import Message, _


def decide_kept_rates(job: Job, tab: str) -> None:
    """Which rates are handed on: with both 0 neither, with one of them 0 that part is not trained."""
    for name in ("stop_text_encoder_training_pct", "stop_text_encoder_training"):
        if name not in job.entries:
            continue
        percent = job.number(name, 0.0) or 0.0
        if tab == "LoRA" or tab == "TI" or not percent:
            job.skip(name, Message(_("kohya_ss does not pass it on from this tab"))) if percent else job.equal(name)
            job.entries[name] = Entry(name, None, job.get(name))
        elif percent < 0:
            job.rename(name, "stop_text_encoder_training", -1)
        else:
            _decide_stop(job, name, percent)
    if tab != "LoRA":
        return
    unet, text = job.number("unet_lr", 0.0) or 0.0, _read_text_rate(job)
    if text and not unet:
        job.imply("network_train_text_encoder_only", True)
    elif unet and not text:
        job.imply("network_train_unet_only", True)
    if not unet and not text:
        for name in ("unet_lr", "text_encoder_lr"):
            if name in job.entries:
                job.entries[name] = Entry(name, None, job.entries[name].value)


def _read_text_rate(job: Job) -> float:
    """text_encoder_lr, which newer pages save as a list of one or two rates: whether there is any but 0."""
    given = job.get("text_encoder_lr")
    if not isinstance(given, list):
        return job.number("text_encoder_lr", 0.0) or 0.0
    shown = job.entries["text_encoder_lr"]
    rates = [rate for rate in given if rate not in (None, "")]
    job.entries["text_encoder_lr"] = Entry(shown.shown, rates or None, given)
    return max((float(rate) for rate in rates), default=0.0)


def _decide_stop(job: Job, name: str, percent: float) -> None:
    template = _(
        "the page calls it a percentage of the steps, but since April 2024 kohya_ss passes it on as {count}"
        " steps; here the text encoders are trained for {percent} % of the run, as the page says"
    )
    job.map(
        name,
        {"train.text_encoder_share": min(1.0, percent / 100)},
        Message(template, count=int(percent), percent=f"{percent:g}"),
    )
    job.notes.append(Message(template, count=int(percent), percent=f"{percent:g}"))


def decide_steps(job: Job, tab: str) -> None:
    """epoch becomes a number of steps by the page's own count, which knows no buckets, unless steps are given."""
    epochs = max(1, job.whole("epoch", 1))
    has_steps, has_epochs = job.whole("max_train_steps") > 0, job.whole("max_train_epochs") > 0
    _decide_warmup(job)
    if not job.get("lr_scheduler_num_cycles") and job.word("lr_scheduler") == "cosine_with_restarts":
        job.set_aside("lr_scheduler_num_cycles", Message(_("{key} comes first"), key="epoch"))
        job.imply("lr_scheduler_num_cycles", epochs)
    if has_steps or has_epochs:
        if "epoch" in job.entries:
            job.skip("epoch", Message(_("max_train_steps or max_train_epochs comes first")))
        return
    if job.get("dataset_config"):
        if "epoch" in job.entries:
            job.skip(
                "epoch",
                Message(_("with dataset_config the page passes on no number of steps, so sd-scripts takes 1600")),
            )
        return
    steps = _count_steps(job, tab, epochs)
    if steps:
        job.rename("epoch", "max_train_steps", steps)
        template = _("kohya_ss makes {steps} steps of {epochs} epochs, because its count knows no buckets")
        job.notes.append(Message(template, steps=steps, epochs=epochs))
    else:
        job.rename("epoch", "max_train_epochs", epochs)


def _count_steps(job: Job, tab: str, epochs: int) -> int:
    """The page's own count; 0 where the folder of images is not there."""
    folder = job.find_folder("train_data_dir")
    batch, accumulation = max(1, job.whole("train_batch_size", 1)), max(1, job.whole("gradient_accumulation_steps", 1))
    if folder is None:
        return 0
    if tab == "Finetuning":
        found = read_folder(folder)
        uses = len(found) * max(1, job.whole("dataset_repeats", 1)) if found else 0
        return kohya_ss_fine_tuning_steps(uses, batch, accumulation, epochs, job.flag("flip_aug"))
    pictures = read_folders(folder)
    uses = len(pictures) if pictures else 0
    return kohya_ss_steps(uses, batch, accumulation, epochs, bool(job.get("reg_data_dir")))


def _decide_warmup(job: Job) -> None:
    """lr_warmup is in per cents of the run; lr_warmup_steps, of newer files, comes first."""
    percent = job.number("lr_warmup")
    if "lr_warmup" not in job.entries or job.whole("lr_warmup_steps") > 0:
        if "lr_warmup" in job.entries:
            job.skip("lr_warmup", Message(_("lr_warmup_steps comes first")))
        return
    job.rename("lr_warmup", "lr_warmup_steps", f"{percent:g}%" if percent else 0)
