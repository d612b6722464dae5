"""Learning rates of other trainers as settings of a recipe."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tetrad.interchange.job import Job
from tetrad.interchange.optimizers import OWN_RATE, has_own_rate
from tetrad.locales import Message, _
from tetrad.settings.field import as_exact_number
from tetrad.settings.learning_rate import MAX_FACTOR, MAX_LEARNING_RATE
from tetrad.settings.optimizers import get_facts

_LOW_RATE = _(
    "{optimizer} finds the learning rate itself and multiplies it by {rate}, so hardly anything is trained; 1 is usual"
)
_ONE_RATE = _("{optimizer} has one learning rate for all parts: both are trained at the U-Net's, {rate}")


class Rates(NamedTuple):
    """The settings of the learning rates, or why there are none: the method's own rates are used."""

    settings: Mapping[str, Any]
    reason: Message | None = None
    has_effect: bool = True  # there too

    def put(self, job: Job, name: str, part: str = "") -> None:
        """Make a key's row: the settings whose name contains `part`."""
        found = {key: value for key, value in self.settings.items() if part in key}
        if self.reason and self.has_effect:
            job.leave(name, self.reason)
        elif self.reason and not found:
            job.skip(name, self.reason)
        else:
            job.map(name, found, self.reason)


def read_rates(job: Job, name: str, rate: float, text: float | None, carries: bool) -> Rates:
    """The settings of a rate and of the text encoders' rate; `carries`: they mean the same for our optimizer."""
    highest, facts = max(rate, text or 0.0), get_facts(job.settings.get("train.optimizer", "adamw"))
    limit = MAX_FACTOR if facts.finds_rate or facts.path == job.settings.get("train.optimizer") else MAX_LEARNING_RATE
    if has_own_rate(job):
        return Rates(_list_settings(rate, text) if rate > 0 and highest <= limit else {}, Message(OWN_RATE), False)
    if not carries:
        template = _("{rate} is a learning rate for another optimizer; the run uses the method's own learning rate")
        return Rates({}, Message(template, rate=as_exact_number(rate)))
    if highest > limit:
        template = _(
            "a learning rate of {rate} is above {highest}, the highest that Tetrad takes; the run uses the method's own"
            " learning rate"
        )
        return Rates({}, Message(template, rate=as_exact_number(highest), highest=as_exact_number(limit)))
    if rate <= 0:
        job.fail(name, Message(_("above 0")))
        return Rates({})
    if facts.finds_rate and rate < 0.1:
        job.notes.append(Message(_LOW_RATE, optimizer=job.settings["train.optimizer"], rate=as_exact_number(rate)))
    if facts.has_one_rate and text not in (None, 0.0, rate):
        job.notes.append(Message(_ONE_RATE, optimizer=job.settings["train.optimizer"], rate=as_exact_number(rate)))
        text = rate
    return Rates(_list_settings(rate, text))


def _list_settings(rate: float, text: float | None) -> dict[str, Any]:
    return {"train.learning_rate": rate} | ({} if text is None else {"train.text_encoder_learning_rate": text})


def note_long_warmup(job: Job, warmup: int, steps: int) -> None:
    """A warm-up that does not end in the run, as of a default that is meant for a longer one."""
    if 0 < steps <= warmup:
        template = _(
            "the file asks for a warm-up of {warmup} steps, which does not end before the run does, at {steps} steps"
        )
        job.notes.append(Message(template, warmup=warmup, steps=steps))
