"""Compare puts methods side by side: started with one press, with measured figures, and images at the same seeds."""

from pathlib import Path
from typing import Any

import pytest
from fake_drawing import FakeDrawing, drawing
from fastapi import FastAPI
from made_runs import add_event, bring_to_life, make_run
from starlette.testclient import TestClient

from tetrad.contest.figures import measure_memory, measure_time
from tetrad.documents import read_stored_values
from tetrad.judging.scores import CheckpointScores, Score, append_scores
from tetrad.methods import METHODS
from tetrad.web.drafts import Draft
from tetrad.web.places import Places
from tetrad.web.preparation import Preparation

__all__ = ["drawing"]
PROMPT = "a zkr, on a white background"


def make_trained(places: Places, name: str, kind: str, word: str = "zkr", seed: int = 7) -> Path:
    """A finished run of a method with one file."""
    path = make_run(places.runs, name, step=100)
    plan = (path / "plan.toml").read_text().replace('kind = "lora"', f'kind = "{kind}"').replace('"zkr"', f'"{word}"')
    (path / "plan.toml").write_text(plan.replace("[train]", f"[train]\nseed = {seed}\nrepeats = 42"))
    (path / f"{name}.safetensors").write_bytes(b"x" * 2_000)
    add_event(path, event="saved", step=100, path=f"{name}.safetensors")
    add_event(path, event="finished", path=f"{name}.safetensors", steps=100, complete=True, peak_memory=3_000_000_000)
    return path


def read_recipes(app: FastAPI) -> list[dict[str, Any]]:
    return [read_stored_values(Path(job.wish.arguments[1])) for job in app.state.queue.list()]


def test_one_press_queues_a_balanced_training_with_each_method(client: TestClient, app: FastAPI) -> None:
    answer = client.post("/api/compare", json={"images": "builtin:style"}).json()
    recipes = read_recipes(app)
    assert [each["method"]["kind"] for each in recipes] == list(METHODS) and answer["left_out"] == []
    assert {each["data"]["images"] for each in recipes} == {"builtin:style"}
    assert {each["save"]["name"] for each in recipes} == {f"zkr-{kind}" for kind in METHODS}
    assert not any(each["train"].get("steps") for each in recipes)  # so many as each method needs for these images
    columns = client.get(answer["address"].replace("/compare", "/api/compare")).json()["columns"]
    assert [each["state"] for each in columns] == ["queued"] * 4 and columns[2]["method"] == "LoRA"
    assert client.get(answer["address"]).status_code == 200
    assert client.post("/api/compare", json={"images": "builtin:none"}).json()["code"] == "E4001"


def test_a_method_that_does_not_fit_is_left_out_and_named(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def compare(self: Preparation, draft: Draft) -> dict[str, Any]:
        costs = {"seconds": 4000.0, "memory_bytes": 30e9, "file_bytes": 5_000, "options": ["train.batch_size=1"]}
        methods = [{"method": kind, "fits": kind != "dreambooth", **costs} for kind in METHODS]
        return {"methods": methods, "free_memory_bytes": 8e9}

    async def make_recipe(self: Preparation, draft: Draft) -> Any:
        return draft.make_recipe(3, self.places.runs)

    monkeypatch.setattr(Preparation, "compare", compare)
    monkeypatch.setattr(Preparation, "make_recipe", make_recipe)
    about = {"images": "/photos", "model": "builtin", "trigger_word": "cat", "settings": {"method.rank": 4}}
    draft = app.state.preparation.drafts.create(**about)
    plan = client.get("/api/compare/plan", params={"draft": draft.id}).json()
    assert (plan["count"], plan["time"], plan["free_memory"]) == (3, "3 h 20 min", "7.5 GiB")
    assert [each["fits"] for each in plan["methods"]] == [True, True, True, False]
    answer = client.post("/api/compare", json={"draft": draft.id}).json()
    assert answer["left_out"] == ["DreamBooth is left out: it needs 28 GiB of memory, and 7.5 GiB is free."]
    recipes = read_recipes(app)
    assert len(recipes) == 3 and all(each["train"]["batch_size"] == 1 for each in recipes)
    assert {each["sample"]["every"] for each in recipes} == {-1}
    assert app.state.preparation.drafts.list() == []  # its images are kept, as those of any training


def test_runs_are_compared_by_what_was_measured(client: TestClient, places: Places) -> None:
    make_trained(places, "one", "lora")
    make_trained(places, "two", "dreambooth")
    found = client.get("/api/compare?runs=one&runs=two&runs=gone").json()
    assert [each["method"] for each in found["columns"]] == ["LoRA", "DreamBooth"] and found["note"] == ""
    figures = {each["label"]: each["value"] for each in found["columns"][0]["figures"]}
    assert figures["File size"] == "2.0 kB" and figures["Memory, at most"] == "2.8 GiB" and figures["Steps"] == "100"
    assert figures["Views per image"] == "10" and figures["Speed"] == "1.0 s/step"
    assert found["answer"] == {} and "Likeness" not in figures  # nothing was judged
    assert found["seeds"] == [7, 8, 9] and PROMPT in [each["text"] for each in found["prompts"]]
    assert "Train with all four" in client.get("/compare?runs=one").text  # one run alone is not compared


def test_runs_that_were_judged_show_their_scores_and_the_answer(client: TestClient, places: Places) -> None:
    for name, kind, likeness in (("one", "lora", 0.9), ("two", "dreambooth", 0.3)):
        run = make_trained(places, name, kind)
        append_scores(run, CheckpointScores(100, f"{name}.safetensors", 1.0, {"likeness": Score(likeness, 0.05)}))
    found = client.get("/api/compare?runs=one&runs=two").json()
    assert [each["figures"][-1] for each in found["columns"]] == [
        {"label": "Likeness", "value": "90 % ± 5"},
        {"label": "Likeness", "value": "30 % ± 5"},
    ]
    assert found["answer"]["method"] == "lora" and "clearly the highest" in found["answer"]["sentence"]
    make_trained(places, "three", "hypernetwork")
    assert client.get("/api/compare?runs=one&runs=two&runs=three").json()["answer"] == {}


def test_all_columns_have_the_seed_and_the_sampler_of_the_first(
    client: TestClient, places: Places, drawing: FakeDrawing
) -> None:
    make_trained(places, "one", "lora", seed=7)
    make_trained(places, "two", "lora", word="fox", seed=9)
    wish = {"file": "two.safetensors", "prompt": PROMPT, "like": "one", "seed": 8}
    assert client.post("/api/runs/two/cells", json=wish).json()["is_ready"]
    assert drawing.requests[0]["seed"] == 8
    assert drawing.requests[0]["prompt"] == "a fox, on a white background <lora:two:1>"


def test_what_is_not_there_yet_is_said(client: TestClient, places: Places) -> None:
    make_trained(places, "done", "lora")
    failed, alive = make_run(places.runs, "failed", point=0), make_run(places.runs, "alive")
    (failed / "error.json").write_text('{"code": "E6001", "text": "no memory"}')
    bring_to_life(alive)
    columns = {
        each["name"]: each for each in client.get("/api/compare?runs=done&runs=failed&runs=alive").json()["columns"]
    }
    assert columns["failed"]["state"] == "failed" and columns["failed"]["sentence"] == "No memory."
    assert columns["alive"]["is_alive"] and columns["alive"]["file"] == ""
    assert {each["value"] for each in columns["failed"]["figures"]} >= {"–", "30 of 100"}
    page = client.get("/compare").text
    assert all(f'value="{name}"' in page for name in columns) and "Train with all four" in page


def test_other_images_and_other_models_are_not_compared_in_silence(client: TestClient, places: Places) -> None:
    make_trained(places, "one", "lora")
    other = make_trained(places, "two", "lora")
    plan = (other / "plan.toml").read_text()
    (other / "plan.toml").write_text(plan.replace("[data]", '[data]\nimages = "others"'))
    assert "different images" in client.get("/api/compare?runs=one&runs=two").json()["note"]
    (other / "plan.toml").write_text(plan.replace("sd15", "sd21"))
    assert "different base models" in client.get("/api/compare?runs=one&runs=two").json()["note"]


def test_the_time_of_all_processes_counts_but_not_that_between_them(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(
        '{"time": 100, "event": "started"}\n{"time": 110, "event": "pointsaved"}\n'
        '{"time": 900, "event": "started"}\n{"time": 905, "event": "finished", "peak_memory": 5}\n'
    )
    assert measure_time(tmp_path) == 15 and measure_memory(tmp_path) == 5
    (tmp_path / "older").mkdir()
    (tmp_path / "older/events.jsonl").write_text('{"time": 100, "event": "phase"}\n{"time": 104, "event": "note"}\n')
    assert measure_time(tmp_path / "older") == 4  # its start was not written
    assert measure_time(tmp_path / "none") == 0 and measure_memory(tmp_path / "none") == 0
