"""The library, the VAEs, the settings and the queue of the page, asked as its scripts ask."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from made_runs import bring_to_life, make_run
from starlette.testclient import TestClient

from tetrad.builtin import MODEL_PATH, resolve_images_path
from tetrad.web import runs as web_runs
from tetrad.web.app import create_app
from tetrad.web.data_sets import DataSet
from tetrad.web.jobs.process import enter_process, record_exit
from tetrad.web.places import Places
from tetrad.web.preferences import MountedVae, Preferences
from tetrad.web.routes import library

XSS = "<img src=x onerror=alert(1)>"


def write_safetensors(path: Path, tensors: dict[str, tuple[int, ...]], metadata: dict[str, str]) -> None:
    """A file of ones, without torch."""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\x00\x3c" * (end // 2))


def write_lora(path: Path, word: str, side: int = 8) -> None:
    key = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"{key}.lora_down.weight": (side, 768), f"{key}.lora_up.weight": (640, side), f"{key}.alpha": ()}
    write_safetensors(path, tensors, {"modelspec.trigger_phrase": word, "ss_base_model_version": "sd_v1"})


@pytest.fixture
def places(tmp_path: Path) -> Places:
    web_ui = tmp_path / "webui"
    write_lora(web_ui / "models/Lora/fox.safetensors", "fox")
    write_lora(web_ui / f"models/VAE/misplaced {'x' * 20}.safetensors", "")
    write_lora(web_ui / f"models/Lora/{XSS}.safetensors", XSS)
    (web_ui / "models/Lora/empty.safetensors").touch()
    (web_ui / "models/Stable-diffusion").mkdir()
    shutil.copy(MODEL_PATH, web_ui / "models/Stable-diffusion/emoji.safetensors")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(MODEL_PATH, tmp_path / "elsewhere/another.safetensors")
    run = make_run(tmp_path / "runs", "zkr")
    write_lora(run / "zkr.safetensors", "zkr", 4)
    write_lora(run / "resume/step-00000020/weights.safetensors", "no file for people")
    return Places.of(tmp_path / "runs", web_ui, tmp_path / "data", tmp_path / "state")


def list_by_name(client: TestClient) -> dict[str, dict[str, Any]]:
    answer = client.get("/api/library/files")
    assert answer.status_code == 200, answer.text
    return {row["name"]: row for row in answer.json()}


def test_the_files_are_shown_before_anything_in_them_is_read(client: TestClient, places: Places) -> None:
    """The process that reads them needs seconds to begin, and the page shows the files meanwhile."""
    found = {row["name"]: row for row in client.get("/api/library/files?remembered=true").json()}
    assert "weights.safetensors" not in found and not any(row["is_read"] for row in found.values())
    assert (found["fox.safetensors"]["kind"], found["emoji.safetensors"]["kind"]) == ("lora", "checkpoint")
    assert (found["zkr.safetensors"]["run"], found["zkr.safetensors"]["kind"]) == ("zkr", "")
    assert found["emoji.safetensors"]["bytes"] == MODEL_PATH.stat().st_size
    assert found.keys() == list_by_name(client).keys()


def test_every_file_is_listed_inspected_and_its_vae_is_explained(client: TestClient, places: Places) -> None:
    rows = list_by_name(client)
    assert len(rows) == 6  # the file of the resume point is none of them
    fox = rows["fox.safetensors"]
    assert (fox["kind"], fox["family"], fox["word"]) == ("lora", "Stable Diffusion 1", "fox")
    assert rows["zkr.safetensors"]["run"] == "zkr" and "/api/runs/zkr/previews/" in rows["zkr.safetensors"]["preview"]
    assert rows["emoji.safetensors"]["kind"] == "checkpoint" and rows["emoji.safetensors"]["hash"] == ""
    assert "empty" in rows["empty.safetensors"]["problem"]
    misplaced = next(row for name, row in rows.items() if name.startswith("misplaced"))
    problems = client.get(f"/api/library/files/{misplaced['id']}").json()["all_problems"]
    assert misplaced["kind"] == "lora" and any("folder for files of another type" in each for each in problems)
    assert rows[f"{XSS}.safetensors"]["word"] == XSS  # text for the script, which never makes markup of it
    assert XSS not in client.get("/library").text

    details = client.get(f"/api/library/files/{rows['emoji.safetensors']['id']}").json()
    labels = {fact["label"]: fact["value"] for fact in details["facts"]}
    assert labels["family"] == "Stable Diffusion 1" and details["hash"] == labels["AutoV2"]
    assert list_by_name(client)["emoji.safetensors"]["hash"] == labels["AutoV2"]  # and is known from now on
    assert client.get("/api/library/files/0123456789abcdef").status_code == 404
    remembered = create_app(places, starts_jobs=False)
    assert (places.state / "file-list.json").exists() and remembered.state.library._read_list().keys() == {
        row["id"] for row in rows.values()
    }

    vae = client.get("/api/vae").json()
    models = {each["name"]: each for each in vae["models"]}
    assert models["emoji.safetensors"]["has_own"] and models["emoji.safetensors"]["used"]["name"] == "its own"
    assert "because no VAE file's name begins with" in models["emoji.safetensors"]["used"]["reason"]
    assert client.put("/api/vae/models/builtin", json={"vae": "0123456789abcdef"}).status_code == 404
    mounted = client.put(f"/api/vae/models/{models['emoji.safetensors']['id']}", json={"vae": "None", "trains": True})
    assert mounted.status_code == 200 and mounted.json()["warnings"] == []
    used = next(each for each in client.get("/api/vae").json()["models"] if each["name"] == "emoji.safetensors")
    assert used["chosen"] == "None" and used["training"]["reason"] == "you chose it here"

    made = client.post("/api/vae/compare", json={"model": "builtin", "vaes": ["None"], "sample": 1})
    assert made.status_code == 200, made.text
    assert made.json()["rows"][0]["psnr"] > 15
    assert client.get(made.json()["sheet"]).content.startswith(b"\x89PNG")
    assert client.post("/api/vae/compare", json={"vaes": ["None"], "sample": 99}).status_code == 404

    outside = places.runs.parent / "elsewhere/another.safetensors"
    wrong = client.post("/api/settings/models", json={"path": str(places.models / "models/Lora/fox.safetensors")})
    assert wrong.json()["code"] == "E4323" and "a LoRA" in wrong.json()["text"]
    assert client.post("/api/settings/models", json={"path": "/nothing"}).json()["code"] == "E4323"
    assert client.post("/api/settings/models", json={"path": str(outside)}).json()["kind"] == "checkpoint"
    assert "another.safetensors" in list_by_name(client)
    choices = client.get("/api/generate/choices").json()["models"]
    assert "another" in [each["name"] for each in choices]
    assert client.delete("/api/settings/models/0").status_code == 204 and outside.exists()
    assert "another.safetensors" not in list_by_name(client)


def test_deleting_images_names_what_goes_and_spares_those_in_use(client: TestClient, app: FastAPI) -> None:
    sets = app.state.preparation.data_sets
    data_set = sets.create("cat <b>")
    for path in resolve_images_path("builtin:subject").glob("*.png"):
        shutil.copy(path, data_set.folder)
    (data_set.folder / "01.txt").write_text("a cat")
    (row,) = client.get("/api/uploads").json()
    assert row["images"] == "8 images" and row["name"] == "cat <b>"
    contents = client.get(f"/api/uploads/{data_set.id}/contents").json()
    assert "8 images" in contents["sentence"] and contents["size"] in contents["sentence"]
    run = make_run(app.state.places.runs, "trains")
    plan = (run / "plan.toml").read_text()
    (run / "plan.toml").write_text(plan.replace("[data]", f"[data]\nimages = {json.dumps(str(data_set.folder))}"))
    bring_to_life(run)
    assert "The run trains stays" in client.get(f"/api/uploads/{data_set.id}/contents").json()["sentence"]
    refused = client.delete(f"/api/uploads/{data_set.id}")
    assert refused.json()["code"] == "E4203" and data_set.folder.exists()
    (run / "heartbeat").unlink()
    assert client.delete(f"/api/uploads/{data_set.id}").status_code == 204
    assert not data_set.folder.exists() and run.exists() and client.get("/api/uploads").json() == []


def test_what_is_removed_while_it_is_listed_is_left_out(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = app.state
    sets, runs = state.preparation.data_sets, state.places.runs
    kept, gone = sets.create("kept"), sets.create("gone")
    measure_upload, read_snapshot = library.measure_upload, web_runs.read_snapshot

    def measure_after_removal(data_set: DataSet, *given: Any) -> Any:
        shutil.rmtree(gone.folder, ignore_errors=True)
        return measure_upload(data_set, *given)

    def read_after_removal(path: Path) -> Any:
        shutil.rmtree(runs / "removed", ignore_errors=True)
        return read_snapshot(path)

    async def make_no_thumbnail(*given: Any) -> Path:
        return runs / "swept away.webp"

    monkeypatch.setattr(library, "measure_upload", measure_after_removal)
    monkeypatch.setattr(web_runs, "read_snapshot", read_after_removal)
    monkeypatch.setattr(state.thumbnails, "find_or_make", make_no_thumbnail)
    assert [each["id"] for each in client.get("/api/uploads").json()] == [kept.id]
    make_run(runs, "removed")
    state.runs.forget("zkr")
    assert [each["name"] for each in client.get("/api/runs").json()["runs"]] == ["zkr"]
    assert client.get("/api/runs/zkr/previews/10/0/thumbnail").status_code == 404
    monkeypatch.setattr(web_runs, "read_snapshot", lambda path: path.joinpath("vanished").read_text())
    state.runs.forget("zkr")
    assert client.get("/api/runs/zkr").status_code == 404


def test_settings_are_stored_and_shown(client: TestClient, app: FastAPI, places: Places) -> None:
    html = client.get("/settings").text
    assert "--models-dir" in html and str(places.models) in html and app.state.keys.token not in html
    (address,) = client.get("/api/settings/address").json()["addresses"]
    assert address.endswith(app.state.keys.token)
    assert client.put("/api/settings", json={"theme": "pink"}).json()["code"] == "E2001"
    assert client.put("/api/settings", json={"theme": "dark", "language": "zh_CN"}).status_code == 204
    assert 'data-theme="dark"' in client.get("/settings").text and "设置" in client.get("/settings").text
    stored = json.loads((places.state / "settings.json").read_text())
    assert stored["theme"] == "dark" and stored["language"] == "zh_CN"
    client.put("/api/settings", json={"language": "", "theme": ""})
    other = places.runs.parent / "forge"
    (other / "modules_forge").mkdir(parents=True)
    assert client.post("/api/destinations", json={"path": str(other)}).status_code == 200
    added = {each["path"]: each for each in client.get("/api/settings").json()["web_uis"]}
    assert added[str(other)]["can_remove"] and not added[str(places.models)]["can_remove"]
    assert client.delete(f"/api/destinations/{added[str(other)]['id']}").status_code == 204 and other.exists()
    assert client.delete("/api/destinations/nothing").json()["code"] == "E4321"
    lines = client.get("/api/settings/check-up").text.splitlines()
    assert {json.loads(line)["label"] for line in lines} >= {"Python", "PyTorch", "memory"}


def test_preferences_survive_damage_and_are_used(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    preferences = Preferences(file)
    preferences.mount("a.safetensors", MountedVae("b.vae.pt"))
    preferences.add_model("/x/y.ckpt")
    again = Preferences(file)
    assert again.values.models == ("/x/y.ckpt",) and again.generation_vae("a.safetensors") == "b.vae.pt"
    assert again.training_vae("a.safetensors") == ""
    again.mount("a.safetensors", MountedVae("b.vae.pt", trains=True))
    assert again.training_vae("a.safetensors") == "b.vae.pt"
    for damaged in ("", "[1]", '{"models": 3, "vaes": {"a": 1}}'):
        file.write_text(damaged)
        assert Preferences(file).values.models == () and Preferences(file).values.vaes == {}


def test_jobs_are_moved_held_and_removed_in_their_lanes(client: TestClient, app: FastAPI, places: Places) -> None:
    assert "Nothing waits and nothing runs" in client.get("/queue").text
    one, two, three = (app.state.queue.add("train", [], places.runs, title=title) for title in ("1", XSS, "3"))
    html = client.get("/parts/queue").text
    assert XSS not in html and "&lt;img" in html and f'data-up="{two}"' in html
    assert client.post(f"/api/jobs/{three}/move", json={"before": one}).status_code == 204
    assert [job.id for job in app.state.queue.list()] == [three, one, two]
    assert client.post(f"/api/jobs/{three}/move", json={"before": None}).status_code == 204
    assert [job.id for job in app.state.queue.list()] == [one, two, three]
    assert client.post(f"/api/jobs/{two}/pause").status_code == 204
    assert app.state.queue.read_job(two).state == "held" and "Let it start" in client.get("/parts/queue").text
    assert client.post(f"/api/jobs/{two}/continue").status_code == 204
    assert client.post(f"/api/jobs/{two}/stop").json()["code"] == "E4302"
    assert client.post("/api/jobs/99/move", json={"before": one}).json()["code"] == "E4301"
    folder = app.state.queue.folder_of(one)
    folder.mkdir(parents=True)
    (folder / "output.log").write_text(json.dumps({"event": "started", "folder": str(places.runs / "zkr")}) + "\n")
    assert enter_process(folder)
    record_exit(folder, 75)
    assert "The process ended at step 30 of 100" in client.get("/parts/queue").text  # what its run says
    assert client.get(f"/api/jobs/{one}").json()["sentence"] == "It was stopped; its run shows how far it came."
    bring_to_life(places.runs / "zkr")
    assert "started from a terminal" in client.get("/queue").text
    assert 'count">2<' in client.get("/library").text
