"""Checks and notes before the first step: what is trained, the estimated memory, schedules that end early."""

from collections.abc import Iterator, Sequence

from tetrad.builtin import BUILTIN_NAME, explain_unknown_words
from tetrad.data.captions.captions import contains_word
from tetrad.diffusion.noise import PREDICTION_NAMES
from tetrad.errors import TetradError
from tetrad.estimate.forecast import MemoryForecast
from tetrad.given_paths import BUILTIN_MODEL, explain_builtin_model
from tetrad.library import list_bundled_words
from tetrad.locales import Message, _, ngettext
from tetrad.methods.base import ParamGroup
from tetrad.models.base import Model
from tetrad.paths import expand_path
from tetrad.run.dataset import Dataset
from tetrad.run.events import Note
from tetrad.run.plan import JudgePlan, Plan, TrainPlan
from tetrad.settings import Recipe
from tetrad.settings.field import as_number
from tetrad.settings.optimizers import get_facts
from tetrad.sizes import format_memory
from tetrad.training.lr_schedules import Schedule

_SCHEDULE_ENDS, _ONLY_FOR_V, _MEMORY_SHORT = "W3131", "W3133", "W6001"
_RATE_TOO_LOW = "W3134"
_LOW_FACTOR = 0.1  # below it, people mean the rate of another optimizer
_READERS_LOST, _PROMPT, _PREDICTION_DOUBT = "W3171", "W3205", "W5203"


def model_notes(model: Model) -> Iterator[Note]:
    """The detected family and prediction, and a doubt where a measurement contradicts what a person said."""
    yield model_note(model)
    if doubt := model.prediction_info.doubt:
        yield Note(doubt, _PREDICTION_DOUBT)


def model_note(model: Model) -> Note:
    """The detected family and prediction, since a wrong prediction type ruins the training."""
    return Note(
        Message(
            _("{model} is {family}, {resolution} pixels, and predicts {prediction}: {reason}"),
            model=model.name,
            family=model.family_title,
            resolution=model.resolution,
            prediction=PREDICTION_NAMES[model.noise.prediction],
            reason=model.prediction_info.reason,
        )
    )


def builtin_model_notes(recipe: Recipe) -> Iterator[Note]:
    """Warnings where the built-in model is to learn other images, or where previews show what it does not know."""
    if explanation := explain_builtin_model(recipe.model, recipe.data.images):
        yield Note(explanation, BUILTIN_MODEL)
    elif recipe.model == BUILTIN_NAME and not recipe.continue_from:
        for prompt in (*recipe.sample.prompts, *recipe.sample.overfit_prompts):
            word = recipe.data.trigger_word
            learns_subject = word and contains_word(prompt, word)
            if not learns_subject and (explanation := explain_unknown_words(prompt)):
                yield Note(explanation, _PROMPT)


def start_notes(file: str, before: int) -> Iterator[Note]:
    """The file that the run continues from, how long it was trained, and what in it is not trained."""
    if before:
        steps_template = ngettext(
            "continues from {file}, which was trained for {count} step",
            "continues from {file}, which was trained for {count} steps",
            before,
        )
        yield Note(Message(steps_template, file=file))
    else:
        template = _("continues from {file}, whose metadata has no number of steps, so steps are counted from 1")
        yield Note(Message(template, file=file))
    if words := list_bundled_words(expand_path(file)):
        template = _("the embeddings inside {file} ({words}) are neither trained nor saved with the result")
        yield Note(Message(template, file=file, words=", ".join(words)))


def memory_notes(plan: Plan, forecast: MemoryForecast | None, requested_checkpointing: bool | None) -> Iterator[Note]:
    """The estimated memory of a step and what would lower it; `requested_checkpointing` is the recipe's setting."""
    if forecast is None:
        return
    needed = forecast.checkpointed_bytes if plan.train.gradient_checkpointing else forecast.needed_bytes
    needed += forecast.packing_bytes if plan.train.packs_convolutions else 0
    values = {"needed": format_memory(needed), "free": format_memory(forecast.free_bytes), "device": plan.train.device}
    if forecast.free_bytes:
        template = _("a step is estimated to need {needed} of the {free} of free memory on {device}")
    else:
        template = _("a step is estimated to need {needed} of memory on {device}")
    yield Note(Message(template, **values))
    if plan.train.gradient_checkpointing and requested_checkpointing is None:
        yield Note(
            Message(_("gradient checkpointing is turned on to save memory; a step takes about a third more time"))
        )
    if plan.train.packs_convolutions:
        template = _(
            "frozen convolutions are packed, which is faster on this CPU; {needed} of the estimated memory is for this"
        )
        yield Note(Message(template, needed=format_memory(forecast.packing_bytes)))
    if 0 < forecast.free_bytes < needed:
        options, least = forecast.cheapest_options
        template = _(
            "the free memory on {device}, {free}, may be too little for the estimated {needed}; use {flags} to lower"
            " the estimate to {least}, or use a smaller batch size or resolution"
        )
        flags = " ".join(options.flags)
        yield Note(Message(template, flags=flags, least=format_memory(least), **values), _MEMORY_SHORT)


def judge_notes(plan: Plan, dataset: Dataset) -> Iterator[Note]:
    """How the run is judged, as far as that is not what a person expects."""
    yield from _held_out_notes(plan.judge, dataset)
    if plan.judge.images == "previews" and not plan.sample.makes_previews:
        yield Note(Message(_("no previews are generated, so the run is scored by images only at its end")))


def _held_out_notes(judge: JudgePlan, dataset: Dataset) -> Iterator[Note]:
    """Which images are not trained on, or what cannot be told because there is none."""
    if not judge.is_enabled:
        return
    if not dataset.held_out:
        template = _("no image is held out, so overfitting cannot be seen; hold one out with --set judge.held_out=1")
        yield Note(Message(template))
        return
    template = ngettext(
        "{count} of {total} images is held out of training, and its loss shows overfitting: {names}; judge.held_out ="
        " 0 trains on all",
        "{count} of {total} images are held out of training, and their loss shows overfitting: {names}; judge.held_out"
        " = 0 trains on all",
        len(dataset.held_out),
    )
    names = ", ".join(photo.path.name for photo in dataset.held_out)
    yield Note(Message(template, total=len(dataset.subjects) + len(dataset.held_out), names=names))


def run_notes(plan: Plan, model: Model, schedules: Sequence[Schedule], file: str) -> Iterator[Note]:
    """What is about to be trained into a file of that name, then warnings about settings that may be a mistake."""
    yield Note(summary(plan))
    yield from rate_notes(plan)
    reached = {str(note): note for schedule in schedules if (note := end_rate(schedule, plan.train))}
    yield from map(Note, reached.values())
    for reader_note in plan.method.artifact.describe_lost_readers(plan.method, plan.save.format):
        yield Note(reader_note.message, _READERS_LOST)
    word = plan.data.trigger_word
    if plan.method.artifact.requires_trigger_word and file != word:
        template = _(
            "prompts must use {name} instead of {word}, because programs take the trigger word of an embedding from its"
            " file name; rename the file to {word} to change that"
        )
        yield Note(Message(template, name=file, word=word))
    # Parts that follow one schedule at different rates end at the same step; one warning for them is enough.
    ends = {schedule.learning_rate.end_step: end_warning(schedule, plan.train) for schedule in reversed(schedules)}
    yield from (Note(warning, _SCHEDULE_ENDS) for warning in ends.values() if warning)
    if plan.loss.zero_terminal_snr and model.noise.prediction == "epsilon":
        template = _(
            "{model} predicts ε, which cannot be trained at a signal-to-noise ratio of 0; use loss.zero_terminal_snr"
            " only with v-prediction models"
        )
        yield Note(Message(template, model=model.name), _ONLY_FOR_V)


def summary(plan: Plan) -> Message:
    """The method, the length and the learning rate of the run, in one line."""
    single = plan.train.learning_rates[""]
    rate: Message | str = str(single)
    if single.is_single_rate:
        rate = Message(_("{rate} ({scheduler})"), rate=rate, scheduler=plan.train.scheduler)
    values = {"method": plan.method.kind, "length": plan.length(), "rate": rate}
    if about := plan.method.describe():
        return Message(_("{method}: {about}; {length}; learning rate {rate}"), about=about, **values)
    return Message(_("{method}: {length}; learning rate {rate}"), **values)


def end_rate(schedule: Schedule, train: TrainPlan) -> Message | None:
    """The rate of a learning-rate schedule that the run ends with, and the later ones that it does not reach."""
    pieces = schedule.learning_rate.pieces
    if len(pieces) < 2 or schedule.is_finished(train.steps):
        return None
    index = next(
        (n for n, (_rate, bound) in enumerate(pieces) if bound is None or train.steps <= bound), len(pieces) - 1
    )
    values = {"steps": train.steps, "number": index + 1, "count": len(pieces), "rate": as_number(pieces[index][0])}
    if index == len(pieces) - 1:
        template = _("the run ends at step {steps} with the last of the {count} rates of its schedule, {rate}")
        return Message(template, **values)
    template = _(
        "the run ends at step {steps} with rate {number} of the {count} rates of its schedule, {rate}; it does not"
        " reach {unused}"
    )
    return Message(template, unused=", ".join(as_number(rate) for rate, _bound in pieces[index + 1 :]), **values)


def end_warning(schedule: Schedule, train: TrainPlan) -> Message | None:
    """A warning where the learning-rate schedule ends before the run does."""
    end = schedule.learning_rate.end_step
    if end is None or end >= train.steps:
        return None
    values = {"end": end, "rate": as_number(schedule.learning_rate.pieces[-1][0]), "steps": train.steps}
    if train.steps_before >= end:
        template = _(
            "the learning-rate schedule ended at step {end}, and the run continues from step {before}: its"
            " last rate, {rate}, is used up to step {steps}; end the schedule with :-1 if that is what you want"
        )
        return Message(template, before=train.steps_before, **values)
    template = _(
        "the learning-rate schedule ends at step {end}, before the run does: its last rate, {rate}, is used up to step "
        "{steps}; end the schedule with :-1 if that is what you want"
    )
    return Message(template, **values)


def rate_notes(plan: Plan) -> Iterator[Note]:
    """A warning where an optimizer that finds its learning rate gets one that is meant for others."""
    rate = plan.train.learning_rate("")
    if get_facts(plan.train.optimizer).finds_rate and rate.is_single_rate and rate(1) < _LOW_FACTOR:
        template = _(
            "{optimizer} finds the learning rate itself and multiplies it by train.learning_rate = {rate}, so hardly"
            " anything is trained; leave train.learning_rate out, which is 1"
        )
        yield Note(Message(template, optimizer=plan.train.optimizer, rate=str(rate)), _RATE_TOO_LOW)


def check_one_rate(groups: Sequence[ParamGroup], schedules: Sequence[Schedule], train: TrainPlan) -> None:
    """E3139 where parts have different rates, and the optimizer has one for all; a part without a rate rests."""
    if not get_facts(train.optimizer).has_one_rate:
        return
    first = train.steps_before + 1
    trained = [
        (group.part, str(schedule.learning_rate))
        for group, schedule in zip(groups, schedules, strict=True)
        if not schedule.is_finished(first)
    ]
    rates = dict(reversed([(rate, part) for part, rate in trained]))
    if len(rates) < 2:
        return
    (rate, part), (other_rate, other_part), *_more = reversed(rates.items())
    raise TetradError(
        "E3139",
        _(
            "{optimizer} has one learning rate for all parts, but {part} has {rate} and {other_part} has {other_rate};"
            " give only train.learning_rate, or use prodigyplusschedulefree, which finds a rate for each group"
        ),
        optimizer=train.optimizer,
        part=part,
        rate=rate,
        other_part=other_part,
        other_rate=other_rate,
    )


def check_something_trains(schedules: Sequence[Schedule], train: TrainPlan) -> None:
    """E3135 where nothing is trained from some step of the run on."""
    if not all(schedule.is_finished(train.steps) for schedule in schedules):
        return
    steps = range(train.steps_before + 1, train.steps + 1)
    first = next(step for step in steps if all(schedule.is_finished(step) for schedule in schedules))
    if first > train.steps_before + 1:
        raise TetradError(
            "E3135",
            _(
                "nothing is trained from step {first} on, because every learning rate is 0 or train.text_encoder_share"
                " is used up; end the run with --steps {last}, or give a learning rate that lasts longer"
            ),
            first=first,
            last=first - 1,
        )
    raise TetradError(
        "E3135",
        _(
            "nothing is trained from step {first} on, because every learning rate is 0 or train.text_encoder_share is"
            " used up; give a learning rate that lasts longer"
        ),
        first=first,
    )
