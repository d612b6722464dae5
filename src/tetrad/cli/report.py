"""`tetrad report`: everything about a run as one HTML file."""

from pathlib import Path

from tetrad.cli.resume import RunsFolder
from tetrad.cli.run_folders import Run
from tetrad.cli.terminal import announce_loading, print_text
from tetrad.locales import _
from tetrad.run import find_run

HELP = _("Write a run's report.html: verdict, scores, curves, previews, recipe, hashes.")


def report(
    run: Run,
    out: RunsFolder = Path("runs"),
) -> None:
    """Write report.html into the run's folder, in place of an older one."""
    path = find_run(run, out)
    announce_loading()
    from tetrad.judging.runs import write_report

    print_text(write_report(path))
