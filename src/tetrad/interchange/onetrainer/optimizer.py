"""OneTrainer's optimizer with its arguments, EMA, and the dtype of the weights that are trained."""

import math
from collections.abc import Mapping
from typing import Any

from tetrad.interchange.half_weights import FP16_WEIGHTS, map_bf16_weights
from tetrad.interchange.job import Job
from tetrad.interchange.optimizers import map_arguments, map_optimizer, takes_argument
from tetrad.interchange.quantized_base import is_quantized, map_quantized_base
from tetrad.locales import Message, _

# Arguments of OneTrainer's optimizers with values that change nothing, or nothing but where numbers are kept.
_USUAL: Mapping[str, tuple[object, ...]] = {
    "growth_rate": ("inf", math.inf),
    "min_8bit_size": (4096,),
    "percentile_clipping": (100,),
    "block_wise": (True,),
    "optim_bits": (8, 32),
    "is_paged": (True, False),
    "eps": (1e-8,),
    "beta1": (0.9, 0.999),
    "beta2": (0.9, 0.999),
}


def decide_optimizer(job: Job) -> bool:
    """The optimizer with its arguments; null and false are its usual values."""
    given = job.word("optimizer.optimizer", "ADAMW")
    carries = map_optimizer(job, "optimizer.optimizer", given)
    arguments = {}
    for name in list(job.entries):
        if not name.startswith("optimizer.") or name in job.rows or name == "optimizer.optimizer":
            continue
        key, value = name.removeprefix("optimizer."), job.get(name)
        if key == "stochastic_rounding":
            continue  # `_decide_rounding` decides
        is_usual = value in (None, "NONE", *_USUAL.get(key, ()))
        if is_usual or (value is False and not takes_argument(job.settings.get("train.optimizer", "adamw"), key)):
            job.equal(name)
        else:
            arguments[key] = value
    map_arguments(job, "optimizer.", _pair_eps(job, arguments))
    if "weight_decay" in job.entries and job.get("weight_decay") is not None:  # of 2023, on top
        job.map("weight_decay", {"train.weight_decay": job.number("weight_decay")})
    if "clip_grad_norm" in job.entries:
        job.map("clip_grad_norm", {"train.max_grad_norm": job.number("clip_grad_norm", 0.0)})
    _decide_ema(job)
    return carries


def _pair_eps(job: Job, arguments: dict[str, Any]) -> dict[str, Any]:
    """Adafactor has two eps in one argument, and CAME calls its two eps1 and eps2."""
    ours, names = job.settings.get("train.optimizer", "adamw"), [name for name in ("eps", "eps2") if name in arguments]
    usual = {"adafactor": (1e-30, 1e-3), "came": (1e-30, 1e-16)}.get(ours)
    if not names or usual is None:
        return arguments
    given = tuple(arguments.get(name, value) for name, value in zip(("eps", "eps2"), usual, strict=True))
    rest = {key: value for key, value in arguments.items() if key not in names}
    own = {"eps": given} if ours == "adafactor" else {"eps1": given[0], "eps2": given[1]}
    for name in names:
        if given == usual:
            job.equal(f"optimizer.{name}")
        elif name not in own:
            job.map(f"optimizer.{name}", {}, Message(_("it is part of eps")))
    return rest if given == usual else {**rest, **own}


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


def decide_weight_dtypes(job: Job, model_type: str) -> None:
    """The dtype of the U-Net, and of the text encoders where these are trained; NONE is the model's, or float32."""
    parts = ["unet"]
    if job.settings.get("method.text_encoder"):
        parts += ["text_encoder", "text_encoder_2"] if "XL" in model_type else ["text_encoder"]
    keys = {part: f"{part}.weight_dtype" for part in parts}
    own = {part: job.word(key, "NONE") for part, key in keys.items()}
    kinds = {part: job.word("weight_dtype", "FLOAT_32") if kind == "NONE" else kind for part, kind in own.items()}
    name = keys["unet"] if own["unet"] != "NONE" else "weight_dtype"
    if job.base == "FINE_TUNE":
        _decide_trained_weights(job, name, kinds)
    elif is_quantized(kinds["unet"]):
        map_quantized_base(job, name, kinds["unet"])
    _decide_rounding(job)


def _decide_trained_weights(job: Job, name: str, kinds: Mapping[str, str]) -> None:
    """The dtype in which the trained parts of a whole model are stored."""
    if kinds["unet"] == "FLOAT_16":
        job.leave(name, Message(FP16_WEIGHTS))
    elif set(kinds.values()) == {"BFLOAT_16"}:
        map_bf16_weights(job, name)
    elif kinds["unet"] == "BFLOAT_16":
        template = _(
            "bf16 weights are possible only for all trained parts together, so all stay in fp32, which needs more"
            " memory"
        )
        job.leave(name, Message(template))


def _decide_rounding(job: Job) -> None:
    """Stochastic rounding, which weights in bfloat16 always have here."""
    name = "optimizer.stochastic_rounding"
    if name not in job.entries:
        return
    if not job.settings.get("method.bf16_weights"):
        job.skip(name, Message(_("it only counts with {value}"), value="BFLOAT_16"))
    elif job.flag(name):
        job.equal(name)
    else:
        job.leave(name, Message(_("updates of weights in bf16 are always rounded stochastically")))
