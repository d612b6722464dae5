"""A run as the page shows it: state, figures, and what can be done with it, in sentences of the reader's language."""

import time
from pathlib import Path
from typing import Any

from tetrad.builtin import BUILTIN_NAME
from tetrad.contest.figures import TITLES, format_duration
from tetrad.locales import Message, _, ngettext, presentable, translate_record
from tetrad.methods import METHODS
from tetrad.run.minutes import count_timed
from tetrad.run.status import RunStatus
from tetrad.sizes import format_size
from tetrad.web.device import memory_of_run
from tetrad.web.figures import format_clock, format_day, format_speed
from tetrad.web.page_words import as_sentence
from tetrad.web.run_notes import can_resume, describe_note
from tetrad.web.runs import Snapshot

# A state of the page: its word, and the tone of its badge in the style sheet.
STATES = {
    "queued": (_("queued"), ""),
    "starting": (_("starting"), "run"),
    "running": (_("running"), "run"),
    "paused": (_("paused"), "pause"),
    "finished": (_("done"), "ok"),
    "stopped": (_("stopped"), ""),
    "interrupted": (_("interrupted"), "warn"),
    "failed": (_("failed"), "bad"),
}
_METHODS = {
    **TITLES,
    "vae-decoder": _("VAE decoder"),
}
_PHASES = (  # what each is called until it is done, what after that, and the phases of a run in it
    (_("Reading the images"), _("Images read"), ("reading the images",)),
    (_("Loading the model"), _("Model loaded"), ("loading the model", "loading the VAE")),
    (_("Caching the latents"), _("Latents cached"), ("encoding the images",)),
    (_("Training"), _("Training"), ("training",)),
    (_("Checking the file"), _("File checked"), ()),
)
COMMANDS = {"running": ("save", "sample", "pause", "stop"), "paused": ("save", "sample", "continue", "stop")}


def state_of(run: Snapshot) -> str:
    """The state for the page: a run that was told to stop is not called interrupted."""
    if run.status.state == "interrupted" and "complete" in run.ending.finished:
        return "stopped"
    return run.status.state


def describe_row(run: Snapshot) -> dict[str, Any]:
    """A row of the list of runs."""
    state = state_of(run)
    return {
        "name": run.name,
        "shown_name": presentable(run.name),
        "about": describe_about(run),
        "state": state,
        "word": str(Message(STATES[state][0])),
        "tone": STATES[state][1],
        "is_alive": run.is_alive,
        "can_resume": can_resume(run),
        "percent": percent(run.status),
        "sentence": describe_progress(run, state),
        "when": describe_when(run),
        "sample": run.samples[-1][0] if run.samples else None,
    }


def describe_run(run: Snapshot) -> dict[str, Any]:
    """Everything at the top of the page of a run."""
    state, status = state_of(run), run.status
    left = seconds_left(run)
    return {
        **describe_row(run),
        "step": status.step,
        "steps": status.steps,
        "saved": status.resume_step,
        "left": format_duration(left) if left is not None else "–",
        "left_detail": describe_left(run, left),
        "step_detail": describe_epoch(run),
        "speed": format_speed(run.pace.seconds_per_step) if is_training(run) and run.pace.seconds_per_step else "–",
        "memory": memory_of_run(status.path) if run.is_alive else None,
        "loss": f"{run.pace.loss:.3g}" if run.pace.loss is not None else "–",
        "phases": describe_phases(run, state),
        "note": describe_note(run, state),
        "commands": list(COMMANDS.get(status.state, ())),
        "files": [{"name": file.name, "size": format_size(file.stat().st_size)} for file in run.files if file.exists()],
        "can_pick": bool(run.files) and run.status.method in METHODS,
        "next_preview": next_preview(run),
        "rates": str(presentable(run.plan_value("train.scheduler", ""))),
    }


def describe_about(run: Snapshot) -> str:
    """`LoRA · sd15 · 21 images`."""
    images = run.plan_value("train.images", 0)
    path = run.plan_value("model.path", "")
    base = str(Message(_("built-in"))) if path == BUILTIN_NAME else Path(path).stem or path
    parts = [describe_method(run.status.method), base]
    parts += [str(Message(ngettext("{count} image", "{count} images", images)))] if images else []
    return " · ".join(str(presentable(part)) for part in parts if part)


def describe_method(kind: str) -> str:
    return str(Message(_METHODS[kind])) if kind in _METHODS else kind


def percent(status: RunStatus) -> int:
    return min(100, 100 * status.step // status.steps) if status.steps else 0


def is_training(run: Snapshot) -> bool:
    return run.status.state == "running" and run.ending.phase.get("template") in ("training", "generating previews")


def seconds_left(run: Snapshot) -> float | None:
    """The time until a running run is done, with the previews that are still to come; None where it is not known."""
    pace, status = run.pace.seconds_per_step, run.status
    if not is_training(run) or not pace or status.step >= status.steps:
        return None
    every, minutes = run.plan_value("sample.every", 0), run.plan_value("sample.every_minutes", 0.0)
    previews = status.steps // every - status.step // every if every > 0 else 0
    if minutes > 0:
        previews = count_timed(minutes, (status.step, status.steps), pace) + 1
    return (status.steps - status.step) * pace + previews * run.ending.preview_seconds


def describe_left(run: Snapshot, left: float | None) -> str:
    if left is not None:
        return str(Message(_("done about {time}"), time=format_clock(time.time() + left)))
    if can_resume(run) and run.pace.seconds_per_step:
        rest = (run.status.steps - run.status.resume_step) * run.pace.seconds_per_step
        return str(Message(_("{duration} after resuming"), duration=format_duration(rest)))
    return ""


def describe_epoch(run: Snapshot) -> str:
    """`/ 2,100 · epoch 6 of 10`."""
    steps, per_epoch = run.status.steps, run.plan_value("train.steps_per_epoch", 0.0)
    if not steps:
        return ""
    if per_epoch <= 0 or steps / per_epoch < 2:
        return f"/ {steps:,}"
    epochs = round(steps / per_epoch)
    epoch = min(epochs, int(max(0, run.status.step - 1) / per_epoch) + 1)
    return str(Message(_("/ {steps:,} · epoch {epoch:,} of {epochs:,}"), steps=steps, epoch=epoch, epochs=epochs))


def describe_phases(run: Snapshot, state: str) -> list[dict[str, str]]:
    """The phases in their order, each done, now or later."""
    template = str(run.ending.phase.get("template", ""))
    current = next((n for n, (*_words, names) in enumerate(_PHASES) if template in names), 0)
    if template == "generating previews":
        current = 3
    if run.status.steps and run.status.step >= run.status.steps:
        current = len(_PHASES) - 1
    if state == "finished":
        current = len(_PHASES)
    states = ("done", "now", "later")
    return [
        {"word": str(Message(word if n < current else now)), "state": states[(n > current) + (n >= current)]}
        for n, (now, word, _names) in enumerate(_PHASES)
    ]


def next_preview(run: Snapshot) -> dict[str, Any] | None:
    """The step after which the next previews come, and the time until then; None where none come, or by minutes."""
    every, status = run.plan_value("sample.every", 0), run.status
    if every <= 0 or status.step >= status.steps or state_of(run) == "finished":
        return None
    newest = run.samples[-1][0] if run.samples else -1
    step = min(status.steps, (status.step // every + 1) * every)
    if status.step and status.step % every == 0 and newest < status.step:
        step = status.step
    if not run.is_alive:
        return {"step": step, "when": str(Message(_("after resuming")))} if can_resume(run) else None
    seconds = (step - status.step) * run.pace.seconds_per_step
    is_known = is_training(run) and run.pace.seconds_per_step
    return {
        "step": step,
        "when": str(Message(_("in {duration}"), duration=format_duration(seconds))) if is_known else "",
    }


def describe_progress(run: Snapshot, state: str) -> str:
    """The sentence of a row: how far it is, or how it ended."""
    status = run.status
    values = {"step": status.step, "steps": status.steps, "saved": status.resume_step}
    if run.is_waiting_for_disk:
        return str(Message(_("The disk is full; the run waits until there is space.")))
    if run.is_alive:
        if 0 < status.steps <= status.step:
            template = _("{step:,} of {steps:,} · {phase}")
            return str(Message(template, **values, phase=describe_last_phase(run)))
        left = seconds_left(run)
        if left is not None:
            return str(Message(_("{step:,} of {steps:,} · {left} left"), **values, left=format_duration(left)))
        if not status.step:
            return translate_record(run.ending.phase)
        return str(Message(_("{step:,} of {steps:,}"), **values))
    if state == "failed":
        return as_sentence(run.error)
    if state == "finished":
        count = len(run.files)
        return str(
            Message(ngettext("{count} file, read back and checked", "{count} files, read back and checked", count))
        )
    if state == "stopped":
        return str(Message(_("Stopped at step {step:,} of {steps:,}."), **values))
    template = _("The process ended at step {step:,} of {steps:,}.")
    if status.resume_step:
        template = _("The process ended at step {step:,} of {steps:,}. Last save: {saved:,}.")
    return str(Message(template, **values))


def describe_last_phase(run: Snapshot) -> str:
    """What a run does after its last step."""
    is_preview = run.ending.phase.get("template") == "generating previews"
    return translate_record(run.ending.phase) if is_preview else str(Message(_("saving the file")))


def describe_when(run: Snapshot) -> str:
    now = time.time()
    if run.is_alive:
        return str(Message(_("started {time}"), time=format_day(run.status.started, now)))
    return format_day(run.status.changed, now)
