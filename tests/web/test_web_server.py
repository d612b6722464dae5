"""`tetrad web` as a process: it needs little memory and no torch, prints its address, and ends when it is told to."""

import signal
import socket
import sys
from pathlib import Path

import httpx2
import psutil
import pytest
from made_runs import make_run
from web_process import Served, serving, start

from tetrad.errors import TetradError
from tetrad.web.server import open_port, start_url

MAX_MEMORY = 80 << 20


def open_pages(client: httpx2.Client, served: Served) -> None:
    assert client.get(served.url).status_code == 200
    for address in ("/", "/runs/zkr", "/api/runs", "/static/page.js", "/api/runs/zkr/previews/0/0/thumbnail"):
        assert client.get(served.base + address).status_code == 200, address


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_server_is_small_has_no_torch_and_ends_within_seconds_with_open_streams(tmp_path: Path) -> None:
    with serving(tmp_path) as served, httpx2.Client(timeout=20) as client:
        make_run(served.runs)
        open_pages(client, served)
        with client.stream("GET", f"{served.base}/api/live", params={"run": "zkr"}) as stream:
            assert next(stream.iter_lines()).startswith("retry")
            process = psutil.Process(served.process.pid)
            assert process.memory_info().rss <= MAX_MEMORY
            libraries = Path(f"/proc/{process.pid}/maps").read_text()
            assert "torch" not in libraries and "numpy" not in libraries
            assert served.end() < 4 and served.process.returncode in (0, -signal.SIGTERM)
    assert served.url.split("token=")[1] not in (tmp_path / "server.log").read_text()


def test_an_open_page_stays_signed_in_after_a_restart_on_the_same_port(tmp_path: Path) -> None:
    with httpx2.Client(timeout=20) as client:
        with serving(tmp_path) as served:
            assert client.get(served.url).status_code == 200
            served.end()
        again = start(tmp_path, int(served.base.rpartition(":")[2]))
        try:
            assert again.url != served.url and client.get(again.base).status_code == 200
            assert httpx2.get(served.url).status_code == 401  # the token of the first start is worth nothing now
        finally:
            again.end()


def test_a_port_that_is_taken_is_an_error_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TetradError, match=f"port {port} of 127.0.0.1 cannot be opened") as caught:
            open_port("127.0.0.1", port)
        assert (caught.value.code, caught.value.exit_code) == ("E2005", 2)
    with pytest.raises(TetradError, match="E2005"):
        open_port("203.0.113.1", 0)


def test_the_start_url_is_one_that_a_browser_can_open() -> None:
    assert start_url("0.0.0.0", 80, "x") == "http://127.0.0.1:80/start?token=x"
    assert start_url("::1", 80, "x") == "http://[::1]:80/start?token=x"
    assert start_url("studio.example", 80, "x") == "http://studio.example:80/start?token=x"
