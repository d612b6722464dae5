"""A child process for tests of `tetrad.web.resident`."""

import os
import time

from tetrad.errors import TetradError
from tetrad.locales import Message
from tetrad.web.resident_child import Answers, Request, serve


def echo(request: Request) -> Answers:
    print("this is no answer")
    request.send({"event": "early"})
    yield {"event": "echo", "text": request.values["text"], "pid": os.getpid()}


def fail(request: Request) -> Answers:
    yield {"event": "soon"}
    raise TetradError("E5001", Message("{file}: {reason}", file="a", reason=Message("there are {count}", count=2)))


def crash(request: Request) -> Answers:
    yield {"event": "soon"}
    os._exit(9)


def work(request: Request) -> Answers:
    for number in range(10_000):
        request.check()
        time.sleep(0.01)
        yield {"event": "step", "step": number}


def hang(request: Request) -> Answers:
    time.sleep(600)
    yield {}


if __name__ == "__main__":
    serve({"echo": echo, "fail": fail, "crash": crash, "work": work, "hang": hang})
