"""Optimizers of other trainers by name and arguments: which Tetrad has, and what the others would cost."""

import ast
import re
from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange.job import Job
from tetrad.interchange.rules import words
from tetrad.locales import Message, _

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
}
# Optimizers that find a rate of their own, or take rates of another size, so that the file's rate is none for ours.
ADAPTIVE = words(
    "prodigy dadaptation dadaptadam dadaptadagrad dadaptadan dadaptadanip dadaptlion dadaptsgd dadaptadampreprint"
    " prodigyplusschedulefree prodigyadv prodigyplus automagic automagic2 automagic3"
)
OTHERS = words(
    "lion lion8bit pagedlion8bit sgd sgdnesterov sgdnesterov8bit adamwschedulefree radamschedulefree"
    " sgdschedulefree came"
    " adan adabelief adagrad adagrad8bit adafactoradv adamwadv lionadv lamb lamb8bit lars lars8bit rmsprop"
    " rmsprop8bit ademamix ademamix8bit simplifiedademamix shampoo soap tiger aida adopt muon muonadv yogi adamini"
    " schedulefreeadamw schedulefreesgd came8bit adampp adamwprodigy signsgdadv adam8bitkahan adamw8bitkahan"
    " adamw8bitkahansum stableadamw ademamixschedulefree"
)
_ARGUMENTS = {
    "adamw": {"weight_decay", "betas", "eps", "amsgrad"},
    "adamw8bit": {"weight_decay", "betas", "eps", "amsgrad"},
    "adafactor": {
        "weight_decay",
        "eps",
        "scale_parameter",
        "relative_step",
        "warmup_init",
        "clip_threshold",
        "decay_rate",
        "beta1",
    },
}
# The values with which an argument changes nothing here.
_USUAL: dict[str, tuple[object, ...]] = {
    "betas": ((0.9, 0.999), [0.9, 0.999]),
    "eps": (1e-8, (1e-30, 1e-3)),
    "amsgrad": (False,),
    "scale_parameter": (False,),
    "relative_step": (False,),
    "warmup_init": (False,),
    "clip_threshold": (1.0,),
    "decay_rate": (-0.8,),
    "beta1": (None,),
}
_WEIGHT_DECAY = {"adamw": 0.01, "adamw8bit": 0.01, "adafactor": 0.0}


def plain_name(name: str) -> str:
    """AdamW8bit, ADAMW_8BIT and adamw8bit are the same."""
    return re.sub(r"[\W_]", "", name.lower())


def map_optimizer(job: Job, name: str, given: str) -> bool:
    """Map the optimizer's name; whether the file's learning rates mean the same here."""
    plain = plain_name(given)
    ours = KNOWN.get(plain)
    if ours:
        job.map(name, {"train.optimizer": ours})
        return True
    if plain in ADAPTIVE or plain in OTHERS or "." in given:
        template = _(
            "Tetrad does not have the optimizer {optimizer}: the run uses AdamW at the method's own learning rate,"
            " because a learning rate for {optimizer} does not suit AdamW"
        )
        job.leave(name, Message(template, optimizer=given))
        job.settings["train.optimizer"] = "adamw"
        return False
    template = _("{key} is {value} in {file}, which is no optimizer of {trainer}; Tetrad has {known}")
    values = {"key": job.get_shown_name(name), "value": repr(given), "file": job.path.name, "trainer": job.trainer}
    job.refuse(name, TetradError("E3163", template, known="adamw, adamw8bit, adafactor", **values))
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
        try:
            found[key.strip()] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found[key.strip()] = value
    return found


def map_arguments(job: Job, prefix: str, arguments: dict[str, Any]) -> None:
    """A row for each argument of the optimizer, whose name is already in the settings."""
    ours = job.settings.get("train.optimizer", "adamw")
    is_own = not any(row.outcome == "not done" for name, row in job.rows.items() if name in _NAMES)
    for key, value in arguments.items():
        name = f"{prefix}{key}"
        if not is_own:
            job.leave(name, Message(_("it is for an optimizer that Tetrad does not have")))
        elif key == "weight_decay" and not isinstance(value, int | float):
            job.fail(name, Message(_("a number")))
            arguments = {**arguments, key: None}
        elif key == "weight_decay" and value > 1:
            job.leave(name, Message(_("a weight decay above 1 is not accepted; the optimizer uses its default")))
            arguments = {**arguments, key: None}
        elif key == "weight_decay":
            job.map(name, {"train.weight_decay": float(value)})
        elif key not in _ARGUMENTS[ours]:
            template = _("{optimizer} has no argument {argument}, so {trainer} stops with it")
            reason = Message(template, optimizer=ours, argument=key, trainer=job.trainer)
            job.failures.append(reason)
            job.leave(name, reason)
        elif value in _USUAL.get(key, ()):
            job.equal(name)
        elif key == "relative_step":
            job.leave(name, _OWN_RATE)
        else:
            job.leave(name, Message(_("the optimizer uses its default {usual}"), usual=_USUAL[key][0]))
    if is_own and "weight_decay" not in arguments:
        job.map("weight_decay", {"train.weight_decay": _WEIGHT_DECAY[ours]})
    if is_own and ours == "adafactor" and "relative_step" not in arguments:
        job.map("relative_step", {}, None)
        job.notes.append(_OWN_RATE)


_NAMES = ("optimizer_type", "optimizer.optimizer", "train.optimizer")
_OWN_RATE = Message(
    _(
        "Adafactor finds its own rate there unless relative_step=False is given; here it follows the file's learning"
        " rate, so the rate is another one"
    )
)
