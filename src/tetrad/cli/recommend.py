"""`tetrad recommend` and `tetrad probe`: which method to train with, and whether training is needed at all."""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tetrad.cli import options
from tetrad.cli.column_table import print_column_table
from tetrad.cli.commands import with_program
from tetrad.cli.output import choose_output_path
from tetrad.cli.pipeline_notes import print_device, print_doubt, print_prompt_warnings
from tetrad.cli.runs import AsJson
from tetrad.cli.terminal import announce_loading, print_json, print_note, print_text, print_warning
from tetrad.errors import TetradError
from tetrad.given_paths import BUILTIN_MODEL, check_images_exist, check_model_exists, explain_builtin_model
from tetrad.locales import Message, _, in_english, ngettext, translate
from tetrad.methods.advice import parse_goal
from tetrad.paths import expand_path
from tetrad.settings.device import check_device_name
from tetrad.settings.toml import assign
from tetrad.sizes import format_memory, format_size

if TYPE_CHECKING:
    from tetrad.data.discover.layouts import Listing
    from tetrad.estimate.recommend import MethodEstimate

MEMORY_PATTERN = re.compile(r"([\d.]+)\s*(g|gb|gib|m|mb|mib)?", re.IGNORECASE)
SEEDS = (1, 2, 3, 4)
RECOMMEND_HELP = _("Recommend a method, with the estimated time and memory.")
LOOK_FIRST = _(
    "First see what the model knows without training: {command}; put the name of what you want into the prompt, and if"
    " the images show it, train nothing."
)
PROBE_HELP = _("Generate images from a prompt to see whether the model knows it already.")


def recommend(
    images: Annotated[
        str, typer.Argument(help=_("Folder of images, or builtin:subject, builtin:person, builtin:style"))
    ],
    goal: Annotated[
        str,
        typer.Option(
            help=_("What the images show: face, person, pet, object or style, or two of them, like 'person*style'")
        ),
    ],
    model: options.ModelFile = "builtin",
    prediction_type: options.PredictionType = "",
    memory: Annotated[
        str,
        typer.Option(
            help=_("Memory that the training must fit into; 8GB means 8 GiB, as on a card of 8 GB"),
            show_default=_("what is free"),
        ),
    ] = "",
    trigger_word: Annotated[str, typer.Option(help=_("Trigger word"), show_default=_("a rare word"))] = "",
    class_word: Annotated[str, typer.Option(help=_("Class word: what the images show in general, like dog"))] = "",
    device: options.Device = "auto",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help=_("Setting of a method, like method.algorithm=lokr"), metavar="KEY=VALUE"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate every method for these images and this machine, and choose the best one that fits."""
    limit = parse_memory(memory)
    given = parse_assignments(assignments or [])
    parse_goal(goal)
    check_device_name(device)
    check_images_exist(images)
    check_model_exists(model)
    if warning := explain_builtin_model(model, images):
        print_warning(BUILTIN_MODEL, warning)
    announce_loading()
    from tetrad import library
    from tetrad.estimate import recommend as advice
    from tetrad.models.device import get_free_memory
    from tetrad.run.dataset import find_images
    from tetrad.run.precision import select_training_device
    from tetrad.settings import Data

    device_spec = select_training_device(device, "auto", model)
    limit = limit or get_free_memory(device_spec.device)
    listing = find_images(Data(images=images, class_word=class_word), "", False)
    print_skipped(listing)
    classes = {entry.subset.class_word for entry in listing.entries if not entry.subset.is_class_images}
    class_word = class_word or (classes.pop() if len(classes) == 1 else "")
    trigger_word, has_captions = advice.suggest_trigger_word(listing, trigger_word), any(advice.read_captions(listing))
    loaded_model = library.load_model(model, prediction_type)
    print_doubt(loaded_model.prediction_info)
    prediction = loaded_model.prediction_info.prediction if prediction_type else ""
    found = advice.estimate_methods(
        loaded_model,
        len(listing),
        goal,
        device_spec,
        limit,
        trigger_word=trigger_word,
        class_word=class_word,
        given=given,
    )
    estimates = {each.method: each for each in found}
    best, reason = advice.choose_method(estimates, goal)
    recommendation = Recommendation(
        best,
        reason,
        advice.build_train_command(
            best, goal, images, model, trigger_word, class_word, has_captions, prediction, given
        ),
        advice.build_probe_command(goal, model, class_word, prediction),
    )
    if as_json:
        print_recommendation_as_json(list(estimates.values()), recommendation)
        return
    print_note(LOOK_FIRST, command=with_program(recommendation.probe_command))
    print_note(ngettext("{count} image", "{count} images", len(listing)))
    print_situation(loaded_model, device_spec, limit)
    print_estimates(list(estimates.values()))
    print_text(Message(_("{method}: {reason}"), method=best.method, reason=reason))
    print_text(with_program(recommendation.command))


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """The settings of methods that `--set` gives.  E2008 for one that is not of a method."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        if not assignment.startswith("method."):
            template = _("--set takes only settings of a method here, like method.rank=8; it is '{value}'")
            raise TetradError("E2008", template, value=assignment)
        assign(values, assignment)
    return dict(values.get("method", {}))


def print_skipped(listing: "Listing") -> None:
    """Warn about image files of formats that are not read.  E4003 where there are no others."""
    from tetrad.data.dataset import no_usable_image_error

    skipped = [problem for problem in listing.problems if problem.is_skipped_image]
    if not listing.entries:
        raise no_usable_image_error(listing.root, skipped)
    for problem in skipped:
        print_warning(problem.code, _("{file}: {reason}"), file=problem.path.name, reason=problem.reason)


@dataclass(frozen=True)
class Recommendation:
    """The best method, why, and the commands to train with it and to look first at what the model knows."""

    best: "MethodEstimate"
    reason: Message
    command: str
    probe_command: str


def print_recommendation_as_json(estimates: "list[MethodEstimate]", found: Recommendation) -> None:
    """A line for each method, and a last one with the commands."""
    for each in estimates:
        print_json({**as_record(each), "recommended": each is found.best})
    print_json(
        {
            "look_first": found.probe_command,
            "recommended": found.best.method,
            "why": in_english(found.reason),
            "command": found.command,
        }
    )


def as_record(estimate: "MethodEstimate") -> dict[str, Any]:
    """An estimate as plain values for JSON."""
    texts: dict[str, Any] = in_english({"learning_rate": estimate.learning_rate, "settings": estimate.settings or ""})
    return asdict(estimate) | texts


def print_situation(model: Any, device_spec: Any, limit: int) -> None:
    """Print on stderr the model, the device and the memory that the estimates are for."""
    print_note(
        _("model: {name} ({family}, {resolution} pixels)"),
        name=model.name,
        family=model.family_title,
        resolution=model.resolution,
    )
    device, dtype = device_spec.device, str(device_spec.dtype).removeprefix("torch.")
    if limit:
        template = _("device: {device} in {dtype}, memory limit: {memory}")
        print_note(template, device=device, dtype=dtype, memory=format_memory(limit))
    else:
        print_note(_("device: {device} in {dtype}"), device=device, dtype=dtype)


def print_estimates(estimates: "list[MethodEstimate]") -> None:
    """Print a table with a column for each method."""

    def describe_memory(each: "MethodEstimate") -> str:
        memory = format_memory(each.memory_bytes)
        return memory if each.fits else str(Message(_("{memory}, does not fit"), memory=memory))

    rows: dict[str, Callable[[MethodEstimate], str]] = {
        _("steps"): lambda each: str(each.steps),
        _("steps per image"): lambda each: f"{round(each.steps_per_image, 2):g}",
        _("learning rate"): lambda each: str(each.learning_rate),
        _("settings"): lambda each: str(each.settings or "-"),
        _("time, estimated"): lambda each: format_rough_duration(each.seconds + each.seconds_of_previews),
        _("memory, estimated"): describe_memory,
        _("options to save memory"): lambda each: (
            " ".join(flag.removeprefix("--set ") for flag in each.memory_options.flags) or "-"
        ),
        _("file size"): lambda each: format_size(each.file_bytes),
        _("good for"): lambda each: translate(each.good_at),
        _("limits"): lambda each: translate(each.bad_at),
    }
    cells = {translate(name): list(map(format_cell, estimates)) for name, format_cell in rows.items()}
    print_column_table([each.method for each in estimates], cells)


def format_rough_duration(seconds: float) -> str:
    """A duration in its largest unit: "33 days", "9 hours", "30 seconds"."""
    days, hours, minutes = (round(seconds / length) for length in (86400, 3600, 60))
    if seconds >= 2 * 86400:
        return str(Message(ngettext("{count} day", "{count} days", days)))
    if seconds >= 2 * 3600:
        return str(Message(ngettext("{count} hour", "{count} hours", hours)))
    if seconds >= 2 * 60:
        return str(Message(ngettext("{count} minute", "{count} minutes", minutes)))
    return str(Message(ngettext("{count} second", "{count} seconds", round(seconds))))


def parse_memory(text: str) -> int:
    """8GB, 6.5 GiB, 8 as bytes; GB means GiB, as in the names of graphics cards.  E2002 for anything else."""
    if not text:
        return 0
    match = MEMORY_PATTERN.fullmatch(text.strip())
    try:
        amount = float(match[1]) if match else 0.0
    except ValueError:
        amount = 0.0
    if not match or amount <= 0:
        raise TetradError("E2002", _("--memory must be an amount of memory like 8GB; it is '{value}'"), value=text)
    return round(amount * (1 << (20 if (match[2] or "g").lower().startswith("m") else 30)))


def probe(
    prompt: Annotated[str, typer.Argument(help=_("Prompt for something the model may know, like 'a photo of a fox'"))],
    model: options.ModelFile = "builtin",
    prediction_type: options.PredictionType = "",
    steps: Annotated[int, typer.Option(help=options.STEPS_HELP)] = 20,
    cfg_scale: Annotated[float, typer.Option(help=options.CFG_SCALE_HELP)] = 7.0,
    device: options.Device = "auto",
    out: options.OutputImage = Path("probe.png"),
) -> None:
    """Generate the prompt with four seeds into one contact sheet, and print how to read it."""
    check_model_exists(model)
    path = choose_output_path(expand_path(out))
    if warning := explain_builtin_model(model):
        print_warning(BUILTIN_MODEL, warning)
    announce_loading()
    from tetrad import library
    from tetrad.generation import infotext
    from tetrad.generation.pipeline import Pipeline
    from tetrad.generation.request import Request
    from tetrad.images import contact_sheet, png

    print_device(device)
    requests = [Request(prompt, seed=seed, steps=steps, cfg_scale=cfg_scale) for seed in SEEDS]
    print_prompt_warnings(requests, [model], library.resolve_model_folders())
    pipeline = Pipeline(model, device=device, prediction=prediction_type)
    print_doubt(pipeline)
    results = list(pipeline.generate(requests))
    row: list[Any] = [result.image for result in results]
    column_labels = [str(Message(_("seed {seed}"), seed=seed)) for seed in SEEDS]
    sheet = contact_sheet.make_contact_sheet([row], [prompt], column_labels, pipeline.model.name)
    sides = [("Seed", [str(seed) for seed in SEEDS]), ("", []), ("", [])]
    png.save_png(path, sheet, infotext.format_grid_infotext(results[0].infotext, sides))
    print_text(path)
    print_note(
        _(
            "If every image shows what you mean, the model knows it: use it in prompts and train nothing. If only some"
            " do, a LoRA or an embedding needs few images. If none does, choose a new trigger word and run tetrad"
            " recommend."
        )
    )
