"""What sd-scripts' keys of the learning rates become: a rate for each part, and which parts are trained."""

from typing import Any

from tetrad.interchange.job import Job
from tetrad.interchange.rates import Rates, read_rates
from tetrad.locales import Message, _

_DEFAULT_RATE = 2e-6
_SECOND_RATE = "train.text_encoder_2_learning_rate"


def decide_rates(job: Job, kind: str, carries: bool) -> None:
    """Learning rates of the U-Net and of the text encoders, which sd-scripts trains at learning_rate by default."""
    base = job.number("learning_rate")
    base = _DEFAULT_RATE if base is None else base
    {"lora": _lora_rates, "dreambooth": _full_rates}.get(kind, _only_rate)(job, base, carries)


def _only_rate(job: Job, base: float, carries: bool) -> None:
    read_rates(job, "learning_rate", base, None, carries).put(job, "learning_rate")
    for name in ("unet_lr", "text_encoder_lr", "learning_rate_te", "train_text_encoder"):
        if name in job.entries:
            job.skip(name, Message(_("this script has no such option")))


def _lora_rates(job: Job, base: float, carries: bool) -> None:
    """unet_lr and text_encoder_lr, or else learning_rate for either."""
    unet, text = job.number("unet_lr"), _text_rates(job)
    has_text = not job.flag("network_train_unet_only") and (text != 0 or _SECOND_RATE in job.settings)
    unet_rate, text_rate = base if unet is None else unet, base if text is None else text
    if unet == 0 or job.flag("network_train_text_encoder_only"):
        name = "unet_lr" if unet == 0 else "network_train_text_encoder_only"
        job.leave(name, Message(_("the U-Net is always trained; only the text encoders cannot be")))
        unet_rate = base or text_rate
    rates = read_rates(job, "unet_lr" if unet else "learning_rate", unet_rate, text_rate if has_text else None, carries)
    if unet is None or (has_text and text is None):
        rates.put(job, "learning_rate", "train.learning_rate" if unet is None else "text_encoder")
    elif "learning_rate" in job.entries:
        job.skip("learning_rate", Message(_("unet_lr and text_encoder_lr come first")))
    if "unet_lr" in job.entries and "unet_lr" not in job.rows:
        job.equal("unet_lr") if unet is None else rates.put(job, "unet_lr", "train.learning_rate")
    job.settings |= {**rates.settings, "method.text_encoder": has_text}
    _note_text_encoder(job, text, has_text, rates)


def _text_rates(job: Job) -> float | None:
    """text_encoder_lr: one number, or one for each of SDXL's text encoders; None where it is not given."""
    value = job.get("text_encoder_lr")
    items = value if isinstance(value, list) else str(value).split() if isinstance(value, str) else [value]
    if value is None or not items:
        return None
    try:
        numbers = [float(item) for item in items]
    except (TypeError, ValueError):
        job.fail("text_encoder_lr", Message(_("a number")))
        return None
    if len(set(numbers)) > 1:
        job.settings[_SECOND_RATE] = numbers[1]
    return numbers[0]


def _note_text_encoder(job: Job, text: float | None, has_text: bool, rates: Rates) -> None:
    """The rows of the keys that say whether text encoders are trained."""
    if "network_train_unet_only" in job.entries:
        job.map("network_train_unet_only", {"method.text_encoder": has_text})
    if "network_train_text_encoder_only" in job.entries and not job.flag("network_train_text_encoder_only"):
        job.equal("network_train_text_encoder_only")
    if text is None and has_text:
        job.map("text_encoder_lr", {"method.text_encoder": True})
    elif "text_encoder_lr" in job.entries and "text_encoder_lr" not in job.rows:
        if has_text:
            second = {key: value for key, value in job.settings.items() if key == _SECOND_RATE}
            rates._replace(settings={**rates.settings, **second}).put(job, "text_encoder_lr", "text_encoder")
        elif text:
            job.skip("text_encoder_lr", Message(_("the text encoders are not trained")))
        else:
            job.map("text_encoder_lr", {"method.text_encoder": False})


def _full_rates(job: Job, base: float, carries: bool) -> None:
    """DreamBooth: train_db always trains the text encoder, fine_tune and sdxl_train only if asked."""
    stop = job.get("stop_text_encoder_training")
    has_text = job.flag("train_text_encoder")
    if job.base == "train_db":
        has_text = stop is None or job.whole("stop_text_encoder_training") > 0
    names = ("learning_rate_te1", "learning_rate_te2") if job.base == "sdxl_train" else ("learning_rate_te",)
    numbers = [job.number(name) for name in names]
    given = [base if rate is None else rate for rate in numbers]
    has_text = has_text and any(given)
    text = given[0] if has_text else None
    rates = read_rates(job, "learning_rate", base, text, carries)
    rates.put(job, "learning_rate")
    job.settings["method.text_encoder"] = has_text
    for name in ("learning_rate_te", "learning_rate_te1", "learning_rate_te2"):
        if name not in job.entries:
            continue
        if name not in names or not has_text:
            job.skip(name, Message(_("it does not count in this script, or no text encoder is trained")))
        elif name == names[0] or len(set(given)) == 1:
            rates.put(job, name, "text_encoder")
        elif rates.reason:
            job.leave(name, rates.reason)
        else:
            job.map(name, {_SECOND_RATE: given[1]})
    if "train_text_encoder" in job.entries or job.base != "train_db":
        job.map("train_text_encoder", {"method.text_encoder": has_text})
    _decide_text_stop(job, stop, has_text)


def _decide_text_stop(job: Job, stop: Any, has_text: bool) -> None:
    """After how many updates the text encoder is frozen."""
    name = "stop_text_encoder_training"
    if name not in job.entries:
        return
    steps, count = job.settings.get("train.steps", 0), job.whole(name)
    if job.base != "train_db":
        job.skip(name, Message(_("this script has no such option")))
    elif stop is None or not has_text:
        job.map(name, {"method.text_encoder": has_text})
    elif steps:
        job.map(name, {"train.text_encoder_share": min(1.0, count / steps)})
    else:
        job.leave(name, Message(_("a share of the run cannot be worked out while the images are not there")))
