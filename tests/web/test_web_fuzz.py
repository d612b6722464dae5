"""Bodies and parameters of the wrong kind, for every route: each is answered with a sentence, and never with a 500."""

import errno
import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import OperationalError
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from made_runs import make_run
from PIL import Image
from starlette.testclient import TestClient
from test_access import TRAVERSALS

from tetrad.errors import TetradError
from tetrad.web.app import create_app
from tetrad.web.places import Places
from tetrad.web.routes import MODULES

# Well-formed enough to reach the code behind the check of types.
GOOD: dict[str, Any] = {
    "prompt": "a zkr",
    "file": "zkr.safetensors",
    "strength": 1.0,
    "is_starred": True,
    "destination": "exports",
    "path": "/nowhere",
    "box": [0, 0, 10, 10],
    "vaes": ["nothing"],
    "text": "x",
    "texts": {},
    "do": "add",
}
WRONG: tuple[Any, ...] = (None, 10**30, float("nan"), "x", "\0", "\ud800", [None])
NOT_JSON = (b"{", b"null", b'"x"', b"\xff\xfe", b"[" * 5_000, b"{}")
CHILDREN = ("/check", "/parameters", "/compare", "/models", "/models/{name}")  # which take longer
TEXTS = ("", "-1", "9" * 400, "x", "\0", "../../etc/passwd", "nan", "<script>", "\u202e")
# What only begins a process or answers without an end, whatever comes with the request.
LEFT_OUT = (
    "/api/settings/check-up",
    "/api/live",
    "/api/demo",
    "/known",
    "/methods",
    "/plan",
    "/start",
    "/recipe",
    "/word",
    "/model",
)


@pytest.fixture
def names(client: TestClient, places: Places) -> dict[str, str]:
    """Values for the parameters of addresses, each of something that exists."""
    (make_run(places.runs) / "zkr.safetensors").write_bytes(b"damaged")
    draft = client.post("/api/drafts").json()["id"]
    content = io.BytesIO()
    Image.effect_noise((300, 300), 50).convert("RGB").save(content, "PNG")
    upload: dict[str, Any] = {"params": {"file": "a.png"}, "content": content.getvalue()}
    client.post(f"/api/drafts/{draft}/files", headers={"content-type": "application/octet-stream"}, **upload)
    lines = map(json.loads, client.get(f"/api/drafts/{draft}/images").text.splitlines())
    image = next(line["id"] for line in lines if "id" in line)
    file, task, language = "zkr.safetensors", "subject", "en"
    return {"draft": draft, "image": image, "file": file, "task": task, "language": language, "command": "save"}


def list_routes(*methods: str) -> Iterator[tuple[str, APIRoute]]:
    for route in itertools.chain.from_iterable(module.router.routes for module in MODULES):
        assert isinstance(route, APIRoute)
        if not route.path.endswith(LEFT_OUT):
            yield from ((method, route) for method in sorted((route.methods or set()) & set(methods)))


def fill(path: str, names: dict[str, str]) -> str:
    name = "zkr" if "/runs/" in path else names["draft"] if "/drafts/" in path or "/new/" in path else "nothing"
    step = "words" if "/new/" in path else "10"
    return path.replace("{name:path}", "page.js").format_map({**names, "name": name, "number": "1", "step": step})


def list_bodies(route: APIRoute) -> Iterator[bytes]:
    yield from NOT_JSON
    for body in route.dependant.body_params:
        fields = body.field_info.annotation.model_fields  # type: ignore[union-attr]
        good = {name: GOOD[name] for name in fields if name in GOOD}
        for name, value in itertools.product(fields, WRONG):
            yield json.dumps({**good, name: value}).encode()


def test_no_body_of_the_wrong_kind_is_a_fault_of_the_program(client: TestClient, names: dict[str, str]) -> None:
    count = 0
    for method, route in list_routes("POST", "PUT", "PATCH"):
        if hasattr(route.endpoint, "content_types"):
            continue
        asks_child = route.path.endswith(CHILDREN)
        for body in itertools.islice(list_bodies(route), 10 if asks_child else None):
            answer = client.request(
                method, fill(route.path, names), content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code < 500, (route.path, body[:200])
            assert answer.status_code < 400 or answer.json()["text"], (route.path, body[:200])
            count += 1
    assert count > 250


def test_no_parameter_of_the_wrong_kind_is_a_fault_of_the_program(client: TestClient, names: dict[str, str]) -> None:
    for method, route in list_routes("GET", "DELETE"):
        for parameter, text in itertools.product(route.dependant.query_params, TEXTS):
            answer = client.request(method, fill(route.path, names), params={parameter.name: text})
            assert answer.status_code < 500, (route.path, parameter.name, text)
        if "{number}" in route.path:
            path = route.path.replace("{number}", "9" * 30)
            assert client.request(method, fill(path, names)).status_code < 500, route.path


@pytest.mark.parametrize(
    "name", ["CON.png", "a\0.png", "../../x.png", "x" * 5_000 + ".png", "", ".png", "\n.txt", "a.zip"]
)
def test_no_upload_is_a_fault_of_the_program(
    client: TestClient, app: FastAPI, names: dict[str, str], name: str
) -> None:
    outside = {path for path in app.state.places.data.parent.rglob("*") if app.state.places.data not in path.parents}
    for method, route in list_routes("POST", "PUT"):
        for kind, content in itertools.product(getattr(route.endpoint, "content_types", ())[:1], (b"", b"x")):
            parameters = {each.name: name for each in route.dependant.query_params}
            answer = client.request(
                method, fill(route.path, names), params=parameters, content=content, headers={"content-type": kind}
            )
            assert answer.status_code < 500, route.path
    found = {path for path in app.state.places.data.parent.rglob("*") if app.state.places.data not in path.parents}
    assert all(app.state.places.state in path.parents for path in found - outside)


def test_a_whole_disk_is_no_folder_of_images(client: TestClient, names: dict[str, str]) -> None:
    answer = client.post(f"/api/drafts/{names['draft']}/folder", json={"path": "/"})
    assert answer.status_code == 404 and answer.json()["code"] == "E4304"


def test_a_state_folder_that_cannot_be_written_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "state" / "queue.sqlite").mkdir(parents=True)
    for folder in (tmp_path / "file" / "state", tmp_path / "state"):
        with pytest.raises(TetradError, match="cannot be written to") as caught:
            create_app(Places.of(tmp_path / "runs", None, tmp_path / "data", folder), starts_jobs=False)
        assert caught.value.code == "E4202"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OperationalError("disk is full")])
def test_a_full_disk_is_said_wherever_it_is_noticed(
    client: TestClient, app: FastAPI, names: dict[str, str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_args: object, **_values: object) -> None:
        raise error

    monkeypatch.setattr("tetrad.web.drafts.replace_file", refuse)
    monkeypatch.setattr("tetrad.web.inputs.tempfile.NamedTemporaryFile", refuse)
    monkeypatch.setattr(app.state.queue, "add", refuse)
    png = {"headers": {"content-type": "image/png"}, "params": {"name": "a.png"}, "content": b"x"}
    draft = f"/api/drafts/{names['draft']}"
    for method, path, values in (
        ("POST", "/api/demo", {}),
        ("POST", "/api/drafts", {}),
        ("PATCH", draft, {"json": {"goal": "style"}}),
        ("POST", "/api/generate/inputs", png),
    ):
        answer = client.request(method, path, **values)
        assert (answer.status_code, answer.json()["code"]) == (409, "E4202"), path
    assert client.get(draft).json()["goal"] == "person"


def test_no_name_leads_to_a_removal_elsewhere(client: TestClient, app: FastAPI, names: dict[str, str]) -> None:
    folder = app.state.places.state.parent
    before = {path for path in folder.rglob("*") if path.suffix not in (".log", ".sqlite-wal", ".sqlite-shm")}
    for (_method, route), name in itertools.product(list_routes("DELETE"), TRAVERSALS):
        # The client shortens an address with dots to that of the folder above, which may be removed.
        if "{number}" in route.path or {".", ".."} & {*name.split("/")}:
            continue
        for part in ("{name}", "{image}"):
            address = fill(route.path.replace(part, quote(name, safe="%/")), names)
            if part in route.path:
                assert client.delete(address).status_code in (404, 405, 409), address
    assert before <= set(folder.rglob("*"))
