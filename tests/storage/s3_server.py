"""An S3 server on loopback whose faults can be chosen: refused, reset and slow requests."""

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "bucket"


class Server:
    """The server, its requests as (method, path), and the fault of each."""

    def __init__(self) -> None:
        self.inner = DomainDispatcherApplication(create_backend_app)
        self.requests: list[tuple[str, str]] = []
        self.faults: list[str] = []  # of the next requests, the first one first
        self.endless = ""  # of all requests for objects

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        fault = self.faults.pop(0) if self.faults else self.endless
        if fault == "refuse":
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        if fault == "reset":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        if fault == "wait":
            time.sleep(0.5)
        answer: Iterable[bytes] = self.inner(environ, start_response)
        return answer

    def count(self, method: str, name: str) -> int:
        return sum(each == method and path.endswith(name) for each, path in self.requests)


class _Quiet(WSGIRequestHandler):
    def log(self, *_arguments: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[Server]:
    """A running server with an empty bucket, which the environment leads to."""
    import s3fs

    server = Server()
    running = make_server("127.0.0.1", 0, server, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{running.server_port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setattr(s3fs.S3FileSystem, "cachable", False)  # of another server
        patch.setattr(s3fs.S3FileSystem, "retries", 1)
        s3fs.S3FileSystem().mkdir(BUCKET)
        server.requests.clear()
        yield server
    running.shutdown()
    thread.join()
