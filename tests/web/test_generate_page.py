"""Images ordered on the page are kept with their settings; what goes wrong is said, and nothing else is shown."""

import io
import json
import time
from pathlib import Path
from typing import Any

from fake_drawing import FakeDrawing, drawing
from fastapi import FastAPI
from made_runs import bring_to_life, make_run
from PIL import Image
from starlette.testclient import TestClient

from tetrad.web.app import create_app
from tetrad.web.places import Places

__all__ = ["drawing"]
XSS = "</script><img src=x onerror=alert(1)>"


def order(client: TestClient, **settings: Any) -> str:
    response = client.post("/api/generate/orders", json={"prompt": "a cat", **settings})
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


def follow(client: TestClient, id: str, position: int = 0) -> list[dict[str, Any]]:
    text = client.get(f"/api/generate/orders/{id}/events", params={"position": position}).text
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def history(client: TestClient) -> list[dict[str, Any]]:
    images: list[dict[str, Any]] = client.get("/api/generate/history").json()["images"]
    return images


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "blue").save(content, "PNG")
    return content.getvalue()


def test_an_order_is_followed_from_any_event_on_and_its_images_are_kept(
    client: TestClient, drawing: FakeDrawing, places: Places
) -> None:
    id = order(client, num_images=2, seed=7, steps=12)
    events = follow(client, id)
    assert [each["event"] for each in events] == ["waiting", "step", "image", "step", "image", "done"]
    assert follow(client, id, 4) == events[4:] and str(places.state) not in json.dumps(events)
    newest, first = history(client)
    assert (first["seed"], newest["seed"], first["settings"]["steps"]) == (7, 8, 12)
    assert newest["caption"] == ["8", "16 × 16", "Euler a", "30"] and not newest["has_without"]
    assert client.get(f"/api/images/{newest['id']}").content.startswith(b"\x89PNG")
    assert drawing.requests[0]["model"] == "builtin" and "denoising_strength" not in drawing.requests[0]


def test_images_outlive_the_server_and_are_deleted_with_what_belongs_to_them(
    client: TestClient, drawing: FakeDrawing, places: Places
) -> None:
    follow(client, order(client, seed=-1, compare=True, prompt="a zkr <lora:zkr:1>"))
    (image,) = history(client)
    with_networks, without = drawing.requests
    assert without["without_networks"] and without["seed"] == image["seed"] and with_networks["seed"] == -1
    assert image["has_without"] and client.get(f"/api/images/{image['id']}/without").status_code == 200
    again = create_app(places, starts_jobs=False)
    assert again.state.orders.history.describe(image["id"]) == image
    assert client.delete(f"/api/images/{image['id']}").status_code == 204
    assert history(client) == [] and not [path for path in (places.state / "generated").rglob("*") if path.is_file()]


def test_a_cancelled_order_ends(client: TestClient, drawing: FakeDrawing) -> None:
    drawing.does = "wait"
    id = order(client)
    assert client.get("/api/generate/state").json()["order"] == id
    assert client.delete(f"/api/generate/orders/{id}").status_code == 204
    assert follow(client, id)[-1] == {"event": "cancelled"} and drawing.cancelled == 1
    assert client.get("/api/generate/state").json()["order"] == ""


def test_what_goes_wrong_is_said_with_its_code_and_in_words(client: TestClient, drawing: FakeDrawing) -> None:
    drawing.does = "fail"
    assert follow(client, order(client))[-1]["code"] == "E5101"
    drawing.does = "give way"
    client.headers["accept-language"] = "zh-CN"
    (last,) = follow(client, order(client))[1:]
    assert last["event"] == "gave_way" and "zkr" in last["text"] and "训练" in last["text"]


def test_a_training_on_the_device_is_named(client: TestClient, places: Places) -> None:
    assert client.get("/api/generate/state").json()["busy"] == ""
    bring_to_life(make_run(places.runs))
    state = client.get("/api/generate/state").json()
    assert state["run"] == "zkr" and state["busy"].startswith("zkr is training on this device.")


def test_files_are_chosen_by_ids_that_were_given(client: TestClient, app: FastAPI, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    for settings in ({"init_image": str(secret)}, {"init_image": "../key.png"}, {"init_image": "1-1"}):
        response = client.post("/api/generate/orders", json={"prompt": "a cat", **settings})
        assert response.status_code == 404, settings

    async def nothing(*_values: Any) -> dict[str, Any]:
        return {"networks": [], "models": [], "vaes": []}

    app.state.planning.list_choices = nothing
    for settings in ({"model": str(secret)}, {"vae": "/etc/passwd"}):
        response = client.post("/api/generate/orders", json={"prompt": "a cat", **settings})
        assert response.status_code == 409 and response.json()["code"] == "E5160"


def test_a_dropped_image_is_started_from_and_anything_else_is_refused(
    client: TestClient, drawing: FakeDrawing, places: Places
) -> None:
    def drop(name: str, content: bytes) -> Any:
        headers = {"content-type": "image/png"}
        return client.post("/api/generate/inputs", params={"name": name}, content=content, headers=headers)

    dropped = drop(f"{XSS}.png", png()).json()
    assert client.get(f"/api/generate/inputs/{dropped['id']}").headers["content-type"] == "image/webp"
    follow(client, order(client, init_image=dropped["id"], mask=dropped["id"], mask_blur=2, denoising_strength=0.5))
    request = drawing.requests[0]
    assert Path(request["init_image"]).parent == places.state / "inputs" == Path(request["mask"]).parent
    assert (request["denoising_strength"], request["mask_blur"]) == (0.5, 2)
    assert drop("page.html", b"<html>").json()["code"] == "E4312"
    assert drop("cat.png", b"not an image").status_code == 409
    assert not list((places.state / "inputs").glob(".incoming*"))


def test_prompts_are_text_on_the_page(client: TestClient, drawing: FakeDrawing) -> None:
    follow(client, order(client, prompt=XSS))
    page = client.get("/generate").text
    assert "<img src=x" not in page and "\\u003cimg src=x" in page


def test_too_much_at_once_is_refused(client: TestClient, drawing: FakeDrawing) -> None:
    for settings in ({"num_images": 0}, {"num_images": 17}, {"prompt": "x" * 50_001}, {"steps": "many"}):
        assert client.post("/api/generate/orders", json={"prompt": "a cat", **settings}).status_code == 422
    assert drawing.requests == []


def test_a_thousand_images_are_listed_quickly(client: TestClient, places: Places) -> None:
    folder = places.state / "generated"
    folder.mkdir(parents=True)
    for number in range(1_000):
        (folder / f"{1_700_000_000_000 + number}-1.png").write_bytes(b"")
    start = time.monotonic()
    answer = client.get("/api/generate/history").json()
    assert (answer["total"], len(answer["images"])) == (1_000, 28) and time.monotonic() - start < 1
