"""Folders of runs with anything in them: the page shows the run, waits for nothing, and shows no foreign file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from made_runs import add_event, make_run
from starlette.testclient import TestClient

from tetrad.web.live import WatchedRun
from tetrad.web.places import Places

FILES = ("events.jsonl", "metrics.jsonl", "plan.toml", "error.json", "heartbeat")
NUMBERS = ("NaN", "Infinity", "1e400", "-1e300", "null", "[]", "{}", '"x"', "true", "99999999999999999")
EVENTS = ("started", "note", "phase", "saved", "pointsaved", "sampled", "controlled", "scored", "judged", "finished")


def write_endless_lines(run: Path) -> None:
    for name in ("events.jsonl", "metrics.jsonl"):
        with (run / name).open("ab") as file:
            file.write(b'{"event": "note", "step": 1' + b"0" * 600_000 + b"}\n")


def write_other_numbers(run: Path) -> None:
    names = ["time", "step", "steps", "pid", "seconds", "code", "text", "name", "path", "prompt", "template", "values"]
    with (run / "events.jsonl").open("a") as file:
        for event in EVENTS:
            for value in NUMBERS:
                rest = ", ".join(f'"{name}": {value}' for name in names)
                file.write(f'{{"event": "{event}", {rest}}}\n')
                file.write(f'{{"event": "phase", "time": {value}, "name": {{"template": "generating previews"}}}}\n')
    with (run / "metrics.jsonl").open("a") as file:
        for value in NUMBERS:
            file.write(
                f'{{"time": {value}, "step": {value}, "steps": {value}, "loss": {value}, "learning_rate": {value}}}\n'
            )
            file.write(f'{{"time": 1.0, "step": {value}, "loss": 0.1, "learning_rate": 1e-4}}\n')


def write_bytes(run: Path) -> None:
    for name in (*FILES, "recipe.toml"):
        (run / name).write_bytes(bytes(range(256)) * 10)


def make_folders(run: Path) -> None:
    for name in FILES:
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir()
    for name in ("samples", "resume"):
        shutil.rmtree(run / name)
        (run / name).write_text("x")
    (run / "folder.safetensors").mkdir()


def make_links(run: Path) -> None:
    for name in FILES:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to("/etc/passwd")
    (run / "link.safetensors").symlink_to("/etc/passwd")
    (run / "endless.bin").symlink_to("/dev/zero")
    (run / "loop.pt").symlink_to(run / "loop.pt")
    (run / "samples" / "step00000099-00.png").symlink_to("/etc/passwd")


def make_pipes(run: Path) -> None:
    for name in FILES:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)
    os.mkfifo(run / "pipe.safetensors")
    os.mkfifo(run / "samples" / "step00000099-00.png")


def write_other_types(run: Path) -> None:
    (run / "error.json").write_text('{"text": ["x"], "code": {"a": 1}, "template": 5, "values": [1]}')
    (run / "heartbeat").write_text('{"pid": "x", "host": [], "time": "NaN", "process_started": null}')
    (run / "plan.toml").write_text(
        'model = 1\nmethod = "x"\ntrain = {steps = nan}\nsample = {prompts = [1, [2]], every = "x"}\n'
    )


def make_other_names(run: Path) -> None:
    (run / "samples" / "step99999999-99.png").write_bytes(b"x")
    (run / os.fsdecode(b"half\xff\xfe.safetensors")).write_bytes(b"x")
    (run / "\x1b[31m.safetensors").write_bytes(b"x")


@pytest.mark.skipif(os.name == "nt", reason="links and pipes")
@pytest.mark.parametrize(
    "harm",
    [
        *(write_endless_lines, write_other_numbers, write_bytes, make_folders),
        *(make_links, make_pipes, write_other_types, make_other_names),
    ],
)
def test_a_run_with_anything_in_its_folder_is_shown(
    client: TestClient, places: Places, harm: Callable[[Path], None]
) -> None:
    run = make_run(places.runs)
    harm(run)
    whole = ("/", "/api/runs", "/queue", "/runs/zkr", "/api/runs/zkr", "/api/runs/zkr/series", "/api/runs/zkr/log")
    parts = ("/runs/zkr/pick", "/api/runs/zkr/saves", "/api/runs/zkr/previews", "/api/runs/zkr/contents")
    files = ("files/link.safetensors", "files/endless.bin", "files/pipe.safetensors", "previews/99/0")
    for address in (*whole, *parts, *(f"/api/runs/zkr/{name}" for name in files)):
        answer = client.get(address)
        assert answer.status_code == 200 if address in whole else answer.status_code < 500, address
        assert b"root:" not in answer.content and len(answer.content) < 2_000_000, address
    assert client.delete("/api/runs/zkr").status_code == 204 and Path("/etc/passwd").exists()


def test_a_line_without_an_end_hides_no_event_after_it(places: Places) -> None:
    run = make_run(places.runs)
    write_endless_lines(run)
    add_event(run, event="note", text="after it")
    watched = WatchedRun("zkr", run)
    texts = []
    while (news := watched.read_news()) is not None:
        texts += [each["text"] for each in news["events"]]
    assert texts[-1] == "After it."
