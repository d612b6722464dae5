"""Children of the page that need not import PyTorch: forks of a server that has imported it once for all tests.

The page starts its children as `PYTHON -P -m MODULE ARGUMENTS…`. `find_warm_python` gives a program for Python's place:
it hands its streams to the server, which forks, and ends as the fork does. If it is killed, so is the fork.
"""

import atexit
import functools
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn

from tetrad.cli.program import COMMANDS

STARTERS = ("tetrad.web.resident", "tetrad.web.jobs.supervisor")  # the modules that start children
PRELOADED = (
    *("tetrad.web.planning_child", "tetrad.web.images_child", "tetrad.web.inspection_child", "tetrad.web.jobs.child"),
    *("tetrad.web.drawing.worker", "tetrad.web.configuration_child", "tetrad.run.resume.resume"),
    *(f"tetrad.cli.{place.module}" for place in COMMANDS.values()),
    "tetrad.models.networks",
)
_LENGTH = 4  # bytes of a number
_CLIENT = f"""#!{sys.executable} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({{address!r}})
    wish = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(wish).to_bytes({_LENGTH}, "big")], [0, 1, 2])
    os.closerange(0, 3)
    server.sendall(wish)
    code = int.from_bytes(server.recv({_LENGTH}) or b"\\1", "big", signed=True)
if code < 0:
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@functools.cache
def find_warm_python() -> str:
    """The program; its server runs until this process ends.  Python itself where it cannot be forked like this."""
    if not hasattr(os, "pidfd_open"):
        return sys.executable
    folder = tempfile.TemporaryDirectory()
    address, program = Path(folder.name) / "socket", Path(folder.name) / "python"
    program.write_text(_CLIENT.format(address=str(address)))
    program.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen(64)
    arguments = [sys.executable, __file__, str(listener.fileno())]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "pass_fds": [listener.fileno()]}
    server = subprocess.Popen(arguments, **pipes)
    listener.close()
    assert server.stdout
    server.stdout.read(1)  # so that no test's patience is used up while the modules are imported

    def end() -> None:
        server.kill()
        server.wait()
        folder.cleanup()

    atexit.register(end)
    return str(program)


def serve(listener: socket.socket) -> None:
    """Say that the modules are imported, and fork for everybody who asks until standard input ends."""
    for module in PRELOADED:
        importlib.import_module(module)
    os.write(1, b".")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    while 0 not in (ready := select.select([0, listener], [], [])[0]):
        assert ready
        connection = listener.accept()[0]
        if os.fork() == 0:
            look_after(connection)
        connection.close()


def look_after(connection: socket.socket) -> NoReturn:
    """Fork once more for a child, wait for its end, and say how it ended; end it if who asked for it is gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _flags, _address = socket.recv_fds(connection, _LENGTH, 3)
    with connection.makefile("rb") as file:
        arguments, folder, environment = json.loads(file.read(int.from_bytes(length, "big")))
    child = os.fork()
    if child == 0:
        connection.close()
        become(arguments, folder, environment, streams)
    for stream in streams:
        os.close(stream)
    if connection in select.select([connection, os.pidfd_open(child)], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        connection.send(code.to_bytes(_LENGTH, "big", signed=True))
    finally:
        os._exit(0)


def become(arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> NoReturn:
    """Run a module in this process as `python -P -m MODULE …` would."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    module = arguments[2]
    assert arguments[:2] == ["-P", "-m"]
    sys.argv = [module, *arguments[3:]]
    sys.modules.pop(module, None)
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given)
