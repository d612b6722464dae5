"""`tetrad track`: send the metrics of a run to Weights & Biases."""

from pathlib import Path
from typing import Annotated

import typer

from tetrad.cli.resume import RunsFolder
from tetrad.cli.runs import StopRequest
from tetrad.cli.terminal import print_note
from tetrad.locales import _, ngettext
from tetrad.run.status import find_run
from tetrad.tracking.weights_and_biases import track as track_run

HELP = _("Send the metrics and previews of a run to Weights & Biases, and follow it while it trains.")


def track(
    run: Annotated[str, typer.Argument(help=_("Folder of the run, or its name"), show_default=False)],
    out: RunsFolder = Path("runs"),
    project: Annotated[str, typer.Option(help=_("Project at W&B"))] = "tetrad",
    offline: Annotated[
        bool, typer.Option("--offline", help=_("Only write W&B's files into the run's folder, for wandb sync"))
    ] = False,
) -> None:
    path = find_run(run, out)
    steps = track_run(path, project, offline, StopRequest())
    template: str = ngettext("{count} step of {folder} is sent", "{count} steps of {folder} are sent", steps)
    print_note(template, count=steps, folder=path)
