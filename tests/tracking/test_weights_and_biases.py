"""A run is sent to W&B from what it has written; the same folder is always the same run."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from tetrad.errors import TetradError
from tetrad.judging.scores import CheckpointScores, Score, append_scores
from tetrad.tracking.new_records import LogReader
from tetrad.tracking.weights_and_biases import track


class Recorder:
    """As much of the package wandb as is used."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.logged: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.has_finished = False

    def init(self, **settings: Any) -> "Recorder":
        self.settings = settings
        return self

    def define_metric(self, *_names: str, **_options: str) -> None:
        pass

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def finish(self) -> None:
        self.has_finished = True

    Settings = SimpleNamespace

    @staticmethod
    def Image(path: str) -> str:  # noqa: N802 - the name in wandb
        return path


def write_run(folder: Path) -> Path:
    """A run that was interrupted after two steps, with one sheet of previews."""
    (folder / "samples").mkdir(parents=True)
    (folder / "recipe.toml").write_text("")
    (folder / "plan.toml").write_text("[train]\nsteps = 2\n")
    steps = [
        {"event": "trained", "step": n, "steps": 2, "loss": 1 / n, "grad_norm": None, "learning_rates": {"unet": 1e-4}}
        for n in (1, 2)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps) + '{"step": 3, "lo')
    Image.new("RGB", (8, 8)).save(folder / "samples" / "step00000002-sheet.png")
    sampled = {"time": 0.5, "event": "sampled", "step": 2, "prompt": ""}
    sampled |= {"path": "elsewhere/samples/step00000002-sheet.png"}
    (folder / "events.jsonl").write_text(json.dumps(sampled) + "\n" + json.dumps({**sampled, "prompt": "a zkr"}) + "\n")
    append_scores(folder, CheckpointScores(2, "file", scores={"drift": Score(0.25)}))
    return folder


def test_steps_previews_settings_and_scores_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", recorder)  # type: ignore[arg-type]
    run = write_run(tmp_path / "zkr")
    files = sorted(run.rglob("*"))
    assert track(run, "mine", True, lambda: False) == 2
    assert recorder.logged == [
        {"step": 1, "loss": 1.0, "learning_rate/unet": 1e-4},
        {"step": 2, "loss": 0.5, "learning_rate/unet": 1e-4},
        {"step": 2, "previews": str(run / "samples" / "step00000002-sheet.png")},
    ]
    assert recorder.summary == {"state": "interrupted", "step": 2, "score/drift": 0.25} and recorder.has_finished
    settings = recorder.settings
    assert (settings["project"], settings["mode"], settings["config"]["train"]) == ("mine", "offline", {"steps": 2})
    (run / "resume").mkdir()  # as while it trains
    (run / "resume" / "start.json").write_text('{"started": 7.0}')
    track(run, "mine", True, lambda: False)
    assert recorder.settings["id"] == settings["id"] and set(files) < set(run.rglob("*"))
    track(write_run(tmp_path / "other"), "mine", True, lambda: False)
    assert recorder.settings["id"] != settings["id"]


def test_a_package_that_is_missing_or_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "zkr")
    monkeypatch.setitem(sys.modules, "wandb", None)  # type: ignore[arg-type]
    with pytest.raises(TetradError, match="needs the package wandb") as raised:
        track(run, "mine", False, lambda: False)
    assert raised.value.code == "E3194"

    class Refusing(Recorder):
        def init(self, **settings: Any) -> "Recorder":
            raise RuntimeError("api_key not configured\nmore")

    monkeypatch.setitem(sys.modules, "wandb", Refusing())  # type: ignore[arg-type]
    with pytest.raises(TetradError, match=r"\(api_key not configured\); run wandb login"):
        track(run, "mine", False, lambda: False)


def test_a_log_is_read_as_it_grows_and_again_where_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reader = LogReader(path)
    assert not list(reader.read_new())
    path.write_text('{"step": 1}\nnot JSON\n{"step"')
    assert list(reader.read_new()) == [{"step": 1}]
    with path.open("a") as file:
        file.write(": 2}\n")
    assert list(reader.read_new()) == [{"step": 2}]
    path.write_text('{"step": 1}\n')
    assert list(reader.read_new()) == [{"step": 1}]
