"""Another trainer's configuration that is opened on the page: its keys, its errors, and the draft that it becomes."""

import json
from pathlib import Path
from typing import Any

import pytest
from made_photos import HOSTILE, make_image
from starlette.testclient import TestClient

KOHYA = """
pretrained_model_name_or_path = "/models/none.safetensors"
train_data_dir = {folder}
network_module = "networks.lora"
network_dim = 8
network_alpha = 4
output_name = "dog"
max_train_epochs = 3
xformers = true
lowram = true
"""


def open_file(client: TestClient, name: str, text: str) -> Any:
    headers = {"content-type": "application/octet-stream"}
    return client.post("/api/imports", params={"file": name}, content=text.encode(), headers=headers)


def test_a_configuration_shows_its_keys_and_becomes_a_draft(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "10_dog").mkdir()
    make_image(tmp_path / "10_dog" / "a.png", 1)
    text = KOHYA.format(folder=json.dumps(tmp_path.as_posix())) + f"nonsense = {json.dumps(HOSTILE)}\n"
    address = open_file(client, "C:\\my dog.toml", text).json()["address"]
    page = client.get(address).text
    assert "my-dog.toml" in page and "network_dim" in page and "method.rank = 8" in page
    assert "pretrained_model_name_or_path = /models/none.safetensors" in page  # is not on this computer
    assert "<img src=x" not in page and str(tmp_path / "state") not in page
    made = client.post(f"/api{address}/draft", json={}).json()["address"]
    draft = client.get(f"/api/drafts/{made.split('/')[2]}").json()
    assert made.endswith("/plan") and draft["method"] == "lora" and draft["images"] == tmp_path.as_posix()
    assert draft["model"] == "" and draft["settings"]["method.rank"] == 8 and draft["settings"]["save.name"] == "dog"


def test_images_that_are_elsewhere_are_asked_for(client: TestClient) -> None:
    address = open_file(client, "a.toml", KOHYA.format(folder='"/nowhere"')).json()["address"]
    made = client.post(f"/api{address}/draft", json={}).json()["address"]
    assert made.endswith("/photos") and client.get(f"/api/drafts/{made.split('/')[2]}").json()["images"] == ""


def test_a_file_that_does_not_say_what_it_trains_asks(client: TestClient) -> None:
    text = 'output_name = "a"\ntrain_batch_size = 2\nmax_train_steps = 10\n'
    address = open_file(client, "a.toml", text).json()["address"]
    assert "What does it train?" in client.get(address).text
    page = client.get(f"{address}?method=textual-inversion").text
    assert "train.batch_size = 2" in page and "Continue with these settings" in page
    made = client.post(f"/api{address}/draft", json={"method": "textual-inversion"}).json()["address"]
    assert client.get(f"/api/drafts/{made.split('/')[2]}").json()["method"] == "textual-inversion"
    assert client.get(f"{address}?method=nothing").status_code == 404


@pytest.mark.parametrize(
    "name, text, code",
    [
        ("a.json", "{", "E3161"),
        ("a.toml", "x = “a”", "E3161"),
        ("a.toml", "[[datasets]]\nresolution = 512", "E3162"),
        ("a.yaml", "just: a\nlist: [1]", "E3162"),
        ("run.sh", "echo hello", "E3162"),
        ("a.json", '{"model_type": "FLUX_DEV_1", "training_method": "LORA", "base_model_name": "x"}', "E3162"),
    ],
)
def test_what_is_no_configuration_is_refused_by_its_own_name(
    client: TestClient, name: str, text: str, code: str
) -> None:
    answer = open_file(client, name, text)
    assert answer.json()["code"] == code and answer.status_code == 422
    assert name in answer.json()["text"] and "/imports/" not in answer.json()["text"]


def test_a_value_that_cannot_be_leaves_no_way_on(client: TestClient) -> None:
    text = KOHYA.format(folder='"/nowhere"').replace("network_dim = 8", "network_dim = -8")
    address = open_file(client, "a.toml", text).json()["address"]
    page = client.get(address).text
    assert "network_dim = -8 in a.toml" in page and "Continue with these settings" not in page
    slider = "job: extension\nconfig:\n  name: a\n  process:\n  - type: slider\n    model:\n      name_or_path: x\n"
    page = client.get(open_file(client, "b.yaml", slider).json()["address"]).text
    assert "E3162" in page and "/b.yaml" not in page  # it is named as the person knows it
    assert client.post(f"/api{address}/draft", json={}).status_code == 409
