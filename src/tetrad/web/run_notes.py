"""The note at the top of the page of a run: what happened, what it means, and the way on from there."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetrad.contest.figures import format_duration
from tetrad.locales import Message, _, presentable
from tetrad.methods import METHODS
from tetrad.web.page_words import as_sentence
from tetrad.web.runs import Snapshot

_FAILURES = {  # by the first digit of the code
    "4": _("The result cannot be written"),
    "6": _("There is not enough memory"),
    "7": _("The training diverged"),
    "8": _("The device is missing"),
}


def can_resume(run: Snapshot) -> bool:
    return run.status.state in ("interrupted", "failed") and (run.status.path / "resume").is_dir()


def can_restart(run: Snapshot) -> bool:
    """Whether the only way on is a new run of the same recipe."""
    is_over = run.status.state in ("interrupted", "failed") and not can_resume(run)
    return is_over and run.status.method in METHODS


def describe_note(run: Snapshot, state: str) -> dict[str, Any] | None:
    """The note at the top of the page: what happened, what it means, and the step to resume from if it can be."""
    describe = {
        "interrupted": _note_interrupted,
        "failed": _note_failed,
        "stopped": _note_stopped,
        "finished": _note_done,
    }
    if run.is_waiting_for_disk:
        return _note("bad", Message(_("The disk is full")), as_sentence(run.ending.note), "W4204")
    return describe[state](run) if state in describe else None


def _note_interrupted(run: Snapshot) -> dict[str, Any]:
    status = run.status
    values = {"step": status.step, "saved": status.resume_step, "repeated": max(0, status.step - status.resume_step)}
    title = Message(_("Interrupted at step {step:,}"), **values)
    template = _("The process ended unexpectedly; the computer may have been switched off. Nothing is saved yet.")
    if status.resume_step:
        template = _(
            "The process ended unexpectedly; the computer may have been switched off. Step {saved:,} is saved, and"
            " resuming repeats {repeated:,} steps."
        )
    return _note("warn", title, str(Message(template, **values)), run=run)


def _note_failed(run: Snapshot) -> dict[str, Any]:
    code, status = str(run.error.get("code", "")), run.status
    title = Message(_FAILURES.get(code[1:2], _("The run failed")))
    values = run.error.get("values")
    if isinstance(values, Mapping) and values.get("reason") == os.strerror(errno.ENOSPC):
        title = Message(_("The disk is full"))
    text = as_sentence(run.error, is_last=not status.resume_step)
    if status.resume_step:
        safe = Message(_("Step {saved:,} is safe."), saved=status.resume_step)
        text = str(Message(_("{sentence} {more}"), sentence=text, more=safe))
    return _note("bad", title, text, code, run)


def _note_stopped(run: Snapshot) -> dict[str, Any]:
    title = Message(_("Stopped at step {step:,}"), step=run.status.step)
    file = Path(str(run.ending.finished.get("path", ""))).name
    text = str(Message(_("{file} has the weights of this step."), file=file)) if file else ""
    return _note("", title, text, run=run)


def _note_done(run: Snapshot) -> dict[str, Any]:
    finished: Mapping[str, Any] = run.ending.finished
    title = Message(_("{file} is ready"), file=Path(str(finished.get("path", ""))).name or run.name)
    duration = format_duration(float(finished.get("seconds") or 0))
    text = Message(_("Read back and checked: every key in it matched a layer. It took {duration}."), duration=duration)
    return _note("ok", title, str(text))


def _note(tone: str, title: Message, text: str, code: str = "", run: Snapshot | None = None) -> dict[str, Any]:
    """A note; with its run, the way on from there: `resume`, or where nothing is left to resume, `restart`."""
    resume = restart = ""
    if run and can_resume(run):
        saved = run.status.resume_step
        template = _("Resume from step {saved:,}") if saved else _("Resume from the beginning")
        resume = str(Message(template, saved=saved))
    elif run and can_restart(run):
        restart = str(Message(_("Train again as a new run")))
    shown = {"tone": tone, "title": str(title), "text": text, "code": str(presentable(code))}
    return {**shown, "resume": resume, "restart": restart}
