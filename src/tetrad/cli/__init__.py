"""The command line, `tetrad`: one module for each command, and what the commands share.

Commands: `demo`, `train`, `vae_decoder` (`tetrad train vae-decoder`), `import_settings` (`tetrad import`),
`export_settings` (`tetrad export`), `resume`, `run_folders` (`tetrad runs`), `scan`, `captions`, `generate`, `grid`,
`recommend` (and `tetrad probe`), `plan`, `inspect`, `verify`, `diff`, `install` (and `tetrad uninstall`), `vae`,
`merge` (its commands: `merge_checkpoint`, `merge_embedding`, `merge_hypernetwork`, `merge_lora`), `convert`, `extract`,
`resize`, `encode`, `doctor`, `judge`, `report`, `compare`, `sweep`, `track`, `web`. `program` knows the module of each
command and imports only the one that is run. Shared: `options` has the options of several commands, `lora_options` the
options and the report of those that make a LoRA, `flags` makes options from the settings, `recipe_command` finds the
command that a recipe is for, `source` reads the configuration of `tetrad train --from`, `runs` follows a training run,
`terminal` prints its events, notes and warnings, `training_speed` its loss and speed, `pipeline_notes` those about
generated images, `next_steps` says what to do with a trained file, `commands` formats commands to paste, `column_table`
prints a table with a column for each method, `output` checks and chooses the path of an image, `weighted_files` parses
files with a number, `downloads` shows what arrives from object storage, `streams` ends a command whose output cannot be
written, `help` translates the help texts and groups the commands, `click_strings` has the words and errors of typer,
`empty_values` refuses empty names of files. Torch is imported only inside the commands that need it.
"""

import io
import os
import signal
import sys
from typing import NoReturn

import typer
import typer.main

from tetrad.cli.click_strings import USAGE, explain_usage_error
from tetrad.cli.downloads import DownloadDisplay
from tetrad.cli.empty_values import refuse_empty_values
from tetrad.cli.help import translate_help
from tetrad.cli.program import build_program, choose_commands
from tetrad.cli.streams import ends_where_output_is_lost
from tetrad.cli.terminal import print_json
from tetrad.errors import INTERRUPTED, TetradError
from tetrad.event_file import record_event
from tetrad.locales import translate
from tetrad.paths import explain_system_error
from tetrad.storage.progress import show_download

__all__ = ["main"]

# Set before any import of the libraries that read them: no downloads, no messages on the terminal.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Threads that wait by spinning make small networks many times slower as soon as another program needs a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@ends_where_output_is_lost
def main() -> None:
    """Run a command; a TetradError ends in one sentence and its exit code, not in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter that the terminal does not have stops no command
    command = typer.main.get_command(build_program(choose_commands(sys.argv[1:])))
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
        sys.exit(INTERRUPTED)


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
