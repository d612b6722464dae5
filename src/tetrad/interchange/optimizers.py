"""Optimizers of other trainers by name and arguments: which Tetrad has, and what the others would cost."""

import re
from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange.job import Job
from tetrad.interchange.rules import words
from tetrad.locales import Message, _
from tetrad.settings.optimizers import CLASS_PATTERN, OPTIMIZERS, parse_argument

# Their names in lower case without `_`, and ours.
KNOWN = {
    "adamw": "adamw",
    "adam": "adamw",
    "adamw8bit": "adamw8bit",
    "adam8bit": "adamw8bit",
    "pagedadamw": "adamw",
    "pagedadamw32bit": "adamw",
    "pagedadamw8bit": "adamw8bit",
    "adafactor": "adafactor",
    "lion": "lion",
    "lion8bit": "lion",
    "pagedlion8bit": "lion",
    "came": "came",
    "came8bit": "came",
    "prodigy": "prodigy",
    "dadaptadam": "dadaptadam",
    "adamwschedulefree": "adamwschedulefree",
    "schedulefreeadamw": "adamwschedulefree",
    "prodigyplusschedulefree": "prodigyplusschedulefree",
    "prodigyplus": "prodigyplusschedulefree",
}
# Optimizers that find a rate of their own, or take rates of another size, so that the file's rate is none for ours.
ADAPTIVE = words(
    "prodigy dadaptation dadaptadam dadaptadagrad dadaptadan dadaptadanip dadaptlion dadaptsgd dadaptadampreprint"
    " prodigyplusschedulefree prodigyadv prodigyplus automagic automagic2 automagic3"
)
OTHERS = words(
    "sgd sgdnesterov sgdnesterov8bit radamschedulefree sgdschedulefree"
    " adan adabelief adagrad adagrad8bit adafactoradv adamwadv lionadv lamb lamb8bit lars lars8bit rmsprop"
    " rmsprop8bit ademamix ademamix8bit simplifiedademamix shampoo soap tiger aida adopt muon muonadv yogi adamini"
    " schedulefreesgd adampp adamwprodigy signsgdadv adam8bitkahan adamw8bitkahan"
    " adamw8bitkahansum stableadamw ademamixschedulefree"
)
# The arguments that ours take, and those with another name here.
_ARGUMENTS: dict[str, set[str]] = {
    "adamw": {"betas", "eps"},
    "adamw8bit": {"betas", "eps"},
    "adafactor": {"eps", "scale_parameter", "warmup_init", "clip_threshold", "decay_rate", "beta1", "relative_step"},
    "lion": {"betas"},
    "came": {"betas", "clip_threshold", "eps1", "eps2"},
    "prodigy": set(
        words("betas beta3 eps decouple use_bias_correction safeguard_warmup d0 d_coef growth_rate fsdp_in_use slice_p")
    ),
    "dadaptadam": {"betas", "eps", "d0", "growth_rate", "weight_decouple", "bias_correction"},
    "adamwschedulefree": {"betas", "eps", "warmup_steps", "r", "weight_lr_power", "foreach"},
    "prodigyplusschedulefree": set(
        words(
            "betas beta3 d0 d_coef d_limiter prodigy_steps schedulefree_c eps split_groups split_groups_mean factored"
            " factored_fp32 use_bias_correction use_stableadamw use_schedulefree use_speed weight_decay_by_lr"
            " use_cautious use_grams use_adopt use_orthograd use_focus"
        )
    ),
}
_OTHER_NAMES = {"dadaptadam": {"decouple": "weight_decouple", "use_bias_correction": "bias_correction"}}
# Arguments that change nothing with these values, or nothing at all here.
_WITHOUT_MEANING: dict[str, tuple[object, ...]] = {
    "amsgrad": (False,),
    "relative_step": (False,),
    "warmup_init": (False,),
    "log_every": (0,),
    "fused_back_pass": (False,),
    "stochastic_rounding": (True, False),
}
_OF_SD_SCRIPTS = "optimizer_args "  # before the names of its arguments
# What ours keeps unless it is told otherwise, and the library that sd-scripts uses does not.
_UNLIKE_OURS = {"adafactor": {"scale_parameter": True, "relative_step": True}, "dadaptadam": {"decouple": False}}
_WEIGHT_DECAY = {"adamw": 0.01, "adamw8bit": 0.01}


def plain_name(name: str) -> str:
    """AdamW8bit, ADAMW_8BIT and adamw8bit are the same."""
    return re.sub(r"[\W_]", "", name.lower())


def map_optimizer(job: Job, name: str, given: str) -> bool:
    """Map the optimizer's name; whether the file's learning rates mean the same here."""
    ours = KNOWN.get(plain_name(given)) or KNOWN.get(plain_name(given.rpartition(".")[2]))
    if ours is None and re.fullmatch(CLASS_PATTERN, given):
        template = _(
            "{path} is program code, which is not run because a file names it: the run uses AdamW at the method's own"
            " learning rate; if you trust it, add --set train.optimizer={path}"
        )
        job.leave(name, Message(template, path=given))
        job.settings["train.optimizer"] = "adamw"
        return False
    plain = plain_name(given)
    if ours:
        job.map(name, {"train.optimizer": ours})
        return True
    if plain in ADAPTIVE or plain in OTHERS:
        template = _(
            "Tetrad does not have the optimizer {optimizer}: the run uses AdamW at the method's own learning rate,"
            " because a learning rate for {optimizer} does not suit AdamW"
        )
        job.leave(name, Message(template, optimizer=given))
        job.settings["train.optimizer"] = "adamw"
        return False
    template = _("{key} is {value} in {file}, which is no optimizer of {trainer}; Tetrad has {known}")
    values = {"key": job.get_shown_name(name), "value": repr(given), "file": job.path.name, "trainer": job.trainer}
    job.refuse(name, TetradError("E3163", template, known=", ".join(OPTIMIZERS), **values))
    return False


def parse_arguments(job: Job, name: str, texts: list[str]) -> dict[str, Any]:
    """`key=value` texts as values.  Notes E3163 for a comma after a value, which makes a tuple of it."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.strip().strip("\"'").partition("=")
        if not equals:
            job.fail(name, Message(_("a list of key=value")))
            continue
        value = value.strip()
        if value.endswith(","):
            template = _(
                "{key} in {file} has a comma after {argument}, which makes a list of the value, so that {trainer} stops"
                " with it; separate the arguments with spaces only"
            )
            values = {"key": job.get_shown_name(name), "file": job.path.name, "argument": text, "trainer": job.trainer}
            job.errors.append(TetradError("E3163", template, **values))
            continue
        found |= dict([parse_argument(f"{key}={value}")])
    return found


def map_arguments(job: Job, prefix: str, arguments: dict[str, Any]) -> None:
    """A row for each argument of the optimizer, whose name is already in the settings."""
    ours = job.settings.get("train.optimizer", "adamw")
    is_own = not any(row.outcome == "not done" for name, row in job.rows.items() if name in _NAMES)
    texts: list[str] = []
    defaults = _UNLIKE_OURS.get(ours, {}) if prefix == _OF_SD_SCRIPTS else {}
    for key, value in (_join_betas(ours, arguments) | defaults | arguments).items():
        name = f"{prefix}{key}"
        if not is_own:
            job.leave(name, Message(_("it is for an optimizer that Tetrad does not have")))
        elif key == "weight_decay":
            _map_weight_decay(job, name, value)
        elif value in _WITHOUT_MEANING.get(key, ()):
            job.equal(name)
        elif key in ("beta1", "beta2", "beta3") and "betas" not in arguments and key not in _ARGUMENTS.get(ours, ()):
            job.map(name, {}, Message(_("it is one of betas")))
        else:
            texts += _map_argument(job, name, _OTHER_NAMES.get(ours, {}).get(key, key), value, ours)
    if texts:
        job.settings["train.optimizer_args"] = texts
    if is_own and "weight_decay" not in arguments and ours in OPTIMIZERS:
        job.map("weight_decay", {"train.weight_decay": _WEIGHT_DECAY.get(ours, 0.0)})


def has_own_rate(job: Job) -> bool:
    """Whether the optimizer ignores learning rates and schedules: Adafactor with relative steps."""
    return "relative_step=True" in job.settings.get("train.optimizer_args", ())


def find_own_schedule(job: Job) -> Message | None:
    """Why the optimizer has no schedule of the file, there as here; None where it has one."""
    if has_own_rate(job):
        return Message(OWN_RATE)
    facts = OPTIMIZERS.get(job.settings.get("train.optimizer", "adamw"))
    if facts and facts.is_schedule_free:
        return Message(_("a schedule-free optimizer uses neither a schedule nor this warm-up, in either trainer"))
    return None


OWN_RATE = _("Adafactor finds its own learning rate with relative_step=True, so this has no effect in either trainer")


def settle_fused_backward(job: Job, name: str) -> None:
    """A fused backward has no clipping; with what it does not work with it is off, which needs more memory only."""
    if not job.settings.get("train.fused_backward"):
        return
    facts = OPTIMIZERS.get(job.settings.get("train.optimizer", "adamw"))
    if job.settings.get("train.gradient_accumulation", 1) > 1 or facts is None or not facts.updates_tensors_alone:
        template = _("{key} works neither with gradient accumulation nor with every optimizer")
        job.failures.append(Message(template, key=job.get_shown_name(name)))
        job.settings["train.fused_backward"] = False
        job.skip(name, Message(_("it only saves memory, and does not work with the other settings")))
    else:
        job.settings["train.max_grad_norm"] = 0.0


def takes_argument(optimizer: str, argument: str) -> bool:
    """Whether an optimizer of ours has an argument, so that a value of False says something."""
    return argument in _ARGUMENTS.get(optimizer, ())


def _join_betas(ours: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """OneTrainer's beta1, beta2 and beta3 as the one argument that the classes take."""
    usual = {"lion": (0.9, 0.99), "came": (0.9, 0.999, 0.9999), "prodigyplusschedulefree": (0.9, 0.99)}
    betas = usual.get(ours, (0.9, 0.999))
    given = tuple(arguments.get(f"beta{number}", beta) for number, beta in enumerate(betas, start=1))
    return {"betas": given} if "betas" in _ARGUMENTS.get(ours, ()) and given != betas else {}


def _map_argument(job: Job, name: str, key: str, value: Any, ours: str) -> list[str]:
    """The row of an argument and its text for the recipe; none where the optimizer does not take it."""
    if ours in OPTIMIZERS and key not in _ARGUMENTS[ours]:
        if name.startswith("optimizer."):  # OneTrainer passes on only what the optimizer takes
            job.leave(name, Message(_("{optimizer} has no argument {argument} here"), optimizer=ours, argument=key))
            return []
        template = _("{optimizer} has no argument {argument}, so {trainer} stops with it")
        reason = Message(template, optimizer=ours, argument=key, trainer=job.trainer)
        job.failures.append(reason)
        job.leave(name, reason)
        return []
    text = f"{key}={tuple(value) if isinstance(value, list) else value}"
    job.map(name, {"train.optimizer_args": [text]})
    return [text]


def _map_weight_decay(job: Job, name: str, value: Any) -> None:
    """The weight decay, which has a setting of its own."""
    if not isinstance(value, int | float):
        job.fail(name, Message(_("a number")))
    elif value > 1:
        job.leave(name, Message(_("a weight decay above 1 is not accepted; the optimizer uses its default")))
    else:
        job.map(name, {"train.weight_decay": float(value)})


_NAMES = ("optimizer_type", "optimizer.optimizer", "train.optimizer")
