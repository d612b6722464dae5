"""The application: the parts that all pages share, the routes of each page, and how errors are answered."""

import errno
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tetrad import __version__
from tetrad.errors import TetradError
from tetrad.locales import Message, _, use_language
from tetrad.web import access, routes
from tetrad.web.data_sets import DataSets
from tetrad.web.device import Devices
from tetrad.web.drafts import Drafts
from tetrad.web.drawing import Choices, Drawing, History, Orders
from tetrad.web.file_library import FileLibrary
from tetrad.web.imports import Imports
from tetrad.web.inputs import Inputs
from tetrad.web.jobs import Job, Queue, Supervisor
from tetrad.web.page_words import as_sentence
from tetrad.web.picks import Picks
from tetrad.web.places import Places
from tetrad.web.planning import Planning
from tetrad.web.preferences import Preferences
from tetrad.web.preparation import Preparation
from tetrad.web.resident import Resident
from tetrad.web.routes.shared import page_values
from tetrad.web.runs import Runs
from tetrad.web.texts import STATIC, choose_language, render
from tetrad.web.thumbnails import Thumbnails
from tetrad.web.web_uis import Destinations

_STATUS_OF_EXIT_CODE = {2: 422, 3: 422, 4: 409, 5: 409, 6: 507, 7: 409, 8: 409}
_REFUSED_WRITES = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EROFS, errno.EACCES, errno.EPERM)
_GONE = ("E4301", "E4303", "E4304", "E4307", "E4321")  # a job, image, data set, draft or web UI that there is not
_SENTENCES = {
    401: _("Open the address that tetrad web printed when it started: it has the token that lets you in."),
    403: _("This request did not come from this page, so nothing was done."),
    404: _("There is nothing at this address. What was here may have been removed or renamed."),
    405: _("This address does not take requests of this kind."),
    408: _("This request took too long."),
    413: _("This request is too large."),
    415: _("This address takes JSON only."),
    422: _("A value of this request cannot be used."),
}


def create_app(
    places: Places,
    hosts: Iterable[str] = access.LOCAL_HOSTS,
    is_stopping: Callable[[], bool] = lambda: False,
    starts_jobs: bool = True,
) -> FastAPI:
    """The page for these places.  `hosts` are the names that it may be asked for under.

    `is_stopping` ends the streams of live data; without `starts_jobs` the queue is shown but not worked on.
    """
    app = FastAPI(
        title="Tetrad",
        version=__version__,
        docs_url=None,  # FastAPI's own page loads its scripts from elsewhere
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(access.require_access), Depends(access.require_whole_letters)],
        lifespan=run_queue,
    )
    state = app.state
    state.places, state.is_stopping = places, is_stopping
    state.runs, state.devices = Runs(places.runs), Devices()
    try:
        state.keys, state.queue = access.Keys.load(places.state), Queue(places.state)
    except (OSError, sqlite3.OperationalError) as error:
        raise refused_write_error(error, places.state) from error
    state.images = Resident("tetrad.web.images_child", log=places.state / "images.log")
    state.thumbnails = Thumbnails(places.thumbnails, state.images)
    state.hosts, state.preferences = frozenset(hosts), Preferences(places.state / "settings.json")
    state.planning = Planning(places.state, places.state / "planning.log")
    state.drawing = Drawing([places.runs], places.state / "drawing.log")
    state.orders = Orders(state.drawing, History(places.state / "generated"))
    state.choices, state.inputs = Choices(places, state.planning, state.preferences), Inputs(places.state / "inputs")
    state.picks = Picks(places.state / "picks", places.models, state.preferences)
    state.destinations = Destinations(places.state / "web-uis.json", places.models, places.runs.parent / "exports")
    state.preparation = Preparation(
        places,
        Drafts(places.state / "drafts"),
        DataSets(places.data),
        Resident("tetrad.web.images_child", log=places.state / "images.log"),
        state.planning,
        state.preferences,
    )
    state.imports = Imports(places.state / "imports", state.preparation.images)
    state.library = FileLibrary(places, state.planning, state.preferences)
    state.supervisor = Supervisor(state.queue, [places.runs], make_room(state.drawing)) if starts_jobs else None
    for module in routes.MODULES:
        app.include_router(module.router)
    # The two addresses that need no cookie: they give one, and show the page that says so.
    app.add_route("/start", sign_in, methods=["GET"], include_in_schema=False)
    app.add_route("/style.css", show_style, methods=["GET"], include_in_schema=False)
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(RequestValidationError, answer_wrong_values)
    app.add_exception_handler(TetradError, answer_known_error)
    app.add_exception_handler(OSError, answer_refused_write)
    app.add_exception_handler(sqlite3.OperationalError, answer_refused_write)
    app.add_middleware(WithLanguage)
    app.add_middleware(access.Guard, hosts=hosts)
    return app


def make_room(drawing: Drawing) -> Callable[[Job], None]:
    """Free the memory of a device before a job starts on it."""
    return lambda job: drawing.give_way(job.wish.device)


@asynccontextmanager
async def run_queue(app: FastAPI) -> AsyncIterator[None]:
    """Work on the queue for as long as the server runs; jobs that have started go on after it."""
    if app.state.supervisor:
        app.state.supervisor.start()
    yield
    if app.state.supervisor:
        app.state.supervisor.stop()
    await app.state.orders.end()
    state = app.state
    for child in (state.drawing, state.library, state.planning, state.preparation.images, state.images):
        await child.end()


class WithLanguage:
    """Around the application: messages are in the language of each request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            use_language(choose_language(request, scope["app"].state.preferences.values.language))
        await self.app(scope, receive, send)


async def sign_in(request: Request) -> Response:
    """Exchange the token of the start URL for the cookie.  401 for another token.

    The answer is a page that goes on by itself: a redirection would still belong to the site with the link, and the
    browser would not send the cookie with it.
    """
    keys = request.app.state.keys
    if not access.is_equal(request.query_params.get("token", ""), keys.token):
        raise HTTPException(401)
    response = HTMLResponse(render("start.html", page_values(request)))
    response.set_cookie(
        keys.cookie_name(request), keys.cookie, max_age=365 * 86_400, httponly=True, samesite="strict", path="/"
    )
    response.headers["cache-control"] = "no-store"
    return response


async def show_style(request: Request) -> Response:
    return Response((STATIC / "style.css").read_bytes(), media_type="text/css", headers={"cache-control": "no-cache"})


async def answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = Message(_SENTENCES.get(error.status_code, _("This request cannot be answered.")))
    return answer(request, error.status_code, {"text": str(sentence)}, error.headers)


async def answer_wrong_values(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = [{"where": list(each["loc"]), "what": each["msg"]} for each in error.errors()]
    return answer(request, 422, {"text": str(Message(_SENTENCES[422])), "wrong": wrong})


async def answer_known_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TetradError)
    status = 404 if error.code in _GONE else _STATUS_OF_EXIT_CODE.get(error.exit_code, 409)
    return answer(request, status, {"text": as_sentence(error.as_record()), "code": error.code})


async def answer_refused_write(request: Request, error: Exception) -> Response:
    """E4202 where a disk is full or read-only, wherever that is noticed; 404 where what is shown went meanwhile.

    Any other error of the system is a fault.
    """
    if isinstance(error, FileNotFoundError | NotADirectoryError) and request.method == "GET":
        return await answer_http_error(request, HTTPException(404))
    if isinstance(error, OSError) and error.errno not in _REFUSED_WRITES:
        raise error
    return await answer_known_error(request, refused_write_error(error, request.app.state.places.state))


def refused_write_error(error: Exception, state: Path) -> TetradError:
    """E4202 for an error of the system or of the queue's database, which names no file."""
    folder, reason = state, str(error)
    if isinstance(error, OSError):
        folder, reason = Path(error.filename or state), error.strerror or reason
    template = _("{folder} cannot be written to ({reason}); free some space, or check the folder's permissions")
    return TetradError("E4202", template, folder=folder, reason=reason)


def answer(request: Request, status: int, record: dict[str, Any], headers: Any = None) -> Response:
    """An error as JSON for programs and scripts, and as a page for people."""
    record = {"code": "", **record}
    if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return JSONResponse(record, status, headers)
    return HTMLResponse(
        render("error.html", {**page_values(request), "error": record, "status": status}), status, headers
    )
