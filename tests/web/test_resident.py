"""A resident child answers in order, its errors arrive as errors, and it is started again after a crash."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from tetrad.errors import TetradError
from tetrad.locales import Message
from tetrad.web.resident import Resident


@pytest.fixture(autouse=True)
def warm_children() -> None:
    """Here the children themselves are tested: they are started as they are without tests."""


@pytest.fixture(autouse=True)
def child_finds_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(Path(__file__).parent)]))


def with_child(use: Callable[[Resident], Awaitable[None]]) -> None:
    async def run() -> None:
        child = Resident("resident_echo")
        try:
            await asyncio.wait_for(use(child), 120)
        finally:
            await child.end()

    asyncio.run(run())


async def echo(child: Resident, text: str) -> dict[str, object]:
    return await child.answer({"do": "echo", "text": text})


def test_answers_come_in_order_and_errors_as_errors() -> None:
    async def use(child: Resident) -> None:
        answers = [each async for each in child.ask({"do": "echo", "text": "一"})]
        assert [each["event"] for each in answers] == ["early", "echo"] and answers[1]["text"] == "一"
        both = await asyncio.gather(echo(child, "a"), echo(child, "b"))
        assert [each["text"] for each in both] == ["a", "b"] and both[0]["pid"] == child.pid
        with pytest.raises(TetradError, match="E5001 a: there are 2"):
            await child.answer({"do": "fail"})

    with_child(use)


def test_a_child_that_is_released_answers_who_asks_first() -> None:
    async def use(child: Resident) -> None:
        first = asyncio.create_task(echo(child, "first"))
        await asyncio.sleep(0)
        released = asyncio.create_task(child.release())
        await asyncio.sleep(0)
        second = await echo(child, "second")
        await released
        assert second["pid"] != (await first)["pid"] and child.pid == second["pid"]

    with_child(use)


def test_a_crash_ends_one_request_only() -> None:
    async def use(child: Resident) -> None:
        with pytest.raises(TetradError, match=r"E6201 .*\(9\)"):
            await child.answer({"do": "crash"})
        assert (await echo(child, "again"))["text"] == "again"
        assert child.pid
        os.kill(child.pid, 9)  # between two requests: nobody notices
        assert (await echo(child, "and again"))["text"] == "and again"

    with_child(use)


def test_a_child_that_is_killed_before_it_begins_says_why() -> None:
    async def use(child: Resident) -> None:
        answer = asyncio.create_task(echo(child, "never"))
        while child.pid is None:
            await asyncio.sleep(0.01)
        child.kill(Message("a training begins"))
        with pytest.raises(TetradError, match="a training begins"):
            await answer

    with_child(use)


def test_a_request_that_nobody_waits_for_is_left() -> None:
    async def use(child: Resident) -> None:
        stream = child.ask({"do": "work"})
        async for answer in stream:
            if answer["step"] == 2:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        pid = child.pid
        assert (await asyncio.wait_for(echo(child, "next"), 20))["pid"] == pid

    with_child(use)


def test_a_request_that_takes_too_long_ends_the_child() -> None:
    async def use(child: Resident) -> None:
        pid = (await echo(child, "here"))["pid"]
        with pytest.raises(TetradError, match="E6202"):
            await child.answer({"do": "hang"}, timeout=0.2)
        assert not psutil.pid_exists(int(str(pid))) and (await echo(child, "new"))["pid"] != pid

    with_child(use)


def test_a_child_ends_with_its_server() -> None:
    async def use(child: Resident) -> None:
        stream = child.ask({"do": "work"})
        await anext(stream)
        process = psutil.Process(child.pid)
        assert child._process and child._process.stdin
        child._process.stdin.close()  # as when the server is killed
        await asyncio.to_thread(process.wait, 10)
        with pytest.raises(TetradError, match="E6201"):
            async for _answer in stream:
                pass

    with_child(use)
