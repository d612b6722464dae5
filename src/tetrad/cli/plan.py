"""`tetrad plan`: what a training would do and need, before it is started.  The same arguments as `tetrad train`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tetrad.cli.terminal import announce_loading, print_json, print_note, print_text, print_warning
from tetrad.cli.train import TrainGroup, method_command
from tetrad.cli.training_speed import format_clock
from tetrad.given_paths import check_images_exist, check_model_exists, check_trained_file_exists
from tetrad.locales import Message, _, ngettext, pad, translate, width_of
from tetrad.methods import METHODS
from tetrad.settings.recipe import Recipe
from tetrad.sizes import format_memory, format_size

if TYPE_CHECKING:
    from tetrad.run.planned_run import PlannedRun
    from tetrad.run.rehearsal import Rehearsal

HELP = _(
    "Show what a training would take: steps, time, memory, disk space and files. It trains three steps to find out."
)
ESTIMATE = typer.Option("--estimate", help=_("Only estimate time and memory, without training three steps"))

app = typer.Typer(help=HELP, cls=TrainGroup, no_args_is_help=True, rich_markup_mode=None)


def plan_recipe(recipe: Recipe, as_json: bool, estimate: bool = False) -> None:
    """Print what a run of the recipe would do and need."""
    check_images_exist(*recipe.data.image_folders)
    check_model_exists(recipe.model)
    check_trained_file_exists(recipe.continue_from)
    announce_loading()
    from tetrad.run.continuation import locate_start
    from tetrad.run.planned_run import FreshSources, plan_run, read_dataset
    from tetrad.run.rehearsal import rehearse

    recipe = locate_start(recipe)
    planned = plan_run(recipe, read_dataset(recipe), FreshSources())
    rehearsal = None
    if planned.missing_class_images:
        template = ngettext(
            "time and memory are only estimated, because {count} class image has not been generated yet",
            "time and memory are only estimated, because {count} class images have not been generated yet",
            planned.missing_class_images,
        )
        print_note(Message(template))
    elif not estimate:
        print_note(_("training three steps to measure time and memory; nothing of it is kept"))
        rehearsal = rehearse(recipe, planned)
    if as_json:
        print_json(as_record(planned, rehearsal))
    else:
        print_plan(planned, rehearsal)


def as_record(planned: "PlannedRun", rehearsal: "Rehearsal | None") -> dict[str, Any]:
    """The plan as plain values; `measured` says whether time and memory come from steps of the training."""
    values = planned.as_values(rehearsal.step_seconds if rehearsal else 0.0)
    if rehearsal:
        values |= {
            "seconds": rehearsal.estimate_seconds(planned),
            "step_seconds": rehearsal.step_seconds,
            "preview_seconds": rehearsal.preview_seconds,
            "memory_bytes": rehearsal.peak_memory,
        }
    return {**values, "measured": rehearsal is not None, "to_save_memory": list_rungs(planned, rehearsal)}


def list_rungs(planned: "PlannedRun", rehearsal: "Rehearsal | None") -> list[dict[str, Any]]:
    """Settings that save memory: {settings, memory_bytes, seconds}, in proportion to what was measured."""
    memory = rehearsal.peak_memory / planned.memory_bytes if rehearsal else 1.0
    time = rehearsal.estimate_seconds(planned) / planned.seconds if rehearsal else 1.0
    return [
        {
            "settings": [flag.removeprefix("--set ") for flag in rung.options.flags],
            "memory_bytes": round(rung.memory_bytes * memory),
            "seconds": rung.seconds * time,
        }
        for rung in planned.list_rungs()
    ]


def print_plan(planned: "PlannedRun", rehearsal: "Rehearsal | None") -> None:
    """A line for each figure, then what other settings would take."""
    for note in planned.notes:
        if note.code:
            print_warning(note.code, note.message)
        else:
            print_note(note.message)
    record = as_record(planned, rehearsal)
    rows = {
        _("steps"): planned.plan.length(),
        _("views per image"): f"{planned.views_per_image:.4g}",
        _("time"): describe_time(planned, rehearsal),
        **describe_preparation(planned),
        _("memory"): describe_memory(planned, record["memory_bytes"]),
        _("disk space"): describe_sizes(record["disk_bytes"], record["free_disk_bytes"], format_size),
        _("files"): describe_files(record),
    }
    width = max(width_of(translate(title)) for title in rows)
    for title, text in rows.items():
        print_text(f"{pad(translate(title), width)}  {text}")
    for rung in record["to_save_memory"]:
        if rung["settings"]:
            print_text(describe_rung(rung))


def describe_time(planned: "PlannedRun", rehearsal: "Rehearsal | None") -> Message:
    """The time of the run, with how it was found."""
    if rehearsal is None:
        template = (
            _("about {duration}, estimated to about a third")
            if planned.plan.train.processes == 1
            else _("about {duration} in one process, estimated to about a third")
        )
        return Message(template, duration=format_clock(planned.seconds))
    duration = format_clock(rehearsal.estimate_seconds(planned))
    values = {"duration": duration, "step": f"{rehearsal.step_seconds:.3g}"}
    if not rehearsal.preview_seconds:
        return Message(_("about {duration}, {step} s for a step"), **values)
    template = ngettext(
        "about {duration}, {step} s for a step, with previews {count} time",
        "about {duration}, {step} s for a step, with previews {count} times",
        planned.count_previews(rehearsal.step_seconds),
    )
    return Message(template, **values)


def describe_preparation(planned: "PlannedRun") -> dict[str, Message]:
    """What a large data set takes before its training; nothing for another one."""
    needed = planned.preparation
    if needed is None:
        return {}
    template = _(
        "about {duration} to encode the images once ({decoding} to decode them, {encoding} for the VAE), less with"
        " several processes (tetrad encode)"
    )
    durations = {"decoding": needed.decoding_seconds, "encoding": needed.encoding_seconds, "duration": needed.seconds}
    written = {name: format_clock(seconds) for name, seconds in durations.items()}
    memory = Message(_("{size} for the list of the images"), size=format_memory(needed.memory_bytes))
    return {_("preparation"): Message(template, **written), _("main memory"): memory}


def describe_memory(planned: "PlannedRun", needed: int) -> Message:
    values = describe_sizes(needed, planned.free_memory_bytes, format_memory)
    return Message(_("{sizes} on {device}"), sizes=values, device=planned.device.device)


def describe_sizes(needed: int, free: int, format_one: Callable[[float], str]) -> Message | str:
    if not free:
        return format_one(needed)
    return Message(_("{needed} of {free} that are free"), needed=format_one(needed), free=format_one(free))


def describe_files(record: dict[str, Any]) -> Message:
    template = ngettext("{file} in {folder}", "{count} files, the last is {file} in {folder}", record["files"])
    return Message(template, file=record["file"], folder=record["folder"])


def describe_rung(rung: dict[str, Any]) -> Message:
    template = _("with {settings}: {memory}, {duration}")
    settings = " ".join(f"--set {setting}" for setting in rung["settings"])
    memory, duration = format_memory(rung["memory_bytes"]), format_clock(rung["seconds"])
    return Message(template, settings=settings, memory=memory, duration=duration)


for each, method in METHODS.items():
    app.command(each, help=method.advice.command_help)(
        method_command(each, plan_recipe, {"estimate": Annotated[bool, ESTIMATE]})
    )
