"""A child process that stays: it is asked in lines of JSON, answers in lines of JSON, and is started again if it dies.

The server's own process imports no torch and decodes no image; children do that. A child ends with the server, because
its standard input ends then.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.locales import Message, _, message_from_record

_LINE_BYTES = 1 << 24  # of one answer
_LAST_EVENTS = ("done", "error", "cancelled")
_BEGIN_SECONDS = 120.0  # for a child to load its libraries, or to leave a request that nobody waits for any more
_END_SECONDS = 5.0  # a child has to end by itself when it is told to


class Resident:
    """A module that is run as a child process, `python -m MODULE ARGUMENTS…`, from the first request on.

    It serves one request at a time; others wait for their turn.
    """

    def __init__(self, module: str, arguments: Sequence[str] = (), log: Path | None = None) -> None:
        """`log` takes what the child prints on stderr."""
        self.module, self.arguments, self.log = module, arguments, log
        self.last_used = time.monotonic()
        self._process: asyncio.subprocess.Process | None = None
        self._numbers = itertools.count(1)
        self._turn = asyncio.Lock()
        self._last_words: Message | None = None  # why the child was ended on purpose

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def is_idle(self) -> bool:
        return not self._turn.locked()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self.is_alive else None

    async def ask(self, request: Mapping[str, Any], timeout: float | None = None) -> AsyncIterator[dict[str, Any]]:
        """The child's answers, in order; where the caller goes away before the last one, the child stops working on it.

        `timeout` in seconds is for each answer. TetradError as the child raised it; E6201 where the child died, E6202
        where it needed too long and was ended.
        """
        async with self._turn:
            number, is_answered = next(self._numbers), False
            try:
                process = await self._send_to_living({**request, "id": number})
                while not is_answered:
                    answer = await self._receive(process, timeout)
                    answer.pop("id")
                    is_answered = answer["event"] in _LAST_EVENTS
                    if answer["event"] == "error":
                        raise error_from_record(answer)
                    if answer["event"] != "done":
                        yield answer
            finally:
                self.last_used = time.monotonic()
                if not is_answered and self._process and self.is_alive:
                    await self._send(self._process, {"cancel": number})

    async def answer(self, request: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """The only answer to a request that has one."""
        answers = [answer async for answer in self.ask(request, timeout)]
        return answers[-1]

    def kill(self, reason: Message | None = None) -> None:
        """End the child at once; a request that it works on fails with `reason`.  To be called in the loop's thread."""
        if self._process and self.is_alive:
            self._last_words = reason
            with suppress(ProcessLookupError):
                self._process.kill()

    async def wait(self) -> None:
        """Wait until a child that was killed is gone, and its memory is free."""
        if self._process:
            await self._process.wait()

    async def release(self) -> None:
        """End the child once it has answered who asks now, so that its memory is free."""
        async with self._turn:
            await self.end()

    async def end(self) -> None:
        """Let the child finish nothing more, and wait until it is gone."""
        process, self._process = self._process, None  # who asks from here on gets a new one
        if process is None:
            return
        with suppress(OSError):
            assert process.stdin
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        if self._process and self.is_alive:
            return self._process
        self._last_words = None
        log = self.log.open("ab") if self.log else asyncio.subprocess.DEVNULL
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", self.module, *self.arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LINE_BYTES,
            )
        finally:
            if not isinstance(log, int):
                log.close()
        return self._process

    async def _send_to_living(self, request: Mapping[str, Any]) -> asyncio.subprocess.Process:
        """Send a request; where the child has died since the last one, or hangs, a new one is started."""
        begun = {"event": "begun", "id": request["id"]}
        for _attempt in range(2):
            process = await self._start()
            await self._send(process, request)
            with suppress(TimeoutError):
                async with asyncio.timeout(_BEGIN_SECONDS):
                    while line := await self._read_line(process):
                        if parse_json(line) == begun:  # others are of a request whose caller has gone
                            return process
            if self._last_words:  # it was killed before it could begin
                break
            self.kill()
            await process.wait()
        raise self._explain_end(process)

    async def _read_line(self, process: asyncio.subprocess.Process) -> str:
        """A whole line of the child's; "" where it has ended."""
        assert process.stdout
        line = await process.stdout.readline()
        return line.decode() if line.endswith(b"\n") else ""

    async def _send(self, process: asyncio.subprocess.Process, request: Mapping[str, Any]) -> None:
        assert process.stdin
        process.stdin.write(json.dumps(request).encode() + b"\n")
        with suppress(ConnectionError):  # it has died, which the next answer shows
            await process.stdin.drain()

    async def _receive(self, process: asyncio.subprocess.Process, timeout: float | None) -> dict[str, Any]:
        try:
            line = await asyncio.wait_for(self._read_line(process), timeout)
        except TimeoutError:
            self.kill()
            await process.wait()
            template = _("this needed more than {seconds} seconds and was ended; try it again with less")
            raise TetradError("E6202", template, seconds=round(timeout or 0)) from None
        if not line:
            await process.wait()
            raise self._explain_end(process)
        answer: dict[str, Any] = parse_json(line)
        return answer

    def _explain_end(self, process: asyncio.subprocess.Process) -> TetradError:
        if self._last_words:
            return TetradError("E6203", self._last_words)
        template = _("the process that worked on this ended unexpectedly ({code}), perhaps because memory ran out")
        return TetradError("E6201", template, code=process.returncode)


def error_from_record(record: Mapping[str, Any]) -> TetradError:
    """The error that another process recorded."""
    return TetradError(str(record.get("code", "")) or "E6201", message_from_record(record))
