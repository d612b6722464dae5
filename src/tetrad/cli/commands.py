"""Commands that a person can paste: quoted for the shell, and with the full path where `tetrad` is not on PATH."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def format_command(*arguments: str | Path) -> str:
    """`tetrad` with these arguments, as it can be pasted into this shell."""
    return quote_all([*find_program(), *map(str, arguments)])


def with_program(command: str) -> str:
    """A command that begins with `tetrad`, with the program as this shell finds it."""
    return f"{quote_all(find_program())}{command.removeprefix('tetrad')}"


def quote_all(arguments: Sequence[str]) -> str:
    return subprocess.list2cmdline(arguments) if os.name == "nt" else shlex.join(arguments)


def find_program() -> list[str]:
    """How this program was started: `tetrad` where PATH leads to it, else its full path, or `python -m tetrad`."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py" and started.parent.name == "tetrad":
        return [sys.executable, "-m", "tetrad"]
    if started.stem != "tetrad" or started.parent == Path():  # started from Python, or found on PATH
        return ["tetrad"]
    on_path = shutil.which("tetrad")
    is_on_path = on_path is not None and Path(on_path).resolve() == started.resolve()
    return ["tetrad"] if is_on_path else [str(started.absolute())]
