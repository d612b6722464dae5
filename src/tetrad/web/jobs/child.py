"""The process of a job: `python -m tetrad.web.jobs.child FOLDER COMMAND ARGUMENTS…` runs a command of tetrad.

It has its own session, so that it outlives the server, and writes into the job's folder that it runs, what the command
says, and how it ended.
"""

import os
import runpy
import signal
import sys
import traceback
from pathlib import Path

from tetrad import event_file
from tetrad.web.jobs.process import EVENTS, STOPPED, enter_process, record_exit


def main() -> None:
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    if not enter_process(folder):
        return
    os.environ[event_file.VARIABLE] = str(folder / EVENTS)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(STOPPED))  # until the command has a handler of its own
    code = run_command(arguments)
    record_exit(folder, code)
    sys.exit(code)


def run_command(arguments: list[str]) -> int:
    """Run `tetrad` with these arguments in this process; returns its exit code."""
    sys.argv = ["tetrad", *arguments]
    try:
        runpy.run_module("tetrad", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    main()
