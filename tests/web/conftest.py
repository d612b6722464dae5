"""A page for empty folders, and clients that are signed in to it or not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tetrad.web.app import create_app
from tetrad.web.places import Places

BASE = "http://127.0.0.1:7873"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.of(tmp_path / "runs", None, tmp_path / "data", tmp_path / "state")


@pytest.fixture
def app(places: Places) -> FastAPI:
    return create_app(places, starts_jobs=False)


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
