"""Sends the metrics and previews of a run to Weights & Biases, beside the run and without touching it."""

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tetrad.documents import read_stored_values
from tetrad.errors import TetradError
from tetrad.judging.scores import read_scores
from tetrad.locales import _
from tetrad.run.status import RunStatus, read_log, read_status
from tetrad.tracking.new_records import LogReader

_LOOK_SECONDS = 2.0
_METRICS = ("loss", "grad_norm", "learning_rate")


def track(run: Path, project: str, offline: bool, is_stopped: Callable[[], bool]) -> int:
    """Send what the run has written, and what it still writes until it ends; returns the number of steps.

    The same folder always becomes the same run of W&B. E3194 where the package is missing or refuses.
    """
    tracker = start(run, project, offline)
    metrics, events, steps = LogReader(run / "metrics.jsonl"), LogReader(run / "events.jsonl"), 0
    try:
        while True:
            has_ended = read_status(run).state not in ("running", "paused")  # asked first: what comes later is read
            for record in metrics.read_new():
                tracker.log({"step": record.get("step"), **select_metrics(record)})
                steps += 1
            for record in events.read_new():
                if preview := find_preview(run, record):
                    tracker.log({"step": record.get("step"), "previews": _image(preview)})
            if has_ended or is_stopped():
                break
            time.sleep(_LOOK_SECONDS)
        tracker.summary.update(summarize(run, read_status(run)))
    finally:
        tracker.finish()
    return steps


def start(run: Path, project: str, offline: bool) -> Any:
    """The run at W&B; E3194 where that is impossible."""
    wandb = _import()
    try:
        tracker = wandb.init(
            project=project,
            name=run.name,
            id=find_id(run),
            resume="allow",
            dir=str(run),
            config=read_stored_values(run / "plan.toml"),
            mode="offline" if offline else "online",
            settings=wandb.Settings(console="off", x_disable_stats=True, silent=True),
        )
        tracker.define_metric("step")
        tracker.define_metric("*", step_metric="step")
    except Exception as error:  # whatever it raises without a login or a network
        template = _(
            "W&B cannot be used ({reason}); run wandb login, or give --offline and send it later with wandb sync"
        )
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TetradError("E3194", template, reason=reason) from error
    return tracker


def find_id(run: Path) -> str:
    """An id that is the run's own: the same whenever its folder is sent, and another one for another run."""
    events = run / "events.jsonl"  # only what is written at the start stays as it is, also when the run has ended
    started = next((each.get("time") for each in read_log(events)), None) if events.is_file() else None
    started = started or (run / "recipe.toml").stat().st_mtime
    return hashlib.sha256(f"{run.name} {started}".encode()).hexdigest()[:16]


def select_metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a step, with the learning rate of each part."""
    rates = record.get("learning_rates") or {}
    found = {name: record.get(name) for name in _METRICS} | {f"learning_rate/{part}": rates[part] for part in rates}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def find_preview(run: Path, record: Mapping[str, Any]) -> Path | None:
    """The contact sheet of a step, where that is what the record is about."""
    if record.get("event") != "sampled" or record.get("prompt"):
        return None
    path = run / "samples" / Path(str(record.get("path", ""))).name
    return path if path.is_file() else None


def summarize(run: Path, status: RunStatus) -> dict[str, Any]:
    """How the run has ended, and its last scores."""
    rows, _problems = read_scores(run)
    scores = {f"score/{name}": score.value for name, score in (rows[-1].scores if rows else {}).items()}
    return {"state": status.state, "step": status.step, **scores}


def _image(path: Path) -> Any:
    return _import().Image(str(path))


def _import() -> Any:
    try:
        import wandb  # type: ignore[import-not-found]
    except ImportError as error:
        template = _("tetrad track needs the package wandb; run {command} in Tetrad's folder")
        command = 'python -m pip install -c constraints.txt -e ".[wandb]"'
        raise TetradError("E3194", template, command=command) from error
    return wandb
