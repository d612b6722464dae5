"""`tetrad sweep`: train a grid of runs, and compare them."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tetrad.cli.recipe_command import VAE_DECODER, check_is_recipe, find_command
from tetrad.cli.run_folders import STATES, print_table
from tetrad.cli.runs import AsJson, StopRequest
from tetrad.cli.terminal import print_json, print_note, print_text
from tetrad.errors import INTERRUPTED_BUT_SAVED, TetradError
from tetrad.judging.verdict import VERDICTS
from tetrad.locales import Message, _, ngettext
from tetrad.settings.toml import assign, read_values
from tetrad.sweep.results import SHEET, Row, describe_change, write_sheet
from tetrad.sweep.sweep import Place, Sweep

HELP = _("Train a recipe with every combination of some values, and compare the runs.")
_STATES = {**STATES, "waiting": _("waiting"), "stopped early": _("stopped early")}


def sweep(
    recipe: Annotated[Path, typer.Argument(help=_("TOML file with the settings of all runs"), show_default=False)],
    over: Annotated[
        list[str],
        typer.Option(help=_("Values of a setting, like method.rank=4,16 or train.seed=0..7; give it several times")),
    ],
    on: Annotated[str, typer.Option(help=_("Where to train: local, or ray"), metavar="local|ray")] = "local",
    at_once: Annotated[int, typer.Option(min=1, max=1024, help=_("Runs that train at the same time"))] = 1,
    halve: Annotated[
        bool,
        typer.Option(
            "--halve", help=_("Stop the weaker half of the runs after a quarter of the steps, and after a half")
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help=_("Folder of the sweep, new or to go on with; not given: sweeps/RECIPE"))
    ] = None,
    address: Annotated[str, typer.Option(help=_("Address of the Ray cluster; not given: Ray on this machine"))] = "",
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help=_("A setting of all runs: section.key=value"), metavar="KEY=VALUE"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    if on not in ("local", "ray"):
        raise TetradError("E2001", _("--on must be local or ray; it is '{value}'"), value=on)
    check_is_recipe(recipe)
    values = read_values(recipe)
    if find_command(values) == VAE_DECODER:
        raise TetradError("E3192", _("{recipe} trains a VAE decoder; only methods can be swept"), recipe=recipe)
    for assignment in assignments or []:
        assign(values, assignment)
    opened = Sweep.open(values, over, out or Path("sweeps") / recipe.stem, halve)
    template: str = ngettext("{count} run in {folder}", "{count} runs in {folder}", len(opened.cells))
    print_note(template, count=len(opened.cells), folder=opened.folder)
    rows = follow(opened, choose_place(on, at_once, address), as_json)
    sheet = write_sheet(opened.folder, rows)
    if not as_json:
        show(rows)
        if sheet:
            print_note(_("previews of all runs: {path}"), path=opened.folder / SHEET)
    if any(row.state not in ("finished", "stopped early") for row in rows):
        print_note(_("not all runs have ended; the same command continues them"))
        sys.exit(INTERRUPTED_BUT_SAVED)


def choose_place(on: Literal["local", "ray"] | str, at_once: int, address: str) -> Place:
    if on == "ray":
        from tetrad.sweep.on_ray import OnRay

        return OnRay(address)
    gpus = 0
    if at_once > 1:
        import torch

        gpus = torch.cuda.device_count()
    from tetrad.sweep.local import Local

    return Local(at_once, gpus)


def follow(opened: Sweep, place: Place, as_json: bool) -> list[Row]:
    """Train all runs, and say when one has ended."""
    request = StopRequest()
    known: dict[str, str] = {}
    rows: list[Row] = []
    for rows in opened.train(place, request):
        for row in rows:
            if known.get(row.name, "waiting") == row.state:
                continue
            known[row.name] = row.state
            if as_json:
                print_json({"event": "run", **vars(row)})
            elif row.error:
                print_note(
                    _("{name}: {state} ({error})"), name=row.name, state=Message(_STATES[row.state]), error=row.error
                )
            else:
                print_note(_("{name}: {state}"), name=row.name, state=Message(_STATES[row.state]))
    return rows


def show(rows: list[Row]) -> None:
    """The table, the best run first."""
    titles = [_("run"), _("state"), _("step"), _("change of the loss"), _("drift"), _("verdict")]
    print_table([describe(row) for row in rows], [Message(title) for title in titles])
    if rows and rows[0].change is not None:
        print_text(Message(_("best: {name}, {file}"), name=rows[0].name, file=rows[0].file or "-"))


def describe(row: Row) -> list[str]:
    drift = f"{100 * row.scores['drift']:.0f} %" if "drift" in row.scores else "-"
    verdict = str(Message(VERDICTS[row.verdict])) if row.verdict in VERDICTS else "-"  # type: ignore[index]
    step = f"{row.step}/{row.steps or '?'}"
    return [row.name, str(Message(_STATES[row.state])), step, describe_change(row) or "-", drift, verdict]
