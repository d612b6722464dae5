"""Only the browser that opened the start URL is answered, and only what comes from the page itself changes anything."""

import asyncio
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from made_runs import make_run
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient

from tetrad.web import access
from tetrad.web.access import Keys, has_own_origin, list_hosts, without_port
from tetrad.web.places import Places, inside
from tetrad.web.routes import MODULES
from tetrad.web.texts import TEMPLATES

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
OPEN = {"/start", "/style.css"}  # one gives the cookie, the other shows how the page looks that says so
# Values for the parameters of addresses; none exists, so that nothing happens even where a request is let in.
VALUES = {
    "name": "nothing",
    "step": "1",
    "number": "1",
    "file": "nothing",
    "image": "nothing",
    "command": "save",
    "task": "nothing",
    "language": "nothing",
}
TRAVERSALS = [
    *(f"{up}etc/passwd" for up in ("../", "../../", "/", "//", "....//", "..;/", "./../")),
    *(f"{up}etc%2fpasswd" for up in ("..%2f", "%2e%2e%2f", "%2e%2e/", "..%252f", "%252e%252e%252f", "%c0%ae%c0%ae%2f")),
    *(f"{up}secret" for up in ("..\\", "..%5c", "%2e%2e%5c", "C:\\", "C:%5c", "c:/", "\\\\host\\", "%5c%5chost%5c")),
    *("..", ".", "%2e%2e", "%2e", "...", "~", "~root", "%00", "zkr%00.png", "zkr\0", "-", " ", "%20", "%0a", "%0d%0a"),
    *("file:///etc/passwd", "http://127.0.0.1/", "/proc/self/environ", "%2fproc%2fself%2fenviron", "/dev/zero"),
    *("..%2fstate%2fkey", "../state/key", "..%2f..%2fstate%2fkey", "zkr/..%2f..", "zkr%2f..%2f..%2fstate", "zkr/../.."),
    *("CON", "NUL", "zkr::$DATA", "zkr:stream", "*", "?", "%3f", "|", "%7c", "<script>", "%3Cscript%3E", '"', "%22"),
    *(".hidden", ".deleted-zkr", "%e2%80%ae", "x" * 300),
]


def list_routes() -> Iterator[tuple[str, str]]:
    """Every method and address of the page."""
    for module in MODULES:
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            address = route.path.replace("{name:path}", "nothing")
            for method in route.methods:
                yield method, address.format_map(VALUES)


ALL = list(list_routes())
CHANGING = [(method, path) for method, path in ALL if method in UNSAFE]
# Addresses without a name, and those of the run that the test makes.
PLAIN = {path for method, path in ALL if "nothing" not in path} | {"/api/runs/zkr", "/runs/zkr"}
FILES = [path for method, path in ALL if method == "GET" and "nothing" in path]


def test_there_are_routes_of_both_kinds() -> None:
    assert len(ALL) > 15 and len(CHANGING) >= 4 and len(FILES) > 8


def test_no_route_answers_a_stranger(stranger: TestClient, app: FastAPI) -> None:
    for method, path in ALL:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": "tetrad-7873=wrong"}):
            response = stranger.request(method, path, headers={**headers, "x-tetrad-csrf": app.state.keys.csrf})
            assert response.status_code == 401, (method, path, headers)
            assert app.state.keys.csrf not in response.text


def test_only_two_addresses_are_open(stranger: TestClient, app: FastAPI) -> None:
    closed = {route.path for module in MODULES for route in module.router.routes}
    assert {
        getattr(route, "path", "") for route in app.router.routes if not isinstance(route, APIRoute)
    } - closed <= OPEN | {""}
    assert stranger.get("/style.css").status_code == 200 and stranger.get("/openapi.json").status_code in (401, 404)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.", "", "127.0.0.1@evil.example"])
def test_a_forged_host_is_refused_before_routing(client: TestClient, host: str) -> None:
    for method, path in ALL:
        response = client.request(method, path, headers={"host": host})
        assert response.status_code == 421 and "Tetrad" not in response.text


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://127.0.0.1:1", "https://127.0.0.1.evil.example", "file://", ""]
)
def test_a_foreign_origin_changes_nothing(client: TestClient, origin: str) -> None:
    for method, path in CHANGING:
        assert client.request(method, path, headers={"origin": origin}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_of_another_site_changes_nothing(client: TestClient, site: str) -> None:
    for method, path in CHANGING:
        assert client.request(method, path, headers={"sec-fetch-site": site}).status_code == 403


def test_without_the_csrf_header_nothing_changes(client: TestClient) -> None:
    for (method, path), value in itertools.product(CHANGING, ("", "wrong", "é".encode())):
        assert client.request(method, path, headers={"x-tetrad-csrf": value}).status_code == 403


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"])
def test_a_form_changes_nothing(client: TestClient, kind: str) -> None:
    """The three kinds that a page of another site can send without asking."""
    for method, path in CHANGING:
        assert client.request(method, path, content=b"a=b", headers={"content-type": kind}).status_code == 415


def test_a_program_may_send_the_token(stranger: TestClient, app: FastAPI) -> None:
    headers = {"authorization": f"Bearer {app.state.keys.token}"}
    assert stranger.get("/api/runs", headers=headers).json() == {"total": 0, "runs": []}
    assert stranger.delete("/api/runs/nothing", headers=headers).status_code == 404
    assert stranger.delete("/api/runs/nothing", headers={**headers, "origin": "null"}).status_code == 403


def test_the_token_gives_a_cookie_that_scripts_and_other_sites_cannot_use(stranger: TestClient, app: FastAPI) -> None:
    assert stranger.get("/start", params={"token": "wrong"}).status_code == 401
    assert stranger.get("/start").status_code == 401
    response = stranger.get("/start", params={"token": app.state.keys.token})
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("tetrad-7873=") and app.state.keys.token not in response.text + cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert stranger.get("/").status_code == 200


def test_an_open_page_stays_signed_in_when_the_server_starts_again(tmp_path: Path) -> None:
    first, second = Keys.load(tmp_path), Keys.load(tmp_path)
    assert first.cookie == second.cookie and first.csrf == second.csrf != first.cookie
    assert first.token != second.token
    assert (tmp_path / "key").stat().st_mode & 0o77 == 0


def test_every_answer_has_the_security_headers(client: TestClient, stranger: TestClient) -> None:
    for response in (
        client.get("/"),
        client.get("/nothing"),
        stranger.get("/"),
        client.get("/", headers={"host": "x"}),
    ):
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"


def test_no_template_has_code_or_style_in_it() -> None:
    for path in TEMPLATES.glob("*.html"):
        text = path.read_text("utf-8")
        assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:|\|\s*safe|https?://", text), path
        for script in re.findall(r"<script[^>]*>", text):
            assert "src=" in script or 'type="application/json"' in script, path


def test_no_name_leads_out_of_the_folders(client: TestClient, places: Places) -> None:
    make_run(places.runs)
    secret = (places.state / "key").read_bytes()
    assert len(set(TRAVERSALS)) >= 60
    for name, pattern in itertools.product(TRAVERSALS, FILES):
        for address in {
            pattern.replace("nothing", name),
            pattern.replace("nothing", "zkr", 1).replace("nothing", name),
        }:
            if "zkr" in address and name not in address:
                continue  # an address of the run itself
            try:
                response = client.get(address)
            except Exception as error:  # an address that the client itself refuses to send
                assert type(error).__name__ == "InvalidURL"
                continue
            assert response.status_code in (200, 401, 404, 405, 422), address
            assert secret not in response.content and b"root:" not in response.content
            # The client shortens an address with dots, which may then be that of a list.
            assert response.status_code != 200 or response.url.path in PLAIN


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\\b", ".hidden", "a\0b", "a\n", "\u202e"])
def test_a_name_is_one_visible_component(tmp_path: Path, name: str) -> None:
    with pytest.raises(HTTPException):
        inside(tmp_path, name)


def test_a_link_out_of_a_folder_is_refused(client: TestClient, places: Places, tmp_path: Path) -> None:
    outside = make_run(tmp_path / "elsewhere")
    make_run(places.runs, "inside")
    (places.runs / "link").symlink_to(outside)
    sample = places.runs / "inside" / "samples" / "step00000000-00.png"
    sample.unlink()
    sample.symlink_to(outside / "samples" / "step00000000-00.png")
    assert client.get("/api/runs/inside/previews/10/0").status_code == 200
    for address in ("/api/runs/link", "/api/runs/link/previews/0/0", "/api/runs/inside/previews/0/0"):
        assert client.get(address).status_code == 404


def test_the_hosts_are_those_of_this_computer() -> None:
    assert list_hosts("127.0.0.1") == {"localhost", "127.0.0.1", "[::1]"}
    assert "studio.example" in list_hosts("studio.example") and "[fe80::1]" in list_hosts("fe80::1")
    assert {"127.0.0.1", "localhost"} < list_hosts("0.0.0.0")
    assert [without_port(host) for host in ("a:1", "[::1]:80", "a", "[::1]", "a:b")] == [
        "a",
        "[::1]",
        "a",
        "[::1]",
        "a:b",
    ]


def test_an_origin_is_compared_as_a_whole() -> None:
    def is_own(**headers: str) -> bool:
        return has_own_origin(Headers(headers))

    assert is_own(host="127.0.0.1:1") and is_own(host="127.0.0.1:1", origin="http://127.0.0.1:1")
    assert not is_own(host="127.0.0.1:1", origin="http://127.0.0.1:1.evil.example")
    assert not is_own(host="127.0.0.1:1", origin="ftp://127.0.0.1:1")


def test_a_json_body_may_be_neither_large_nor_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip() -> dict[str, object]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" " * 1_000_000, "more_body": True}

    async def read_all() -> None:
        receive = access.limit_body(drip)
        for _piece in range(20):
            await receive()

    for limit, code in (("_MAX_JSON_BYTES", 413), ("_MAX_JSON_SECONDS", 408)):
        with monkeypatch.context() as patch, pytest.raises(HTTPException) as caught:
            patch.setattr(access, "_MAX_JSON_BYTES", 10**9)
            patch.setattr(access, limit, 2_500_000 if code == 413 else 0.05)
            asyncio.run(read_all())
        assert caught.value.status_code == code


def test_a_route_may_take_uploads() -> None:
    @access.accepts("application/octet-stream")
    def upload() -> None: ...

    def make_request(kind: str) -> Request:
        headers = [(b"content-type", kind.encode()), (b"transfer-encoding", b"chunked")]
        return Request({"type": "http", "headers": headers, "endpoint": upload})

    access.check_content_type(make_request("application/octet-stream"))
    with pytest.raises(HTTPException):
        access.check_content_type(make_request("text/plain"))
