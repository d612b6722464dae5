"""New training by its requests: drafts, images, captions, settings, the plan, and the start."""

import asyncio
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from made_photos import HOSTILE, make_image, make_photos
from starlette.testclient import TestClient

from tetrad.documents import parse_toml, read_text_file
from tetrad.web.drafts import FOLDERS, Draft
from tetrad.web.further_folders import count_further_images, describe_further_folders
from tetrad.web.places import Places
from tetrad.web.planning import Planning
from tetrad.web.preferences import MountedVae
from tetrad.web.preparation import read_recipe
from tetrad.web.settings_form import ASKED_ELSEWHERE, describe_settings, keep_known

BYTES = {"content-type": "application/octet-stream"}


@pytest.fixture
def draft(client: TestClient) -> str:
    return str(client.post("/api/drafts").json()["id"])


def upload(client: TestClient, draft: str, path: Path, name: str = "") -> dict[str, Any]:
    answer = client.post(
        f"/api/drafts/{draft}/files", params={"file": name or path.name}, content=path.read_bytes(), headers=BYTES
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def look(client: TestClient, draft: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The images by name, and what concerns all of them."""
    lines = [json.loads(line) for line in client.get(f"/api/drafts/{draft}/images").text.splitlines()]
    rows = {line["name"]: line for line in lines if "id" in line}
    return rows, lines[-1]


def test_a_draft_is_kept_changed_listed_and_removed(client: TestClient, draft: str) -> None:
    address = f"/api/drafts/{draft}"
    changed = client.patch(address, json={"goal": "style", "settings": {"train.batch_size": "2"}})
    assert changed.status_code == 200 and changed.json()["dropped"] == []
    assert client.get(address).json()["settings"] == {"train.batch_size": "2"}
    assert client.patch(address, json={"settings": {"train.batch_size": None}}).json()["settings"] == {}
    assert [each["id"] for each in client.get("/api/drafts").json()] == [draft]
    assert draft in client.get("/").text
    assert client.get(f"/new/{draft}/how").status_code == 200 and client.get(address).json()["step"] == "how"
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404 and client.get("/api/drafts").json() == []


def test_a_trigger_word_is_suggested_that_no_other_training_has(
    app: FastAPI, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def check_word(self: Planning, word: str, images: str, taken: list[str]) -> dict[str, str]:
        asked.append((word, images, sorted(taken)))
        return {"word": "zqk"}

    monkeypatch.setattr(Planning, "check_word", check_word)
    for name in ("zgv", "my run"):
        (places.runs / name).mkdir(parents=True)
    preparation = app.state.preparation
    preparation.drafts.create(trigger_word="zjg")
    draft = preparation.drafts.create(images="builtin:subject", model="builtin")
    assert asyncio.run(preparation.settle(draft, "trigger_word")).trigger_word == "zqk"
    assert asked == [("", "builtin:subject", ["zgv", "zjg"])]


@pytest.mark.parametrize(
    "values, text",
    [
        ({"goal": "nothing"}, "goal must be one of"),
        ({"settings": {"train.batch_size": "many"}}, "train.batch_size"),
        ({"settings": {"train.nothing": "1"}}, "does not exist"),
        ({"settings": {"train.batch_size": "1000"}}, "from 0 to 256"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_at_once(
    client: TestClient, draft: str, values: dict[str, Any], text: str
) -> None:
    answer = client.patch(f"/api/drafts/{draft}", json=values)
    assert answer.status_code in (409, 422) and text in answer.json()["text"]
    assert client.get(f"/api/drafts/{draft}").json()["settings"] == {}


def test_images_are_judged_at_the_resolution_they_are_trained_at(
    client: TestClient, draft: str, tmp_path: Path
) -> None:
    """For the built-in model that is 128 pixels, and not the usual 512."""
    upload(client, draft, make_image(tmp_path / "a.png", 1, side=128))

    def texts(**values: Any) -> str:
        client.patch(f"/api/drafts/{draft}", json=values)
        return " ".join(each["text"] for each in look(client, draft)[0]["a.png"]["reasons"])

    assert "enlarged 4.0 times for training at 512 pixels" in texts()
    assert "for training" not in texts(model="builtin")
    assert "at 512 pixels" in texts(settings={"data.resolution": "512"})


def test_settings_of_another_method_are_dropped_and_named(client: TestClient, draft: str) -> None:
    client.patch(f"/api/drafts/{draft}", json={"method": "lora", "settings": {"method.rank": "8", "train.seed": "3"}})
    changed = client.patch(f"/api/drafts/{draft}", json={"method": "dreambooth"}).json()
    assert changed["dropped"] == ["method.rank"] and changed["settings"] == {"train.seed": "3"}


def test_every_file_gets_a_verdict_or_a_reason(client: TestClient, draft: str, tmp_path: Path) -> None:
    files = make_photos(tmp_path / "photos", good=3)
    refused = [each for path in files for each in upload(client, draft, path)["refused"]]
    assert [each["code"] for each in refused] == ["E4312"]
    rows, about = look(client, draft)
    verdicts = {name: row["verdict"] for name, row in rows.items()}
    assert [verdicts[f"IMG_{number:04}.png"] in ("ready", "look") for number in range(3)] == [True] * 3
    bad = ("empty.png", "cut.png", "page.jpg", "receipt.pdf", f"{HOSTILE}.png")
    assert [verdicts[name] for name in bad] == ["unused"] * 5 and all(rows[name]["badge"] for name in bad)
    assert [each["name"] for each in about["refused"]] == ["notes.docx"]
    good = rows["IMG_0000.png"]["id"]
    thumbnail = client.get(f"/api/drafts/{draft}/images/{good}/thumbnail")
    assert thumbnail.headers["content-type"] == "image/webp"
    assert "<img src=x" not in client.get(f"/new/{draft}/photos").text


def test_an_image_is_left_out_used_again_cropped_and_masked(client: TestClient, draft: str, tmp_path: Path) -> None:
    for number in range(2):
        upload(client, draft, make_image(tmp_path / f"{number}.png", number))
    rows, _about = look(client, draft)
    image = f"/api/drafts/{draft}/images/{rows['0.png']['id']}"
    assert client.delete(image).status_code == 204
    assert look(client, draft)[0]["0.png"]["verdict"] == "left"
    assert client.get(f"{image}/thumbnail").status_code == 200
    assert client.put(image).status_code == 204 and look(client, draft)[0]["0.png"]["verdict"] != "left"
    assert client.post(f"{image}/crop", json={"box": [0, 0, 80, 64]}).status_code == 200
    cropped = look(client, draft)[0]["0.png"]
    assert (cropped["width"], cropped["height"], cropped["is_edited"]) == (80, 64, True)
    assert client.get(f"{image}/mask").status_code == 404
    mask = make_image(tmp_path / "mask.png", 5).read_bytes()
    assert client.put(f"{image}/mask", content=mask, headers={"content-type": "image/png"}).status_code == 204
    assert look(client, draft)[0]["0.png"]["has_mask"] and client.get(f"{image}/mask").status_code == 200
    assert client.delete(f"{image}/edits").status_code == 200
    restored = look(client, draft)[0]["0.png"]
    assert restored["width"] == 96 and not restored["has_mask"]  # the mask was of the crop


def test_a_folder_of_shards_is_refused_with_the_command_for_the_terminal(
    client: TestClient, draft: str, tmp_path: Path
) -> None:
    """The draft keeps the images that it has."""
    own, shards = tmp_path / "own", tmp_path / "my shards"
    own.mkdir()
    shards.mkdir()
    with tarfile.open(shards / "0.tar", "w") as archive:
        archive.add(make_image(own / "0.png", 0), "0.png")
    client.post(f"/api/drafts/{draft}/folder", json={"path": str(own)})
    answer = client.post(f"/api/drafts/{draft}/folder", json={"path": str(shards)})
    assert answer.status_code == 409 and answer.json()["code"] == "E4308"
    assert f"tetrad train lora '{shards}'" in answer.json()["text"]
    assert list(look(client, draft)[0]) == ["0.png"]


def test_a_folder_of_ones_own_is_read_and_never_changed(client: TestClient, draft: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for number in range(2):
        make_image(own / f"{number}.png", number)
    before = sorted((path.name, path.read_bytes()) for path in own.iterdir())
    for wrong in ("", "relative", str(tmp_path / "nothing")):
        assert client.post(f"/api/drafts/{draft}/folder", json={"path": wrong}).status_code == 404
    assert client.post(f"/api/drafts/{draft}/folder", json={"path": str(own)}).json()["images"] == str(own)
    rows, about = look(client, draft)
    assert about["is_own_folder"] and len(rows) == 2
    own.rename(tmp_path / "away")
    rows_of_none, about = look(client, draft)
    assert not rows_of_none and about["error"]["code"] == "E4001" and str(own) in about["error"]["text"]
    (tmp_path / "away").rename(own)
    client.patch(f"/api/drafts/{draft}/captions", json={"texts": {rows["0.png"]["id"]: "a cat"}})
    client.delete(f"/api/drafts/{draft}/images/{rows['1.png']['id']}")
    assert not look(client, draft)[1]["is_own_folder"]
    assert sorted((path.name, path.read_bytes()) for path in own.iterdir()) == before
    client.delete(f"/api/drafts/{draft}")
    assert sorted((path.name, path.read_bytes()) for path in own.iterdir()) == before


def test_captions_are_edited_and_undone(client: TestClient, draft: str, tmp_path: Path) -> None:
    for number in range(3):
        upload(client, draft, make_image(tmp_path / f"{number}.png", number))
    address = f"/api/drafts/{draft}/captions"
    found = client.get(address).json()
    ids = [row["id"] for row in found["rows"]]
    assert sorted(ids) == found["usable"] and found["tags"] == []
    written = client.patch(address, json={"texts": {id: f"red eyes, {HOSTILE}" for id in ids}}).json()
    assert written["changed"] == 3 and written["common"] == ["red eyes", HOSTILE] and written["changes"] == 1
    edited = client.post(f"{address}/edits", json={"do": "remove", "text": written["common"]}).json()
    assert edited["changed"] == 3 and [row["text"] for row in edited["rows"]] == [""] * 3
    assert client.post(f"{address}/undo").json()["tags"] == [["red eyes", 3], [HOSTILE, 3]]
    assert client.post(f"{address}/edits", json={"do": "replace", "text": "red", "replacement": "blue"}).json()[
        "changed"
    ]
    assert client.post(f"{address}/edits", json={"do": "add", "text": " , "}).status_code == 409
    assert client.get(address).json()["rows"][0]["text"] == f"blue eyes, {HOSTILE}"


def test_the_settings_of_advanced_are_those_of_the_schema() -> None:
    shown = {each["key"]: each for each in describe_settings("lora", {"method.rank": 8})}
    assert len(shown) > 80 and not shown.keys() & set(ASKED_ELSEWHERE)
    rank = shown["method.rank"]
    assert (rank["kohya"], rank["range"], rank["default"], rank["value"]) == (
        "network_dim",
        "from 1 to 1024",
        "16",
        "8",
    )
    assert shown["train.optimizer"]["choices"][:3] == ["adamw", "adamw8bit", "adafactor"]
    assert shown["data.flip"]["choices"] == ["true", "false"] and all(each["help"] for each in shown.values())
    assert keep_known("dreambooth", {"method.rank": 8, "train.seed": 1}) == ({"train.seed": 1}, ["method.rank"])


def open_file(client: TestClient, name: str, text: str) -> Any:
    return client.post("/api/imports", params={"file": name}, content=text.encode(), headers=BYTES)


def test_a_recipe_file_starts_a_draft_at_the_plan(client: TestClient, tmp_path: Path) -> None:
    text = f'model = "builtin"\n[data]\nimages = "{tmp_path.as_posix()}"\ntrigger_word = "zkr"\n'
    text += '[method]\nkind = "dreambooth"\n[train]\nsteps = 7\n[sample]\nprompts = ["a zkr", "b"]\n'
    address = open_file(client, "run.toml", text).json()["address"]
    draft = client.get(f"/api/drafts/{address.split('/')[2]}").json()
    assert address.endswith("/plan") and (draft["step"], draft["method"], draft["trigger_word"]) == (
        "plan",
        "dreambooth",
        "zkr",
    )
    assert draft["saves"] == 1  # a recipe says itself when files are saved
    assert draft["settings"] == {"train.steps": 7, "sample.prompts": ["a zkr", "b"], "method.subject": ""}
    for wrong, code in (("no toml", "E3161"), ("[train]\nsteps = -1", "E3103"), ("[train]\na = 1", "E3101")):
        answer = open_file(client, "run.toml", wrong)
        assert answer.status_code == 422 and answer.json()["code"] == code
    assert read_recipe("", '[method]\nkind = "lora"\nblock_ranks = {mid_0 = 4}')["settings"] == {
        "method.block_ranks": {"mid_0": 4}
    }


def test_a_draft_is_planned_and_put_into_the_queue(
    client: TestClient, app: FastAPI, draft: str, places: Places, tmp_path: Path
) -> None:
    assert client.get(f"/api/drafts/{draft}/plan").status_code == 409  # no images yet
    for number in range(4):
        upload(client, draft, make_image(tmp_path / f"{number}.png", number))
    client.patch(f"/api/drafts/{draft}", json={"method": "lora", "quality": "quick", "trigger_word": "zkr"})
    plan = client.get(f"/api/drafts/{draft}/plan").json()
    assert (plan["images"], plan["draft"]["method"], plan["draft"]["model"]) == (4, "lora", "builtin")
    assert plan["files"] == 5
    assert plan["file"] == "zkr.safetensors" and plan["fits"] and "zkr" in plan["command"] and plan["busy"] == ""
    started = client.post(f"/api/drafts/{draft}/start").json()
    (job,) = app.state.queue.list()
    assert started == {"job": job.id, "address": f"/jobs/{job.id}"} and job.wish.arguments[0] == "--recipe"
    recipe = parse_toml(read_text_file(Path(job.wish.arguments[1])))
    assert recipe["data"]["images"].startswith(str(places.data)) and recipe["save"]["out"] == str(places.runs)
    assert client.get("/api/drafts").json() == [] and client.get(f"/new/{draft}/plan").status_code == 200
    assert client.get(f"/api/drafts/{draft}/plan").json()["busy"] == "zkr"
    assert parse_toml(client.get(f"/api/drafts/{draft}/recipe").text) == recipe


def test_the_vae_of_another_model_is_not_asked_for_and_the_mounted_one_is_named(
    client: TestClient, app: FastAPI, draft: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def describe(model: str, vae: str = "") -> dict[str, Any]:
        asked.append((model, vae))
        return {"family": "", "vae": vae, "vae_reason": {}, "vae_warnings": [], "vaes": []}

    async def list_models(*folders: object) -> list[dict[str, str]]:
        return []

    preparation = app.state.preparation
    monkeypatch.setattr(preparation.planning, "describe_model", describe)
    monkeypatch.setattr(preparation.planning, "list_models", list_models)
    app.state.preferences.mount("b.ckpt", MountedVae("/vaes/clear.pt", trains=True))
    client.patch(f"/api/drafts/{draft}", json={"model": "a.ckpt", "vae": "a.vae.pt"})
    names = [
        client.get(f"/api/drafts/{draft}/model", params={"model": model}).json()["vae_mounted"]
        for model in ("", "b.ckpt")
    ]
    assert names == ["", "clear.pt"] and asked == [("a.ckpt", "a.vae.pt"), ("b.ckpt", "/vaes/clear.pt")]


def test_a_year_in_a_folders_name_is_no_number_of_repeats_on_the_page_either(tmp_path: Path) -> None:
    folders = [tmp_path / "2023_holiday", tmp_path / "0_none", tmp_path / "10_zkr"]
    for folder in folders:
        folder.mkdir()
    draft = Draft("x", settings={FOLDERS: [{"images": str(folder)} for folder in folders]})
    assert [each["usual_repeats"] for each in describe_further_folders(draft)] == [1, 1, 10]


def test_further_folders_are_added_counted_repeated_and_trained_on(
    app: FastAPI, client: TestClient, draft: str, tmp_path: Path
) -> None:
    address = f"/api/drafts/{draft}"
    (own, more), empty = (tmp_path / "own", tmp_path / "5_more"), tmp_path / "empty"
    for folder in (own, more, empty):
        folder.mkdir()
    for number in range(3):
        make_image((own if number < 2 else more) / f"{number}.png", number)
    assert client.post(f"{address}/folder", json={"path": str(own)}).status_code == 200
    [added] = client.post(f"{address}/folders", json={"path": f" {more} "}).json()
    assert (added["name"], added["images"], added["problem"]) == ("5_more", 1, "")
    assert (added["repeats"], added["usual_repeats"]) == (None, 5)
    for refused in (str(own), str(more), "relative", str(tmp_path / "nowhere"), "/"):
        answer = client.post(f"{address}/folders", json={"path": refused})
        assert (answer.status_code, answer.json()["code"]) == (404, "E4304"), refused
    assert client.post(f"{address}/folders", json={"path": str(empty)}).json()["code"] == "E4002"
    [changed] = client.patch(f"{address}/folders/0", json={"repeats": 7}).json()
    assert changed["repeats"] == 7
    assert client.patch(f"{address}/folders/0", json={"repeats": 0}).status_code == 422
    assert client.patch(f"{address}/folders/1", json={"repeats": 1}).status_code == 404

    preparation = app.state.preparation
    found = preparation.drafts.read_draft(draft)
    assert count_further_images(found) == 1
    (more / "2.png").unlink()
    assert client.get(f"{address}/folders").json()[0]["problem"] and count_further_images(found) == 0
    recipe = replace(found, method="lora").make_recipe(3, "runs", own)
    assert [(each.images, each.repeats) for each in recipe.data.folders] == [(str(more), 7)]
    assert client.delete(f"{address}/folders/0").json() == []
    assert "data.folders" not in client.get(address).json()["settings"]
