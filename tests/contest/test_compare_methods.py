"""A comparison of two methods on a tiny model: trained, killed, gone on with, judged, answered."""

import signal
from html import escape
from pathlib import Path
from typing import IO, ClassVar

import pytest
from commands import Command
from commands import run as run_command
from PIL import Image
from short_runs import save_model_and_images

from tetrad.contest import compare_methods, make_wish, recipes, trainings
from tetrad.contest.wish import Budget, Wish, parse_budget, parse_methods
from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.run.events import Event, Note
from tetrad.run.rehearsal import Rehearsal
from tetrad.run.resume.start import START_FILE
from tetrad.run.status import read_status

_METHODS = "lora,textual-inversion"


class _Process:
    """A training in a fork of a process that has imported PyTorch already; it dies as soon as `victim` has begun."""

    victim: Path | None = None
    started: ClassVar[list[list[str]]] = []

    def __init__(self, arguments: list[str], log: IO[bytes], mark: Path) -> None:
        self.command = Command(*arguments)
        self.started.append(arguments)
        self.code: int | None = None

    def poll(self) -> int | None:
        if self.victim and (self.victim / START_FILE).is_file() and self.command.is_running:
            self.command.send_signal(signal.SIGKILL)
        if self.code is None and not self.command.is_running:
            self.code = self.command.wait().returncode
        return self.code

    def terminate(self) -> None:
        self.command.send_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("contest"), 3)


def wish_for(place: Path, budget: str = "12") -> Wish:
    settings = ("data.resolution=64", "method.rank=2", "train.learning_rate=1e-2", "sample.steps=2")
    images, model = str(place / "images"), str(place / "tiny.safetensors")
    return make_wish(images, "object", model, "zkr", "", _METHODS, budget, "cpu", settings)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch, place: Path) -> list[Event]:
    monkeypatch.setattr(trainings, "start_own_process", _Process)
    monkeypatch.setattr(trainings, "_LOOK_SECONDS", 0.02)
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))
    _Process.started.clear()
    return []


def test_a_comparison_goes_on_after_a_kill_and_keeps_what_it_has(
    place: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, wish = place / "out", wish_for(place)
    monkeypatch.setattr(_Process, "victim", out / "zkr-lora")
    with pytest.raises(TetradError, match="E5504"):
        compare_methods(wish, out, 4, on_event=events.append)
    assert [event.code for event in events if isinstance(event, Note)] == ["W5503"]
    assert read_status(out / "zkr-textual-inversion").state == "finished"
    assert read_status(out / "zkr-lora").state == "interrupted"

    monkeypatch.setattr(_Process, "victim", None)
    _Process.started.clear()
    found = compare_methods(wish, out, 4, on_event=events.append)
    assert found is not None and _Process.started == [["resume", str(out / "zkr-lora")]]
    assert {result.method: (result.step, result.views) for result in found.results} == {
        "textual-inversion": (12, 12.0),
        "lora": (12, 12.0),
    }
    assert all({"likeness", "obedience", "kept", "leak"} <= set(result.scores) for result in found.results)
    assert found.results[0].scores["leak"].value == 0 and found.judged.base_scores["leak"].value == 0
    with Image.open(found.sheet) as sheet:
        assert sheet.format == "WEBP" and sheet.width == 2 * 28 + 330 + 4 * 268 - 12
    page = found.page.read_text("utf-8")
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert escape(str(found.answer.reason)) in page

    record = parse_json((out / "comparison.json").read_text("utf-8"))
    assert record["methods"]["lora"]["file_bytes"] == (out / "zkr-lora/zkr-lora.safetensors").stat().st_size
    assert record["answer"]["reason"] and record["trigger_word"] == "zkr" and record["budget"]["steps"] == 12
    _Process.started.clear()
    again = compare_methods(wish, out, 4, on_event=lambda event: pytest.fail(f"{event} again"))
    assert again is not None and again.as_record() == found.as_record() and not _Process.started

    with pytest.raises(TetradError, match=r"E3272.*budget"):
        compare_methods(wish_for(place, "13"), out)
    (out / "comparison.json").write_text("{", "utf-8")
    with pytest.raises(TetradError, match=r"E3272.*comparison\.json"):
        compare_methods(wish, out)


def test_a_stop_keeps_everything_and_nothing_is_judged(place: Path, events: list[Event]) -> None:
    out = place / "stopped"
    assert compare_methods(wish_for(place), out, 4, lambda: bool(_Process.started), events.append) is None
    assert len(_Process.started) == 1 and not (out / "images").exists()


def test_a_run_of_another_recipe_is_not_taken_for_one_of_the_comparison(tmp_path: Path) -> None:
    recipe, run = tmp_path / "lora.toml", tmp_path / "zkr-lora"
    recipe.write_text('[save]\nname = "zkr-lora"\n', "utf-8")
    (run / "resume").mkdir(parents=True)
    (run / START_FILE).write_text("{}", "utf-8")
    found = trainings.Trainings(tmp_path, {"lora": recipe}, lambda: False, print)
    (run / "recipe.toml").write_text('[save]\nname = "zkr-lora"\nevery = 5\n', "utf-8")
    assert found.find("lora") is None
    (run / "recipe.toml").write_text(recipe.read_text("utf-8"), "utf-8")
    status = found.find("lora")
    assert status and status.path == run


def test_the_same_time_becomes_steps_by_the_pace_of_each_method(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "rehearse", lambda recipe, planned: Rehearsal(0.5, 0.0, 0))
    planned = recipes.make_recipes(wish_for(place, "3s"), place / "timed", ["lora"])
    assert planned.recipes["lora"].train.steps == 6 and planned.budget == Budget(0, 3.0)
    assert planned.recipes["lora"].method.rank == 2 and planned.recipes["lora"].sample.every == -1


@pytest.mark.parametrize(
    ("text", "budget"),
    [("400", Budget(400)), ("400 steps", Budget(400)), ("90s", Budget(0, 90)), ("1.5 h", Budget(0, 5400))],
)
def test_a_budget_is_steps_or_a_time(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["0", "many", "1.5", "10 apples", "0min"])
def test_another_budget_is_refused(text: str) -> None:
    with pytest.raises(TetradError, match="E3272"):
        parse_budget(text)


def test_methods_are_named_and_are_two_at_least() -> None:
    assert parse_methods("lora, dreambooth") == ("lora", "dreambooth") and len(parse_methods("")) >= 4
    for text in ("lora", "lora,lora", "lora,magic"):
        with pytest.raises(TetradError, match="E3272"):
            parse_methods(text)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nowhere", "--goal", "object"], "E4001"),
        (["images"], "E3272"),
        (["images", "--goal", "magic"], "E3155"),
        (["images", "--goal", "object", "--model", "none.safetensors"], "E5001"),
        (["builtin:subject", "--device", "toaster"], "E8001"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_sentence(place: Path, arguments: list[str], code: str) -> None:
    result = run_command("compare", *arguments, cwd=place)
    assert result.returncode == int(code[1]) and code in result.stderr and "Traceback" not in result.stderr
    assert not (place / "compare").exists()
