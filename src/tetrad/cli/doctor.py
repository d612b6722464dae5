"""`tetrad doctor`: check this computer and this installation, and say what to do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tetrad.cli import options
from tetrad.cli.resume import RunsFolder
from tetrad.cli.terminal import print_json, print_note, print_text
from tetrad.errors import TetradError
from tetrad.locales import Message, _, ngettext, pad, translate, wrap
from tetrad.paths import expand_path
from tetrad.settings.device import check_device_name

if TYPE_CHECKING:
    from tetrad.doctor.report import Check

HELP = _("Check this computer: Python, PyTorch, the device, memory, disk and models.")
SIGNS = {"ok": "✓", "warn": "!", "bad": "✗"}
LABEL_WIDTH, LINE_WIDTH = 18, 100  # columns


def doctor(
    out: RunsFolder = Path("runs"),
    models_dir: options.ModelsDir = None,
    device: options.Device = "auto",
    full: Annotated[
        bool,
        typer.Option("--full", help=_("Also train, kill, resume and compare on this disk; a few minutes on a CPU")),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print everything as one JSON object"))] = False,
) -> None:
    """Say of everything that training needs whether it works, with what to do where it does not."""
    check_device_name(device)
    from tetrad.doctor.examine import examine
    from tetrad.doctor.report import DoctorReport

    checks = []
    for check in examine(expand_path(out), models_dir, device):
        checks.append(check)
        if not as_json:
            print_check(check)
    if full and all(check.state != "bad" for check in checks):
        from tetrad.doctor.full_check import check_resuming

        checks.append(check_resuming(expand_path(out), print_note))
        if not as_json:
            print_check(checks[-1])
    report = DoctorReport(tuple(checks))
    if as_json:
        print_json(report.as_record())
    if bad := [check for check in checks if check.state == "bad"]:
        template = ngettext(
            "{count} check failed ({labels}): {advice}",
            "{count} checks failed ({labels}); the first: {advice}",
            len(bad),
        )
        labels = ", ".join(translate(check.label) for check in bad)
        raise TetradError("E8002", template, labels=labels, advice=bad[0].advice)
    if not as_json:
        print_text(Message(_("Everything that training needs works.")))


def print_check(check: "Check") -> None:
    """One line about a check, and what to do below it."""
    first, *rest = wrap(str(check.found), LINE_WIDTH - LABEL_WIDTH)
    print_text(f"{SIGNS[check.state]} {pad(translate(check.label), LABEL_WIDTH - 2)}{first}")
    lines = [*rest, *(wrap(f"→ {check.advice}", LINE_WIDTH - LABEL_WIDTH) if check.advice else [])]
    for line in lines:
        print_text(f"{'':{LABEL_WIDTH}}{line}")
