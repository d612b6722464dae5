"""The child's side of `resident`: reads requests from standard input, and answers them one after the other."""

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TextIO

from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.images.diagnosis import BadImage
from tetrad.locales import Message, _


class Cancelled(Exception):
    """The request is not wanted any more."""


@dataclass(frozen=True)
class Request:
    """What is asked for; `send` answers in the middle of work, and `check` is to be called between units of it."""

    values: Mapping[str, Any]
    send: Callable[[Mapping[str, Any]], None]
    cancelled: set[int] = field(default_factory=set)

    def check(self) -> None:
        """Raises Cancelled where nobody waits for the answer any more."""
        if self.values["id"] in self.cancelled:
            raise Cancelled


Answers = Iterator[Mapping[str, Any]]
Handler = Callable[[Request], Answers]


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answer requests, each by the handler that its "do" names, until standard input ends, and then end at once."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    waiting: queue.Queue[Mapping[str, Any]] = queue.Queue()
    cancelled: set[int] = set()
    threading.Thread(target=_read_requests, args=(waiting, cancelled), daemon=True).start()
    while True:
        values = waiting.get()
        send = partial(_write, output, values["id"])
        for answer in _work(handlers[values["do"]], Request(values, send, cancelled)):
            send(answer)
        cancelled.discard(values["id"])


def _write(output: TextIO, number: int, answer: Mapping[str, Any]) -> None:
    output.write(json.dumps({**answer, "id": number}) + "\n")
    output.flush()


def _read_requests(waiting: "queue.Queue[Mapping[str, Any]]", cancelled: set[int]) -> None:
    for line in sys.stdin:
        values = parse_json(line)
        if "cancel" in values:
            cancelled.add(values["cancel"])
        else:
            waiting.put(values)
    os._exit(0)  # the server has gone, so nobody waits for what is being worked on


def _work(handler: Handler, request: Request) -> Answers:
    """The handler's answers, and how it ended."""
    yield {"event": "begun"}
    try:
        request.check()
        yield from handler(request)
        yield {"event": "done"}
    except Cancelled:
        yield {"event": "cancelled"}
    except TetradError as error:
        yield error.as_record()
    except BadImage as error:
        yield {"event": "error", "code": error.code, **error.reason.as_record()}
    except MemoryError:
        template = _("there is not enough memory for this")
        yield {"event": "error", "code": "E6001", **Message(template).as_record()}
    except Exception as error:  # a bug: it is said, and the next request is served
        traceback.print_exc()
        yield {"event": "error", "code": "E6201", "text": f"{type(error).__name__}: {error}"}
