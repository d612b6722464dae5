"""Who may ask the page for something: the browser that opened the start URL, on an address that is this computer's.

The start URL has a random token. It is exchanged for a cookie that scripts cannot read and that other sites cannot
send. The Host header is checked before routing, against DNS rebinding; what changes something also needs an Origin of
this page, a CSRF header, and JSON. A program may send the token as `Authorization: Bearer …` instead of the cookie.
"""

import asyncio
import hashlib
import hmac
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import psutil
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSRF_HEADER = "x-tetrad-csrf"
Endpoint = TypeVar("Endpoint", bound=Callable[..., object])
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_ADDRESS_KINDS = (socket.AF_INET, socket.AF_INET6)
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_JSON = "application/json"
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")
_WHOLE_ESCAPES = re.compile(rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]")  # and backslashes
_MAX_JSON_BYTES, _MAX_JSON_SECONDS = 4_000_000, 30.0  # of a request's body; uploads have limits of their own
_SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Keys:
    """The token of this start, and what cookies and forms prove; the secret stays, so that open pages stay signed in
    when the server is started again."""

    secret: bytes
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @classmethod
    def load(cls, folder: Path) -> "Keys":
        """The keys with the secret of the state folder, which is made on the first start."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "key"
        with (
            suppress(FileExistsError),
            os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as new,
        ):
            new.write(secrets.token_bytes(32))
        secret = path.read_bytes()
        if len(secret) != 32:  # cut off by a full disk: everybody has to sign in again
            path.unlink()
            return cls.load(folder)
        return cls(secret)

    def cookie_name(self, request: Request) -> str:
        """Cookies of all ports of a computer are one jar, so the name has the port."""
        return f"tetrad-{request.url.port or 80}"

    @property
    def cookie(self) -> str:
        return self._derive("cookie")

    @property
    def csrf(self) -> str:
        return self._derive("csrf")

    def _derive(self, purpose: str) -> str:
        return hmac.new(self.secret, purpose.encode(), hashlib.sha256).hexdigest()


def require_access(request: Request) -> None:
    """The dependency of every route: 401 without the cookie or the token, 403 for a request of another site."""
    keys: Keys = request.app.state.keys
    is_program = is_equal(request.headers.get("authorization", "").removeprefix("Bearer "), keys.token)
    if not is_program and not is_signed_in(request):
        raise HTTPException(401)
    if request.method in SAFE_METHODS:
        return
    if not has_own_origin(request.headers):
        raise HTTPException(403)
    if not is_program and not is_equal(request.headers.get(CSRF_HEADER, ""), keys.csrf):
        raise HTTPException(403)
    check_content_type(request)


async def require_whole_letters(request: Request) -> None:
    """The dependency of every route: 422 for half characters (surrogates), which JSON may have and no file can hold."""
    is_json = request.headers.get("content-type", "").startswith(_JSON)
    if is_json and _HALF_CHARACTER.search(_WHOLE_ESCAPES.sub(b"", await request.body())):
        raise HTTPException(422)


def is_signed_in(request: Request) -> bool:
    """Whether the browser has the cookie."""
    keys: Keys = request.app.state.keys
    return is_equal(request.cookies.get(keys.cookie_name(request), ""), keys.cookie)


def accepts(*content_types: str) -> Callable[[Endpoint], Endpoint]:
    """Let a route take bodies of these types instead of JSON, which it reads piece by piece: for uploads."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.content_types = content_types  # type: ignore[attr-defined]
        return endpoint

    return mark


def check_content_type(request: Request) -> None:
    """415 unless the body is of a type that the route takes: JSON, or what `accepts` says."""
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and content_type not in getattr(request.scope.get("endpoint"), "content_types", (_JSON,)):
        raise HTTPException(415)


def has_own_origin(headers: Headers) -> bool:
    """Whether a request comes from this very page, or from a program, which sends neither header."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.lower() == headers.get("host", "").lower()


def is_equal(given: str, expected: str) -> bool:
    """Compare in a time that does not depend on where the first difference is."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def list_hosts(host: str) -> frozenset[str]:
    """The names under which the page may be asked for when it listens on `host`."""
    if host in ("127.0.0.1", "localhost", "::1"):
        return frozenset(LOCAL_HOSTS)
    names = [*LOCAL_HOSTS, _bracket(host.lower())]
    if host in ("0.0.0.0", "::", ""):  # all addresses of this computer
        names += [socket.gethostname().lower(), socket.getfqdn().lower()]
        for addresses in psutil.net_if_addrs().values():
            kinds = {each.address: each[0] for each in addresses}
            names += [_bracket(name.partition("%")[0]) for name, kind in kinds.items() if kind in _ADDRESS_KINDS]
    return frozenset(names)


def _bracket(address: str) -> str:
    return f"[{address}]" if ":" in address else address


class Guard:
    """Around the whole application: refuses a foreign Host before routing, limits JSON, adds the security headers."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app, self.hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _value in message["headers"]}
                new = [(name.encode(), value.encode()) for name, value in _SECURITY_HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in new if pair[0] not in own)]
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or without_port(hosts[0]).lower() not in self.hosts:
            await PlainTextResponse("421 This address is not served here.", 421)(scope, receive, send_with_headers)
            return
        is_json = any(name == b"content-type" and value.startswith(_JSON.encode()) for name, value in scope["headers"])
        await self.app(scope, limit_body(receive) if is_json else receive, send_with_headers)


def limit_body(receive: Receive) -> Receive:
    """Refuse a body that is too large (413) or that comes too slowly (408), however its length was announced."""
    size, deadline = 0, time.monotonic() + _MAX_JSON_SECONDS
    is_whole = False

    async def receive_within_limits() -> Message:
        nonlocal size, is_whole
        if is_whole:  # what comes now is only that the browser has gone
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise HTTPException(408) from None
        size += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if size > _MAX_JSON_BYTES:
            raise HTTPException(413)
        return message

    return receive_within_limits


def without_port(host: str) -> str:
    """`[::1]:7860` → `[::1]`; any other text stays as it is, and is in no list."""
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdigit() and not name.endswith(":") else host
