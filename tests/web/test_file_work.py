"""Work on files: the commands that the page starts, how large their results are, and what it says before and after."""

import json
import os
import shlex
import signal
from pathlib import Path
from typing import Any, cast

import pytest
import typer.main
from fake_drawing import FakeDrawing, drawing  # noqa: F401 - a fixture
from fastapi import FastAPI, Request
from starlette.testclient import TestClient
from test_library_page import XSS, list_by_name, write_lora, write_safetensors
from web_jobs import is_over, serving, wait_until

from tetrad.builtin import MODEL_PATH
from tetrad.cli.program import build_program
from tetrad.conversion.convert import _CONVERTERS
from tetrad.errors import TetradError
from tetrad.event_file import read_events
from tetrad.web.file_images import describe_columns, list_columns, make_cell
from tetrad.web.file_tasks import TASKS
from tetrad.web.file_work import Resolved, Work
from tetrad.web.jobs import Queue
from tetrad.web.jobs.process import EVENTS, LOG, enter_process, record_exit
from tetrad.web.places import Places
from tetrad.web.routes.job_page import describe_job

PATHS = {id: f"/models/{id}.safetensors" for id in ("first", "second", "base-model", "embedding")}
FILES = [{"id": "first", "weight": 0.7}, {"id": "second", "weight": -0.3}]
# A value for each option that is not that of the command.
VALUES: dict[str, Any] = {
    "precision": "fp32",
    "method": "dare",
    "base": "base-model",
    "blocks": "GRAD_V",
    "text_encoder": "B",
    "vae": "merge",
    "density": 0.25,
    "seed": 7,
    "into": "base-model",
    "model": "base-model",
    "rank": 4,
    "conv_rank": 2,
    "energy": 0.8,
    "max_size": 12.5,
    "convolutions": False,
    "average": True,
    "ema": "drop",
    "prediction_type": "v",
    "strength": 0.6,
    "bundle": "embedding",
    "split": True,
}


def list_arguments(task: str, **values: Any) -> list[str]:
    files = FILES if task.startswith("merge") else FILES[:1]
    work = TASKS[task].choose_format(Work(task=task, files=files, **values))
    resolved = Resolved(work, PATHS, Path("/out"))
    return TASKS[task].list_arguments(resolved, Path("/out/new"))


def parse(arguments: list[str]) -> dict[str, Any]:
    """The parameters as the command line takes them; it raises for what it does not know."""
    command: Any = typer.main.get_command(build_program())
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    found: dict[str, Any] = command.make_context("tetrad", arguments).params
    return found


@pytest.mark.parametrize("task", TASKS)
def test_the_command_line_knows_every_command_of_the_page(task: str) -> None:
    for name, value in VALUES.items():
        assert parse(list_arguments(task, **{name: value}))["out"] == Path("/out/new"), name
    assert parse(list_arguments("merge-lora"))["loras"] == [f"{PATHS['first']}:0.7", f"{PATHS['second']}:-0.3"]
    assert parse(list_arguments("merge-checkpoint"))["models"] == [PATHS["first"], f"{PATHS['second']}:-0.3"]


@pytest.mark.parametrize(
    "name", [each for each in Work.model_fields if each not in ("task", "files", "name", "folder")]
)
def test_every_choice_reaches_a_command(name: str) -> None:
    with_method = {"method": "dare"} if name in ("density", "seed", "base") else {}
    if name == "to":
        assert "diffusers" in list_arguments("convert-lora", to="diffusers")
        return
    changed = [
        task
        for task in TASKS
        if list_arguments(task, **with_method) != list_arguments(task, **{**with_method, name: VALUES[name]})
    ]
    assert changed, name


def test_the_page_offers_the_formats_that_there_are() -> None:
    for kind, converter in _CONVERTERS.items():
        assert dict(TASKS[f"convert-{kind}"].formats) == dict(converter.targets)
    with pytest.raises(TetradError, match="choose one of safetensors, pt, png"):
        list_arguments("convert-embedding", to="gif")


def test_a_size_follows_from_ranks_and_precisions() -> None:
    lora = {"bytes": 1, "elements": 10_000_000, "dtype": "fp16", "ema": 0, "rank": 16.0, "extracted": 0}
    model = {"bytes": 1, "elements": 10**9, "dtype": "fp16", "ema": 10**8, "rank": 0.0, "extracted": 10**6}

    def estimate(task: str, outlines: list[Any], **values: Any) -> float:
        size = TASKS[task].estimate(Work(task=task, files=FILES, **values), outlines)
        return -1 if size is None else round(size / 1e6)

    assert estimate("merge-lora", [lora, lora]) == 40
    assert estimate("merge-lora", [lora, lora], rank=8) == 10
    assert estimate("merge-lora", [lora, lora], max_size=3) == 3
    assert estimate("merge-lora", [lora, lora, model], into="base-model", precision="fp32") == 4000
    assert estimate("merge-checkpoint", [model, model]) == 2000
    assert [estimate("convert-checkpoint", [model], ema=each) for each in ("keep", "drop")] == [2200, 2000]
    assert estimate("extract", [model], rank=8) == 16 and estimate("extract", [model], energy=0.9) == -1


def test_the_result_is_shown_beside_its_parents() -> None:
    def list_titles(task: str, **values: Any) -> list[tuple[str, float]]:
        work = Work(task=task, files=FILES, **values)
        order = {"work": work.model_dump(), "paths": PATHS, "target": "/out/new.safetensors"}
        return [(each.title, each.strength) for each in list_columns(order)]

    assert list_titles("merge-lora") == [("Base model alone", 1), ("first", 0.7), ("second", -0.3), ("new", 1)]
    assert list_titles("merge-lora", into="base-model")[0] == ("base-model", 1)
    assert list_titles("merge-checkpoint") == [("first", 1), ("second", 1), ("new", 1)]
    assert list_titles("convert-other") == []
    assert list_titles("extract", base="base-model")[0] == ("base-model", 1)
    alone = {
        "work": Work(task="extract", files=FILES[:1]).model_dump(),
        "paths": PATHS,
        "target": "/out/new.safetensors",
    }
    assert [each.title for each in list_columns(alone)] == ["Base model alone", "first", "new"]
    work = Work(task="extract", files=FILES)
    order = {"work": work.model_dump(), "paths": PATHS, "target": "/out/new.safetensors"}
    assert list_columns(order)[-1].model == PATHS["first"] and not any(each.needs_model for each in list_columns(order))


def test_columns_of_files_with_one_name_are_told_apart() -> None:
    work = Work(task="convert-hypernetwork", files=FILES[:1]).model_dump()
    columns = list_columns({"work": work, "paths": {"first": "/in/hyo.pt"}, "target": "/out/hyo.safetensors"})
    shown = describe_columns(columns, "/out/hyo.safetensors")
    assert [each["title"] for each in shown] == ["Base model alone", "hyo.pt", "hyo.safetensors"]


def test_an_embedding_takes_the_place_of_the_first_one_in_the_prompt(tmp_path: Path) -> None:
    paths = {"first": str(tmp_path / "zkr.pt"), "second": str(tmp_path / "qwv.pt")}
    for path in (*paths.values(), str(tmp_path / "both.pt")):
        Path(path).touch()
    work = Work(task="merge-embedding", files=FILES).model_dump()
    columns = list_columns({"work": work, "paths": paths, "target": str(tmp_path / "both.pt")})
    prompts = [make_cell(each, columns, "builtin", "a zkr", {}, tmp_path).request["prompt"] for each in columns]
    assert prompts == ["a zkr", "a zkr", "a qwv", "a both"]
    assert make_cell(columns[3], columns, "builtin", "a cat", {}, tmp_path).request["prompt"] == "a cat, both"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    web_ui = tmp_path / "webui"
    for name in ("fox", "owl", XSS):
        write_lora(web_ui / f"models/Lora/{name}.safetensors", name)
    key = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    tensors = {f"{key}.lora_down.weight": (4, 2048), f"{key}.lora_up.weight": (640, 4), f"{key}.alpha": ()}
    metadata = {"ss_base_model_version": "sdxl_base_v1-0"}
    write_safetensors(web_ui / "models/Lora/large.safetensors", tensors, metadata)
    (web_ui / "models/Stable-diffusion").mkdir()
    return Places.of(tmp_path / "runs", web_ui, tmp_path / "data", tmp_path / "state")


def test_work_is_previewed_queued_and_shown(
    client: TestClient,
    app: FastAPI,
    places: Places,
    drawing: FakeDrawing,  # noqa: F811
) -> None:
    ids = {name.removesuffix(".safetensors"): row["id"] for name, row in list_by_name(client).items()}
    wish = {"task": "merge-lora", "files": [{"id": ids["fox"], "weight": 0.8}, {"id": ids["owl"]}]}
    found = client.post("/api/files/preview", json=wish)
    assert found.status_code == 200, found.text
    assert found.json()["target"] == str(places.runs / "files" / "fox-owl-merged.safetensors")
    assert shlex.split(found.json()["command"])[:3] == ["tetrad", "merge", "lora"] and found.json()["size"]
    assert [each["path"] for each in found.json()["folders"]][1] == str(places.models / "models/Lora")
    assert not (places.runs / "files").exists()

    mixed = client.post("/api/files/preview", json={**wish, "files": [{"id": ids["fox"]}, {"id": ids["large"]}]})
    assert mixed.json()["code"] == "E5301" and "Stable Diffusion XL" in mixed.json()["text"]
    for name, code in (("../x", "E4322"), ("fox", "E5210")):
        folder = found.json()["folders"][1]["id"]
        assert client.post("/api/files/preview", json={**wish, "name": name, "folder": folder}).json()["code"] == code
    assert client.post("/api/files/preview", json={**wish, "base": "0123456789abcdef"}).status_code == 404
    assert client.post("/api/files/preview", json={**wish, "files": [{"id": "x", "weight": 1e9}]}).status_code == 422

    started = client.post("/api/files/jobs", json={**wish, "name": "both"}).json()
    number = started["job"]
    assert client.get(f"/jobs/{number}", follow_redirects=False).headers["location"] == started["address"]
    assert client.get(started["address"]).status_code == 200 and "both.safetensors" in client.get("/queue").text
    (job,) = app.state.queue.list()
    assert (job.wish.kind, job.wish.device) == ("merge", "cpu") and job.wish.arguments[-1].endswith("both.safetensors")
    assert client.get(f"/api/files/jobs/{number}/verification").status_code == 404
    assert client.delete(f"/api/files/jobs/{number}").status_code == 404

    write_lora(places.runs / "files" / "both.safetensors", "")
    end_job(app, number, [{"event": "result", "path": str(places.runs / "files" / "both.safetensors")}])
    shown = client.get(f"/api/files/jobs/{number}").json()
    assert [each["name"] for each in shown["files"]] == ["both.safetensors"] and shown["state"] == "finished"
    assert [each["title"] for each in shown["columns"]] == ["Base model alone", "fox", "owl", "both"]
    assert shown["prompt"] == "fox, owl"
    cell = {"prompt": "a fox", "seed": 3, "column": 3}
    made = client.post(f"/api/files/jobs/{number}/cells", json=cell).json()
    assert made["is_ready"] and drawing.requests[0]["prompt"] == "a fox <lora:both:1>"
    assert drawing.requests[0]["lora_dir"] == str(places.runs / "files")
    assert client.get(f"/api/files/jobs/{number}/cells/{made['id']}").content.startswith(b"\x89PNG")
    assert client.post(f"/api/files/jobs/{number}/cells", json={**cell, "column": 9}).status_code == 404
    assert "fox, owl \\u003clora:both:1\\u003e" in client.get(f"/generate?job={number}").text
    verified = client.get(f"/api/files/jobs/{number}/verification").json()
    assert [each["readers"] for each in verified["verdicts"]] == ["A1111, Forge, ComfyUI, diffusers, kohya"]
    assert client.delete(f"/api/files/jobs/{number}").status_code == 204
    assert not (places.runs / "files" / "both.safetensors").exists() and not app.state.queue.list()
    assert (places.models / "models/Lora/fox.safetensors").exists()

    same = client.get(f"/api/library/files/{ids['fox']}/difference", params={"other": ids[XSS]})
    assert same.json()["same"] and same.json()["names"][1] == f"{XSS}.safetensors"
    assert XSS not in client.get("/files/merge", params={"file": ids[XSS]}).text


def test_the_prompt_of_a_lora_names_what_is_put_into_it(client: TestClient) -> None:
    ids = {name.removesuffix(".safetensors"): row["id"] for name, row in list_by_name(client).items()}
    wish = {"task": "convert-lora", "files": [{"id": ids["fox"]}], "bundle": ids["owl"]}
    number = client.post("/api/files/jobs", json=wish).json()["job"]
    assert client.get(f"/api/files/jobs/{number}").json()["prompt"] == "fox, owl"


def end_job(app: FastAPI, number: int, events: list[dict[str, Any]], code: int = 0) -> None:
    """Leave behind what the process of a job does."""
    folder = app.state.queue.folder_of(number)
    assert enter_process(folder)
    (folder / LOG).write_text("")
    (folder / EVENTS).write_text("".join(json.dumps(each) + "\n" for each in events))
    record_exit(folder, code)


def test_a_failed_job_says_why_in_the_readers_language(client: TestClient, app: FastAPI, places: Places) -> None:
    number = app.state.queue.add("merge", ["lora"], places.runs, "cpu", "x")
    app.state.queue.folder_of(number).mkdir(parents=True)
    (app.state.queue.folder_of(number) / "work.json").write_text('{"install": []}')
    template = "{path} cannot be a preview; give an image in one of the formats {formats}"
    error = TetradError("E4343", template, path="a", formats=".png")
    end_job(app, number, [error.as_record()], error.exit_code)
    shown = client.get(f"/api/files/jobs/{number}").json()
    assert (shown["state"], shown["code"]) == ("failed", "E4343") and "cannot be a preview" in shown["sentence"]
    headers = {"accept-language": "zh"}
    assert client.get(f"/api/files/jobs/{number}", headers=headers).json()["sentence"] != shown["sentence"]
    other = app.state.queue.add("train", [], places.runs)
    assert client.get(f"/files/jobs/{other}").status_code == 404


def test_files_are_installed_and_removed_again(client: TestClient, app: FastAPI, places: Places) -> None:
    ids = {name: row["id"] for name, row in list_by_name(client).items()}
    (web_ui,) = [each for each in client.get("/api/destinations").json() if each["kind"]]
    other = places.runs.parent / "forge"
    (other / "modules_forge").mkdir(parents=True)
    to = client.post("/api/destinations", json={"path": str(other)}).json()["id"]
    wish = {"files": [ids["fox.safetensors"]], "destination": to, "strength": 0.8}
    found = client.post("/api/files/installs/preview", json=wish).json()
    assert found["targets"] == [str(other / "models/Lora/fox.safetensors")] and found["notes"] == []
    assert "--strength 0.8" in found["command"]
    taken = client.post("/api/files/installs/preview", json={**wish, "destination": web_ui["id"]}).json()
    assert "a file of this name is there" in taken["notes"][0]
    for change, code in (({"name": "a/b"}, "E4322"), ({"destination": "nothing"}, "E4321")):
        assert client.post("/api/files/installs/preview", json={**wish, **change}).json()["code"] == code
    started = client.post("/api/files/installs", json=wish).json()
    assert client.get(started["address"]).status_code == 200

    with serving(places.state, places.runs):
        wait_until(lambda: is_over(app.state.queue.read_job(started["job"])), 300)
    shown = client.get(f"/api/files/jobs/{started['job']}").json()
    assert shown["state"] == "finished" and "Installed into Forge" in shown["texts"][0], shown
    address = f"/api/destinations/{to}/installed"
    (installed,) = client.get(address).json()
    assert installed["place"] == "models/Lora/fox.safetensors" and "fox.json" in installed["with"]
    assert client.delete(address, params={"file": "../../x"}).json()["code"] == "E4344"
    assert client.delete(address, params={"file": installed["file"]}).json()["removed"][0] == "fox.safetensors"
    assert not (other / "models/Lora/fox.safetensors").exists() and client.get(address).json() == []


def test_a_job_that_is_stopped_leaves_nothing_half_written(tmp_path: Path) -> None:
    """The signal ends the command as an exception does, so that its temporary file goes."""
    queue = Queue(tmp_path / "state")
    out = tmp_path / "out" / "merged.safetensors"
    out.parent.mkdir()
    models = [str(MODEL_PATH), f"{MODEL_PATH}:0.5", f"{MODEL_PATH}:0.5", "--method", "ties", "--base", str(MODEL_PATH)]
    number = queue.add("merge", ["checkpoint", *models, "--out", str(out)], tmp_path, "cpu")
    events = queue.folder_of(number) / "events.jsonl"
    with serving(tmp_path / "state", tmp_path):
        wait_until(lambda: any(each["event"] == "progress" for each in read_events(events)), 300)
        assert list(out.parent.iterdir())  # what is being written
        job = queue.read_job(number)
        assert job.process is not None
        os.killpg(job.process.pid, signal.SIGTERM)
        wait_until(lambda: is_over(queue.read_job(number)), 60)
    assert queue.read_job(number).state == "interrupted" and list(out.parent.iterdir()) == []
    stopped = queue.read_job(number)
    stopped.log.with_name("work.json").write_text(json.dumps({"work": {}, "paths": {}, "target": str(out)}))
    assert describe_job(cast(Request, None), stopped)["word"] == "stopped"
