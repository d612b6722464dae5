"""What the page says about runs follows from their folders, and from nothing else."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from made_runs import add_event, bring_to_life, make_run
from starlette.testclient import TestClient

from tetrad.run.status import read_status
from tetrad.web.places import Places
from tetrad.web.run_view import describe_run
from tetrad.web.runs import Runs, measure_pace, read_snapshot


def view(path: Path) -> dict[str, Any]:
    return describe_run(read_snapshot(path))


def fail(path: Path, code: str, text: str) -> None:
    (path / "error.json").write_text(json.dumps({"event": "error", "code": code, "text": text, "template": text}))


def test_a_run_whose_process_is_gone_is_interrupted_and_says_what_is_safe(tmp_path: Path) -> None:
    shown = view(make_run(tmp_path, previews=(0, 10, 20, 30)))
    assert (shown["state"], shown["word"], shown["step"], shown["saved"]) == ("interrupted", "interrupted", 30, 20)
    assert shown["note"]["title"] == "Interrupted at step 30" and "repeats 10 steps" in shown["note"]["text"]
    assert shown["note"]["resume"] == "Resume from step 20"
    assert (shown["left"], shown["speed"], shown["commands"]) == ("–", "–", [])
    assert shown["next_preview"] == {"step": 40, "when": "after resuming"}


def test_a_running_run_says_how_long_it_takes(tmp_path: Path) -> None:
    path = make_run(tmp_path, previews=(0, 10, 20, 30))
    bring_to_life(path)
    shown = view(path)
    assert (shown["state"], shown["percent"], shown["note"]) == ("running", 30, None)
    assert shown["speed"] == "1.0 s/step" and shown["left"] == "1 min"  # 70 steps of a second
    assert shown["step_detail"] == "/ 100 · epoch 2 of 5" and shown["next_preview"] == {"step": 40, "when": "in 10 s"}
    assert shown["commands"] == ["save", "sample", "pause", "stop"]
    assert [phase["state"] for phase in shown["phases"]] == ["done", "done", "done", "now", "later"]
    assert [phase["word"] for phase in shown["phases"]][-2:] == ["Training", "Checking the file"]


def test_previews_that_are_still_to_come_count_for_the_time_left(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    now = time.time()
    for moment, record in (
        (now - 40, {"event": "phase", "name": {"text": "generating previews", "template": "generating previews"}}),
        (now - 10, {"event": "sampled", "prompt": "", "step": 30, "path": "x"}),
        (now - 10, {"event": "phase", "name": {"text": "training", "template": "training"}}),
    ):
        add_event(path, **record, **{"time": moment})
    bring_to_life(path)
    assert view(path)["left"] == "5 min"  # 70 s of steps, and seven times 30 s of previews
    plan = path / "plan.toml"
    plan.write_text(plan.read_text().replace("every = 10", "every = 0\nevery_minutes = 0.5"))
    shown = view(path)
    assert shown["left"] == "3 min" and shown["next_preview"] is None  # three times 30 s of previews


def test_after_the_last_step_it_is_said_what_is_still_done(tmp_path: Path) -> None:
    """And not that no time is left."""
    path = make_run(tmp_path, step=100)
    bring_to_life(path)
    assert view(path)["sentence"] == "100 of 100 · saving the file"
    add_event(path, event="phase", name={"text": "generating previews", "template": "generating previews"}, total=3)
    shown = view(path)
    assert shown["sentence"] == "100 of 100 · generating previews" and shown["left"] == "–"


def test_a_paused_run_can_be_continued(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    bring_to_life(path, paused=True)
    shown = view(path)
    assert shown["state"] == "paused" and "continue" in shown["commands"] and "pause" not in shown["commands"]


def test_a_run_that_was_told_to_stop_is_not_called_interrupted(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    add_event(
        path, event="finished", path=str(path / "zkr-step00000030.safetensors"), steps=30, seconds=9, complete=False
    )
    shown = view(path)
    assert shown["state"] == "stopped" and shown["note"]["text"].startswith("zkr-step00000030.safetensors has")
    add_event(path, event="started", folder=str(path), pid=1)  # resumed, and then killed
    assert view(path)["state"] == "interrupted"


def test_a_run_after_its_last_step_says_that_it_checks_the_file(tmp_path: Path) -> None:
    shown = view(make_run(tmp_path, step=100))
    assert shown["phases"][-1] == {"word": "Checking the file", "state": "now"}


def test_a_finished_run_names_its_file(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=100, point=0)
    (path / "zkr.safetensors").write_bytes(b"x" * 2_000_000)
    add_event(path, event="finished", path=str(path / "zkr.safetensors"), steps=100, seconds=724, complete=True)
    shown = view(path)
    assert (shown["state"], shown["word"], shown["note"]["title"]) == ("finished", "done", "zkr.safetensors is ready")
    assert shown["note"]["text"].endswith("It took 12 min.") and not shown["note"]["resume"]
    assert shown["files"] == [{"name": "zkr.safetensors", "size": "2.0 MB"}]
    assert {phase["state"] for phase in shown["phases"]} == {"done"} and shown["next_preview"] is None


@pytest.mark.parametrize(
    "code,title",
    [
        ("E4202", "The result cannot be written"),
        ("E6001", "There is not enough memory"),
        ("E7001", "The training diverged"),
        ("", "The run failed"),
    ],
)
def test_a_failed_run_says_why_and_what_is_safe(tmp_path: Path, code: str, title: str) -> None:
    path = make_run(tmp_path)
    fail(path, code, "something went wrong")
    note = view(path)["note"]
    assert (note["title"], note["text"]) == (title, "Something went wrong. Step 20 is safe.")
    assert (note["tone"], note["code"], note["resume"]) == ("bad", code, "Resume from step 20")


def test_a_run_that_waits_for_space_says_so(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    add_event(path, event="note", text="the disk is full: 95 MB are missing", template="", code="W4204")
    assert view(path)["note"]["title"] != "The disk is full"  # nothing waits there any more
    bring_to_life(path)
    shown = view(path)
    assert shown["note"]["title"] == "The disk is full" and "95 MB" in shown["note"]["text"]
    add_event(path, event="note", text="it is written", template="", code="")
    assert view(path)["note"] is None


def test_the_speed_is_that_of_the_steps_without_the_previews_between_them(tmp_path: Path) -> None:
    path = make_run(tmp_path, step=20)
    lines = (path / "metrics.jsonl").read_text().splitlines()
    late = [json.loads(line) for line in lines]
    for record in late[10:]:
        record["time"] += 300
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in late))
    assert measure_pace(path / "metrics.jsonl").seconds_per_step == pytest.approx(1, abs=0.01)


def test_only_what_has_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run(tmp_path)
    runs, read = Runs(tmp_path), []
    monkeypatch.setattr("tetrad.web.runs.read_status", lambda each, plan: read.append(each) or read_status(each, plan))
    first = runs.read_run("zkr")
    assert runs.read_run("zkr") is first and len(read) == 1
    add_event(path, event="note", text="new", template="", code="W6001")
    assert runs.read_run("zkr").ending.note["text"] == "new" and len(read) == 2


def test_the_list_has_the_runs_that_changed_last_first_and_can_be_searched(client: TestClient, places: Places) -> None:
    for name in ("one", "two", "three"):
        make_run(places.runs, name)
        add_event(places.runs / name, event="note", text="x", template="", code="")
        time.sleep(0.01)
    (places.runs / "no run").mkdir()
    (places.runs / "file.txt").write_text("no folder")
    names = [run["name"] for run in client.get("/api/runs").json()["runs"]]
    assert names == ["three", "two", "one"]
    found = client.get("/api/runs", params={"search": "TW"}).json()
    assert [run["name"] for run in found["runs"]] == ["two"] and found["total"] == 1
    assert len(client.get("/api/runs", params={"rows": 2}).json()["runs"]) == 2


@pytest.mark.parametrize("damage", ["plan.toml", "events.jsonl", "metrics.jsonl", "error.json", "heartbeat"])
def test_a_damaged_file_hides_no_run(client: TestClient, places: Places, damage: str) -> None:
    path = make_run(places.runs)
    (path / damage).write_bytes(b'\xff\x00{"event": [1, {}], "step": "x", "time": null}\n[[[\n{"event": "note"}\n')
    for address in ("/", "/runs/zkr", "/api/runs/zkr", "/api/runs/zkr/log", "/api/runs/zkr/previews"):
        assert client.get(address).status_code == 200, address


def test_a_plan_with_other_types_hides_no_run(client: TestClient, places: Places) -> None:
    path = make_run(places.runs)
    (path / "plan.toml").write_text(
        'model = 3\n[train]\nsteps = "many"\nimages = {}\n[sample]\nprompts = "x"\nevery = []\n'
    )
    assert client.get("/runs/zkr").status_code == 200 and client.get("/").status_code == 200


def test_a_command_is_written_for_a_running_run_only(client: TestClient, places: Places) -> None:
    path = make_run(places.runs)
    refused = client.post("/api/runs/zkr/commands/pause")
    assert refused.status_code == 409 and refused.json()["code"] == "E5165" and not (path / "control").exists()
    bring_to_life(path)
    for command in ("save", "sample", "pause", "continue", "stop"):
        assert client.post(f"/api/runs/zkr/commands/{command}").json()["text"].startswith("It ")
        assert (path / "control" / command).exists()
    assert client.post("/api/runs/zkr/commands/explode").status_code == 422


def test_resuming_queues_the_run_and_a_whole_one_is_refused(client: TestClient, places: Places) -> None:
    path = make_run(places.runs)
    answer = client.post("/api/runs/zkr/resume").json()
    job = client.get(f"/api/jobs/{answer['job']}").json()
    assert (job["title"], job["state"]) == ("zkr", "queued") and answer["address"] == f"/jobs/{answer['job']}"
    assert client.get(answer["address"]).status_code == 200 and "zkr" in client.get("/").text
    assert client.delete(f"/api/jobs/{answer['job']}").status_code == 204
    add_event(path, event="finished", path="x", steps=100, seconds=1, complete=True)
    assert client.post("/api/runs/zkr/resume").json()["code"] == "E5164"
    bring_to_life(path)
    assert client.post("/api/runs/zkr/resume").json()["code"] == "E4203"


def test_a_run_without_a_resume_point_is_trained_again_as_a_new_one(client: TestClient, places: Places) -> None:
    path = make_run(places.runs, point=0)
    note = client.get("/api/runs/zkr").json()["view"]["note"]
    assert (note["resume"], note["restart"]) == ("", "Train again as a new run")
    client.post("/api/runs/zkr/restart")
    job = client.get("/api/jobs").json()[0]
    assert job["title"] == "zkr" and (path / "metrics.jsonl").exists()
    make_run(places.runs, "other")
    assert client.post("/api/runs/other/restart").json()["code"] == "E4203"  # it is resumed instead


def test_deleting_names_what_goes_and_spares_a_running_run(client: TestClient, places: Places) -> None:
    path = make_run(places.runs)
    contents = client.get("/api/runs/zkr/contents").json()
    assert "6 previews" in contents["sentence"] and contents["size"] in contents["sentence"]
    bring_to_life(path)
    assert client.delete("/api/runs/zkr").json()["code"] == "E4203" and path.exists()
    (path / "heartbeat").unlink()
    assert client.delete("/api/runs/zkr").status_code == 204 and not list(places.runs.iterdir())
    assert client.get("/runs/zkr").status_code == 404


def test_a_run_that_was_removed_by_hand_leaves_the_list(client: TestClient, places: Places) -> None:
    path = make_run(places.runs)
    assert client.get("/api/runs").json()["total"] == 1
    shutil.rmtree(path)
    assert client.get("/api/runs").json()["total"] == 0 and client.get("/").status_code == 200


def test_previews_are_listed_by_prompt_and_step(client: TestClient, places: Places) -> None:
    path = make_run(places.runs, previews=(0, 10, 20))
    (path / "samples" / "step00000020-02.png").unlink()
    previews = client.get("/api/runs/zkr/previews").json()
    assert [row["prompt"] for row in previews["rows"]] == ["a zkr, on a white background", "a cat", "a blue zkr"]
    assert previews["steps"] == [0, 10, 20] and previews["partial"] == {"20": [0, 1]} and previews["word"] == "zkr"
    image = client.get("/api/runs/zkr/previews/10/1")
    assert image.headers["content-type"] == "image/png" and image.content[1:4] == b"PNG"
    assert client.get("/api/runs/zkr/previews/20/2").status_code == 404


def test_a_thumbnail_is_made_by_a_child_process(client: TestClient, places: Places) -> None:
    make_run(places.runs)
    thumbnail = client.get("/api/runs/zkr/previews/0/0/thumbnail")
    assert thumbnail.status_code == 200 and thumbnail.content[8:12] == b"WEBP"


def test_a_trained_file_can_be_downloaded_and_no_other(client: TestClient, places: Places) -> None:
    path = make_run(places.runs)
    (path / "zkr.safetensors").write_bytes(b"weights")
    answer = client.get("/api/runs/zkr/files/zkr.safetensors")
    assert answer.content == b"weights" and "attachment" in answer.headers["content-disposition"]
    assert client.get("/api/runs/zkr/files/recipe.toml").status_code == 404
