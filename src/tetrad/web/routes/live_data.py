"""The stream of live data, and the state of the queue: what any page may watch."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from tetrad.web import live
from tetrad.web.device import describe_device, free_disk
from tetrad.web.routes.home import list_rows
from tetrad.web.routes.queue import list_lanes
from tetrad.web.run_view import describe_run
from tetrad.web.runs import Runs
from tetrad.web.texts import render

router = APIRouter()
MAX_RUNS = 20  # that one tab may watch


@router.get("/api/live")
def watch(
    request: Request,
    run: Annotated[list[str] | None, Query()] = None,
    at: str = "",
    list_of_runs: bool = False,
    queue: bool = False,
) -> StreamingResponse:
    """Server-sent events: `log` (new events and steps), `view` (a run's state and figures), `list` (the list of runs
    has changed), `queue` (it has changed), `device`.  `at`, or the header Last-Event-ID, is where the logs go on.
    The view of a run that there is not is null, so that a tab which connects again learns that it was deleted.
    """
    state = request.app.state
    runs: Runs = state.runs
    watched = [live.WatchedRun(name, find_folder(runs, name)) for name in (run or [])[:MAX_RUNS]]
    live.parse_marks(request.headers.get("last-event-id") or at, watched)
    looks: dict[str, tuple[float, live.Look]] = {
        f"view {each.name}": (live.STATE_SECONDS, view_of(runs, each.name)) for each in watched
    }
    if queue:
        looks["queue"] = (live.STATE_SECONDS, lambda: hash(render("lanes.html", list_lanes(request))))
    if list_of_runs:
        looks["list"] = (live.STATE_SECONDS, lambda: hash(render("runs.html", list_rows(request))))
    looks["device"] = (
        live.DEVICE_SECONDS,
        lambda: describe_device(state.devices.read_device(), free_disk(state.places.runs)),
    )
    events = live.stream(request, watched, looks, state.is_stopping)
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


def find_folder(runs: Runs, name: str) -> Path:
    """The folder of a run; where there is none of this name, one that does not exist either."""
    try:
        return runs.path(name)
    except HTTPException:
        return runs.folder / ".no-run"


def view_of(runs: Runs, name: str) -> Callable[[], Any]:
    """Reads the view of a run; None once the run is gone."""

    def read_view() -> Any:
        try:
            return describe_run(runs.read_run(name))
        except HTTPException:  # there is none of this name
            return None

    return read_view
