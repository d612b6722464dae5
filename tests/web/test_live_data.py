"""The stream of live data goes on where a tab was: nothing is lost, and nothing comes twice."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from made_runs import add_event, add_step, make_run
from starlette.testclient import TestClient

from tetrad.given_paths import explain_builtin_model
from tetrad.locales import Message
from tetrad.run.words import SCAN_HINT
from tetrad.web import live
from tetrad.web.places import Places


class Browser:
    """A request that is connected until it has been asked a number of times."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    async def is_disconnected(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def read_stream(run: live.WatchedRun, looks: int = 1, **other: Any) -> list[dict[str, Any]]:
    """The `log` events of a stream, with their ids."""

    async def collect() -> list[str]:
        stream = live.stream(Browser(looks), [run], other, lambda: False)  # type: ignore[arg-type]
        return [chunk async for chunk in stream]

    return [parse(chunk) for chunk in asyncio.run(collect()) if "event: log" in chunk]


def parse(chunk: str) -> dict[str, Any]:
    fields = dict(line.split(": ", 1) for line in chunk.strip().splitlines())
    return {"id": fields["id"], **json.loads(fields["data"])}


def note(path: Path, number: int) -> None:
    add_event(path, event="note", text=f"note {number}", template="no such template", code="")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0.0)


def test_a_stream_that_is_resumed_anywhere_sends_each_event_once(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=0)
    for number in range(20):
        note(path, number)
        add_step(path, number + 1, 100, 0.5, time.time())
    at, events, steps = "", [], []
    for number in range(20, 26):
        run = live.WatchedRun("zkr", path)
        run.go_to(at)
        for news in read_stream(run):
            at = news["id"]
            events += [event["text"] for event in news["events"] if event["event"] == "note"]
            steps += [step[0] for step in news["steps"]]
        note(path, number)
        add_step(path, number + 1, 100, 0.5, time.time())
    assert events == [f"Note {number}." for number in range(25)]
    assert steps == list(range(1, 26))


def test_a_line_that_is_being_written_waits_until_it_is_whole(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=0)
    run = live.WatchedRun("zkr", path)
    read_stream(run)
    record = json.dumps({"time": 1.0, "event": "note", "text": "a whole line", "code": ""})
    with (path / "events.jsonl").open("a") as file:
        file.write(record[:20])
    assert not read_stream(run)
    with (path / "events.jsonl").open("a") as file:
        file.write(record[20:] + "\n")
    assert [event["text"] for event in read_stream(run)[0]["events"]] == ["A whole line."]


def test_metrics_that_a_resumed_run_has_written_anew_are_announced(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=30)
    run = live.WatchedRun("zkr", path)
    at = read_stream(run)[-1]["id"]
    shorter = (path / "metrics.jsonl").read_text().splitlines(keepends=True)[:20]
    (path / "new").write_text("".join(shorter))
    (path / "new").replace(path / "metrics.jsonl")
    run = live.WatchedRun("zkr", path)
    run.go_to(at)
    news = read_stream(run)[0]
    assert news["anew"] and [step[0] for step in news["steps"]] == list(range(1, 21))


def test_several_runs_share_a_stream(tmp_path: Path) -> None:
    runs = [live.WatchedRun(name, make_run(tmp_path, name, step=3)) for name in ("a", "b")]
    for run in runs:
        while run.read_news():
            pass
    again = [live.WatchedRun(name, tmp_path / name) for name in ("a", "b")]
    live.parse_marks("_".join(run.mark for run in runs), again)
    assert [run.mark for run in again] == [run.mark for run in runs]
    assert not any(run.read_news() for run in again)


@pytest.mark.parametrize("mark", ["", "x", "1.2", "-1.0.0.0", "1.2.3.4.5", "9" * 400, "٣.٣.٣.٣", "99999999.0.0.0"])
def test_a_mark_that_makes_no_sense_is_the_beginning(tmp_path: Path, mark: str) -> None:
    run = live.WatchedRun("zkr", make_run(tmp_path, step=2))
    run.go_to(mark)
    run.events.identity = run.metrics.identity = 1  # as of another server's disk
    news = run.read_news()
    assert news and [step[0] for step in news["steps"]] == [1, 2]


def test_a_look_is_sent_only_when_its_value_changes(tmp_path: Path) -> None:
    values = iter([1, 1, 2, 2])

    async def collect() -> list[str]:
        stream = live.stream(Browser(4), [], {"device": (0.0, lambda: next(values))}, lambda: False)  # type: ignore[arg-type]
        return [chunk async for chunk in stream if "event: device" in chunk]

    assert [chunk.split("data: ")[1].strip() for chunk in asyncio.run(collect())] == ["1", "2"]


def test_the_stream_ends_when_the_server_is_told_to_stop(app: FastAPI, client: TestClient, places: Places) -> None:
    make_run(places.runs)
    app.state.is_stopping = lambda: True
    response = client.get("/api/live", params={"run": "zkr"})
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")


def test_a_tab_gets_the_logs_and_the_view_of_its_run(app: FastAPI, client: TestClient, places: Places) -> None:
    path = make_run(places.runs)
    answers = iter([False, False, True])
    app.state.is_stopping = lambda: next(answers, True)
    mark = client.get("/api/runs/zkr").json()["mark"]
    note(path, 1)
    text = client.get("/api/live", params={"run": "zkr", "at": mark}).text
    assert text.count("event: log") == 1 and '"Note 1."' in text
    assert '"state": "interrupted"' in text and "event: device" in text
    answers = iter([False])
    gone = client.get("/api/live", params={"run": ["nothing", "../zkr"]}).text  # perhaps it was deleted meanwhile
    assert gone.count("event: view\ndata: null") == 2 and "event: log" not in gone


def test_a_skipped_file_is_as_grave_as_a_doubt_and_no_note_speaks_of_the_terminal() -> None:
    def show(code: str, message: Message) -> dict[str, Any] | None:
        return live.present_event({"event": "note", "code": code, **message.as_record()})

    skipped = show("E4103", Message("a.txt: it is not an image"))
    assert skipped and (skipped["word"], skipped["tone"]) == ("skipped", "warn")
    builtin = explain_builtin_model("builtin", "photos")
    assert builtin and "--model" in str(builtin)
    shown = show("W5202", builtin)
    assert shown and "--model" not in shown["text"] and "base model" in shown["text"]
    assert shown["text"].startswith("The built-in model") and shown["text"].endswith("downloaded.")
    named = show("", Message("{model} is Stable Diffusion 1", model="builtin"))
    assert named and named["text"] == "builtin is Stable Diffusion 1."
    assert show("", Message(SCAN_HINT, images="photos")) is None
