"""Serve the page with uvicorn, print the address that lets one in, and end within two seconds when asked to."""

import os
import socket
import webbrowser
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.web import access
from tetrad.web.app import create_app
from tetrad.web.places import Places

_STOP_SECONDS = 2
_WAITING_CONNECTIONS = 128


def serve(places: Places, host: str, port: int, announce: Callable[[str], None], opens_browser: bool = True) -> None:
    """Serve until Ctrl-C or SIGTERM.  `announce` gets the start URL once the port is open.  E2005 where it is taken."""
    listener = open_port(host, port)
    app = create_app(places, access.list_hosts(host), lambda: server.should_exit)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # it would have the token
            server_header=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )
    url = start_url(host, listener.getsockname()[1], app.state.keys.token)
    announce(url)
    if opens_browser:
        webbrowser.open(url)
    with suppress(KeyboardInterrupt):  # which uvicorn raises again once everything has ended
        server.run(sockets=[listener])


def open_port(host: str, port: int) -> socket.socket:
    """A socket that listens on this address; port 0 takes any free one.  E2005 where that is not possible."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if os.name != "nt":  # where it would let two servers share a port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_WAITING_CONNECTIONS)  # so that a browser that is opened now waits until the page is ready
    except (OSError, OverflowError) as error:
        listener.close()
        template = _("port {port} of {host} cannot be opened ({reason}); choose another with --port")
        reason = getattr(error, "strerror", None) or error
        raise TetradError("E2005", template, port=port, host=host, reason=reason) from error
    return listener


def start_url(host: str, port: int, token: str) -> str:
    """The address that lets a browser in; of a server that listens everywhere, the one for this computer."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/start?token={token}"
