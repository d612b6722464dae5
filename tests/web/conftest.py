"""A page for empty folders, and clients that are signed in to it or not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.testclient import TestClient
from warm_children import STARTERS, find_warm_python

from tetrad.web.app import create_app
from tetrad.web.places import Places

BASE = "http://127.0.0.1:7873"


class WarmPython:
    """In the place of `sys` in modules that start children: they need not import PyTorch."""

    @property
    def executable(self) -> str:
        return find_warm_python()  # which is started when the first child is


@pytest.fixture(autouse=True)
def warm_children(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in STARTERS:
        monkeypatch.setattr(f"{module}.sys", WarmPython())


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.of(tmp_path / "runs", None, tmp_path / "data", tmp_path / "state")


@pytest.fixture(scope="session")
def routes() -> list[BaseRoute]:
    """Of all apps: FastAPI would work on those of each app for 0.2 s."""
    return []


@pytest.fixture
def app(places: Places, routes: list[BaseRoute]) -> FastAPI:
    app = create_app(places, starts_jobs=False)
    routes[:] = routes or app.router.routes
    app.router.routes[:] = routes
    return app


@pytest.fixture
def stranger(app: FastAPI) -> Iterator[TestClient]:
    """A browser without the cookie."""
    with TestClient(app, BASE) as client:
        yield client


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A browser that has opened the start URL, and sends the CSRF header as the page's scripts do."""
    with TestClient(app, BASE, headers={"accept-language": "en"}) as client:
        assert client.get("/start", params={"token": app.state.keys.token}).status_code == 200
        client.headers["x-tetrad-csrf"] = app.state.keys.csrf
        yield client
