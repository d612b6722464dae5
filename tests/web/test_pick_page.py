"""Pick best shows the saves that are there, generates what is asked for once, and keeps the stars."""

from pathlib import Path
from typing import Any

import pytest
from fake_drawing import FakeDrawing, drawing
from fastapi import FastAPI
from made_runs import add_event, make_run
from starlette.testclient import TestClient

from tetrad.judging import CheckpointScores, Score, append_scores
from tetrad.web.picks import Choice, Picks, smooth_loss
from tetrad.web.places import Places
from tetrad.web.preferences import MountedVae, Preferences

__all__ = ["drawing"]
PROMPT = "a zkr, on a white background"


@pytest.fixture
def run(places: Places) -> Path:
    """A run with two saves and one that was removed."""
    path = make_run(places.runs)
    plan = (
        (path / "plan.toml")
        .read_text()
        .replace("[train]", '[text]\nclip_skip = 1\n[save]\nformat = "kohya"\n[train]\nseed = 3')
    )
    (path / "plan.toml").write_text(plan)
    for step in (10, 20, 30):
        name = f"zkr-step{step:08d}.safetensors"
        add_event(path, event="saved", step=step, path=f"runs/zkr/{name}")
        if step != 20:
            (path / name).write_bytes(b"x" * 2_000)
    return path


FIRST, SECOND = "zkr-step00000010.safetensors", "zkr-step00000030.safetensors"


def cell(client: TestClient, **wish: Any) -> Any:
    return client.post("/api/runs/zkr/cells", json={"file": SECOND, "strength": 0.7, "prompt": PROMPT, **wish})


def test_the_saves_come_with_what_is_known_of_them(client: TestClient, run: Path) -> None:
    found = client.get("/api/runs/zkr/saves").json()
    assert [(each["file"], each["step"], each["size"]) for each in found["saves"]] == [
        (FIRST, 10, "2.0 kB"),
        (SECOND, 30, "2.0 kB"),
    ]
    assert found["saves"][0]["epoch"] == 0.5 and found["saves"][0]["loss"] and found["strengths"] == [0.4, 0.7, 1.0]
    assert [each["badge"] for each in found["prompts"]] == ["", "no trigger word", "overfitting check"]
    assert client.get("/runs/zkr/pick").status_code == 200 and client.get("/runs/none/pick").status_code == 404


def test_the_scores_of_the_judge_come_with_the_saves_and_propose_a_strength(client: TestClient, run: Path) -> None:
    assert client.get("/api/runs/zkr/saves").json()["proposal"] is None
    for strength, likeness in ((0.6, 0.50), (1.0, 0.51)):
        scores = {"likeness": Score(likeness, 0.02), "held_out_loss": Score(0.07)}
        append_scores(run, CheckpointScores(30, SECOND, strength, scores))
    found = client.get("/api/runs/zkr/saves").json()
    assert (found["proposal"]["file"], found["proposal"]["strength"]) == (SECOND, 0.6)
    assert found["strengths"] == [0.4, 0.6, 0.7, 1.0]
    figures = {each["name"]: each["value"] for each in found["figures"][SECOND]["0.6"]}
    assert figures == {"held_out_loss": "0.0700", "likeness": "50 % ± 2"} and FIRST not in found["figures"]


def test_the_loss_is_smoothed_as_the_plot_does() -> None:
    series = {"first": [1, 2, 3], "last": [1, 2, 3], "mean": [1.0, 2.0, None]}
    assert smooth_loss(series, 1) == "1.00" and smooth_loss(series, 0) == ""
    assert smooth_loss(series, 3) == f"{(0.9 * 0.1 * 1 + 0.1 * 2) / (0.9 * 0.1 + 0.1):#.3g}"


def test_a_cell_is_generated_once_and_only_when_it_is_wanted(
    client: TestClient, run: Path, drawing: FakeDrawing
) -> None:
    assert not cell(client, draws=False).json()["is_ready"] and drawing.requests == []
    answer = cell(client).json()
    assert answer["is_ready"] and cell(client).json() == answer == cell(client, draws=False).json()
    (request,) = drawing.requests
    assert request["prompt"] == f"{PROMPT} <lora:{Path(SECOND).stem}:0.7>" and request["lora_dir"] == str(run)
    assert (request["seed"], request["clip_skip"], request["vae"]) == (3, 1, "Automatic")
    assert client.get(f"/api/runs/zkr/cells/{answer['id']}").content.startswith(b"\x89PNG")
    (run / SECOND).write_bytes(b"y" * 3_000)
    assert cell(client, draws=False).json()["id"] != answer["id"]  # another file, another image


def test_a_cell_has_the_vae_that_generate_would_use(
    client: TestClient, app: FastAPI, run: Path, drawing: FakeDrawing
) -> None:
    """The one that the person chose for the model; without a choice the run's own, or as web UIs choose it."""
    model = "models/sd15.safetensors"
    plan = (run / "plan.toml").read_text()
    (run / "plan.toml").write_text(plan.replace("[data]", 'vae = "trained.pt"\n[data]'))
    cell(client)
    app.state.preferences.mount(model, MountedVae("mine.safetensors"))
    cell(client)
    assert [each["vae"] for each in drawing.requests] == ["trained.pt", "mine.safetensors"]


def test_files_of_other_runs_are_not_looked_at_for_a_cell(client: TestClient, run: Path, drawing: FakeDrawing) -> None:
    """A damaged embedding of another run would stop all cells whose prompts have its name."""
    cell(client)
    assert {drawing.requests[0][name] for name in ("lora_dir", "embeddings_dir", "hypernetwork_dir")} == {str(run)}


def test_the_base_model_alone_has_a_cell(client: TestClient, run: Path, drawing: FakeDrawing) -> None:
    assert cell(client, file="").json()["is_ready"]
    assert drawing.requests[0]["without_networks"] and drawing.requests[0]["prompt"] == PROMPT


def test_while_a_training_has_the_device_it_is_said(client: TestClient, run: Path, drawing: FakeDrawing) -> None:
    drawing.does = "give way"
    response = cell(client)
    assert response.status_code == 409 and "The run zkr trains on this device" in response.json()["text"]
    drawing.does = "fail"
    assert cell(client).json()["code"] == "E5101"


def test_stars_are_kept_as_long_as_their_file_is_there(client: TestClient, run: Path, places: Places) -> None:
    def star(file: str, strength: float, is_starred: bool = True) -> Any:
        return client.put("/api/runs/zkr/stars", json={"file": file, "strength": strength, "is_starred": is_starred})

    assert star(FIRST, 0.4).json() == [{"file": FIRST, "strength": 0.4}]
    assert [each["file"] for each in star(SECOND, 1.0).json()] == [SECOND, FIRST]
    assert star(SECOND, 1.0, is_starred=False).json() == [{"file": FIRST, "strength": 0.4}]
    assert star("../../key", 1.0).status_code == 404
    picks = Picks(places.state / "picks", None, Preferences(places.state / "settings.json"))
    assert picks.open(run).read_stars() == [Choice(FIRST, 0.4)]
    (run / FIRST).unlink()
    assert picks.open(run).read_stars() == []


def test_deleting_a_run_deletes_its_stars_and_images(
    client: TestClient, run: Path, drawing: FakeDrawing, places: Places
) -> None:
    cell(client)
    assert list((places.state / "picks").rglob("*.png"))
    client.delete("/api/runs/zkr")
    assert not list((places.state / "picks").iterdir())


def test_a_whole_model_has_one_strength_and_an_embedding_stands_in_the_prompt(client: TestClient, run: Path) -> None:
    def write(kind: str) -> str:
        plan = (run / "plan.toml").read_text()
        (run / "plan.toml").write_text(plan.replace('kind = "lora"', f'kind = "{kind}"'))
        wish = {"file": SECOND, "strength": 0.7, "prompt": PROMPT}
        text: str = client.post("/api/runs/zkr/prompt", json=wish).json()["prompt"]
        strengths = client.get("/api/runs/zkr/saves").json()["strengths"]
        (run / "plan.toml").write_text(plan)
        return f"{len(strengths)} {text}"

    assert write("dreambooth") == f"1 {PROMPT}"
    assert write("textual-inversion") == f"3 a ({Path(SECOND).stem}:0.7), on a white background"
    assert write("hypernetwork") == f"3 {PROMPT} <hypernet:{Path(SECOND).stem}:0.7>"


def test_a_run_of_no_method_has_no_saves_to_pick(client: TestClient, run: Path) -> None:
    (run / "plan.toml").write_text('[method]\nkind = "vae-decoder"\n')
    assert client.get("/api/runs/zkr/saves").status_code == 404


def test_a_save_is_copied_with_what_the_web_ui_shows_beside_it(
    client: TestClient, run: Path, drawing: FakeDrawing, tmp_path: Path
) -> None:
    web_ui = tmp_path / "webui"
    (web_ui / "models" / "Lora").mkdir(parents=True)
    destination = client.post("/api/destinations", json={"path": str(web_ui)}).json()
    assert destination["kind"] == "A1111"
    cell(client)
    wish = {"file": SECOND, "strength": 0.7, "prompt": PROMPT, "destination": destination["id"]}
    plan = client.post("/api/runs/zkr/copies/plan", json=wish).json()
    assert Path(plan["target"]) == web_ui / "models" / "Lora" / "zkr.safetensors" and plan["notes"] == []
    assert plan["prompt"] == f"{PROMPT} <lora:zkr:0.7>" and not list(web_ui.rglob("*.*"))
    assert "zkr.safetensors is in" in client.post("/api/runs/zkr/copies", json=wish).json()["text"]
    names = {"zkr.safetensors", "zkr.json", "zkr.preview.png", "tetrad-installed.json"}
    assert {path.name for path in web_ui.rglob("*.*")} == names
    again = client.post("/api/runs/zkr/copies/plan", json=wish).json()
    assert again["name"] == "zkr-2" and "zkr.safetensors is there already" in again["notes"][0]
    wrong = client.post("/api/runs/zkr/copies", json={**wish, "name": "a:b"}).json()
    assert wrong["code"] == "E4322" and "'a-b' can" in wrong["text"]


def test_a_save_is_exported_under_another_name(client: TestClient, run: Path, places: Places) -> None:
    exports = next(each for each in client.get("/api/destinations").json() if not each["kind"])
    wish = {"file": FIRST, "destination": exports["id"], "name": "best-zkr"}
    assert client.post("/api/runs/zkr/copies", json=wish).status_code == 200
    assert (places.runs.parent / "exports" / "best-zkr.safetensors").read_bytes() == (run / FIRST).read_bytes()
