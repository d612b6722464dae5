"""The command line, `tetrad`: one module for each command, and what the commands share.

Commands: `demo`, `train`, `vae_decoder` (`tetrad train vae-decoder`), `import_settings` (`tetrad import`),
`export_settings` (`tetrad export`), `resume`, `run_folders` (`tetrad runs`), `scan`, `captions`, `generate`, `grid`,
`recommend` (and `tetrad probe`), `plan`, `inspect`, `verify`, `diff`, `install` (and `tetrad uninstall`), `vae`,
`merge` (its commands: `merge_checkpoint`, `merge_embedding`, `merge_hypernetwork`, `merge_lora`), `convert`, `extract`,
`resize`, `doctor`, `judge`, `report`, `compare`, `sweep`, `track`, `web`. Shared: `options` has the options of several
commands, `lora_options` the options and the report of those that make a LoRA, `flags` makes options from the settings,
`recipe_command` finds the command that a recipe is for, `source` reads the configuration of `tetrad train --from`,
`runs` follows a training run, `terminal` prints its events, notes and warnings, `training_speed` its loss and speed,
`pipeline_notes` those about generated images, `next_steps` says what to do with a trained file, `commands` formats
commands to paste, `column_table` prints a table with a column for each method, `output` checks and chooses the path of
an image, `weighted_files` parses files with a number, `downloads` shows what arrives from object storage, `streams`
ends a command whose output cannot be written, `help` translates the help texts and groups the commands, `click_strings`
has the words and errors of typer, `empty_values` refuses empty names of files. Torch is imported only inside the
commands that need it.
"""

import io
import os
import signal
import sys
from typing import Annotated, NoReturn

import typer
import typer.main

from tetrad.cli import (
    captions,
    compare,
    convert,
    demo,
    diff,
    doctor,
    export_settings,
    extract,
    generate,
    grid,
    import_settings,
    inspect,
    install,
    judge,
    merge,
    plan,
    recommend,
    report,
    resize,
    resume,
    run_folders,
    runs,
    scan,
    sweep,
    track,
    train,
    vae,
    verify,
    web,
)
from tetrad.cli.click_strings import USAGE, explain_usage_error
from tetrad.cli.downloads import DownloadDisplay
from tetrad.cli.empty_values import refuse_empty_values
from tetrad.cli.flags import with_folder_flags
from tetrad.cli.help import MainGroup, print_version, translate_help
from tetrad.cli.streams import ends_where_output_is_lost
from tetrad.cli.terminal import print_json
from tetrad.errors import TetradError
from tetrad.event_file import record_event
from tetrad.locales import _, translate
from tetrad.paths import explain_system_error
from tetrad.storage.progress import show_download

__all__ = ["main"]

# Set before any import of the libraries that read them: no downloads, no messages on the terminal.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Threads that wait by spinning make small networks many times slower as soon as another program needs a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    cls=MainGroup,
    help=_("Train Stable Diffusion on your images with LoRA, DreamBooth, hypernetworks or Textual Inversion."),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo", help=demo.HELP)(demo.demo)
app.add_typer(train.app, name="train")
app.add_typer(plan.app, name="plan")
app.command("resume", help=resume.HELP)(resume.resume)
app.command("import", help=import_settings.HELP)(import_settings.import_settings)
app.command("export", help=export_settings.HELP)(export_settings.export_settings)
app.add_typer(run_folders.app, name="runs")
app.command("scan", help=scan.HELP)(scan.scan)
app.add_typer(captions.app, name="captions")
app.command("doctor", help=doctor.HELP)(doctor.doctor)
app.command("judge", help=judge.HELP)(judge.judge)
app.command("report", help=report.HELP)(report.report)
app.command("sweep", help=sweep.HELP)(sweep.sweep)
app.command("track", help=track.HELP)(track.track)
app.command("compare", help=compare.HELP)(compare.compare)
app.command("generate", help=generate.HELP)(with_folder_flags(generate.generate))
app.command("recommend", help=recommend.RECOMMEND_HELP)(recommend.recommend)
app.command("probe", help=recommend.PROBE_HELP)(recommend.probe)
app.command("inspect", help=_("Show what a file is: type, family, rank, hashes, training."))(inspect.inspect)
app.command("verify", help=verify.HELP)(verify.verify)
app.command("diff", help=diff.HELP)(diff.diff)
app.command("install", help=install.HELP)(install.install)
app.command("uninstall", help=install.UNINSTALL_HELP)(install.uninstall)
app.add_typer(vae.app, name="vae")
app.add_typer(merge.app, name="merge")
app.command("convert", help=convert.HELP)(convert.convert)
app.add_typer(extract.app, name="extract")
app.command("resize", help=resize.HELP)(resize.resize)
app.command("grid", help=grid.HELP)(with_folder_flags(grid.grid))
app.command("web", help=web.HELP)(web.web)


@app.callback()
def callback(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=print_version, help=_("Show the version and exit"))
    ] = False,
) -> None: ...


@ends_where_output_is_lost
def main() -> None:
    """Run a command; a TetradError ends in one sentence and its exit code, not in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter that the terminal does not have stops no command
    command = typer.main.get_command(app)
    translate_help(command)
    signal.signal(signal.SIGTERM, interrupt)
    show_download.set(DownloadDisplay())
    refuse_empty_values(command)
    try:
        sys.exit(command(prog_name="tetrad", standalone_mode=False))
    except TetradError as error:
        exit_with_error(error)
    except typer.TyperException as error:  # typer could not parse the command line
        message = error.format_message()
        if message.startswith(translate(USAGE)):  # no arguments were given, so the help is shown
            print(message, file=sys.stderr)
            sys.exit(error.exit_code)
        exit_with_error(explain_usage_error(error, command, sys.argv[1:]))
    except OSError as error:
        if (refusal := explain_system_error(error)) is None:
            raise
        exit_with_error(refusal)
    except typer.Abort:
        sys.exit(runs.INTERRUPTED)


def interrupt(signal_number: int, frame: object) -> NoReturn:
    """End at SIGTERM as at Ctrl-C, so that what is half-written is removed."""
    raise KeyboardInterrupt


def exit_with_error(error: TetradError) -> NoReturn:
    """End with the sentence on stderr, and with --json also with a last line on stdout for programs, in English."""
    record_event("error", error.as_record())
    if "--json" in sys.argv[1:]:
        print_json(error.as_record())
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
