"""A sweep trains every combination in a run folder of its own, keeps what has ended, and goes on with the rest."""

from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any

import commands
import pytest
from child_processes import Child
from short_runs import QUICK, save_model_and_images

from tetrad.cli.sweep import choose_place, describe
from tetrad.errors import TetradError
from tetrad.judging.scores import CheckpointScores, Score, append_scores
from tetrad.settings.toml import put
from tetrad.sweep import attempt
from tetrad.sweep.attempt import Attempt
from tetrad.sweep.grid import make_grid, parse_over
from tetrad.sweep.local import Local
from tetrad.sweep.results import compare_with_start, read_results, write_sheet
from tetrad.sweep.sweep import Sweep


def values(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    short = {"train.steps": 4, "sample.every": 4, "sample.steps": 1, "sample.prompts": ["a zkr"], "method.rank": 2}
    for key, value in (QUICK | short | {key.replace("__", "."): each for key, each in changes.items()}).items():
        put(made, key, value)
    return made


@pytest.mark.parametrize(
    "text,found",
    [
        ("method.rank=4,16", ("method.rank", ["4", "16"])),
        ("train.seed=0..3", ("train.seed", ["0", "1", "2", "3"])),
        ("train.seed=7, 1..2", ("train.seed", ["7", "1", "2"])),
        ("train.learning_rate=1e-4,3e-4", ("train.learning_rate", ["1e-4", "3e-4"])),
    ],
)
def test_values_are_listed_or_a_range(text: str, found: tuple[str, list[str]]) -> None:
    assert parse_over(text) == found


def test_a_grid_has_every_combination_in_a_run_of_its_own() -> None:
    cells = make_grid(values(), ["method.rank=4,16", "train.seed=0..1"], {"save.out": "there"})
    assert [cell.name for cell in cells] == ["rank-4-seed-0", "rank-4-seed-1", "rank-16-seed-0", "rank-16-seed-1"]
    recipe = cells[2].recipe
    assert (recipe.method.rank, recipe.train.seed, recipe.save.name) == (16, 0, "rank-16-seed-0")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "over,code,sentence",
    [
        (["method.rank"], "E3003", "names no values"),
        (["method.rank="], "E3003", "names no values"),
        (["train.seed=5..1"], "E3003", r"the range 5\.\.1"),
        (["train.seed=0..999", "method.rank=1..100"], "E3192", "100000 runs"),
        (["data.trigger_word=a b,a:b"], "E3192", "would be called"),
        (["train.speed=1"], "E3101", "run speed-1"),
        (["method.rank=4,0"], "E3103", "run rank-0"),
    ],
)
def test_what_cannot_be_a_grid_is_refused(over: list[str], code: str, sentence: str) -> None:
    with pytest.raises(TetradError, match=sentence) as raised:
        make_grid(values(), over, {})
    assert raised.value.code == code


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    save_model_and_images(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of the commands that are started, each as a fork."""
    found: list[list[str]] = []

    def start(arguments: list[str], log: IO[bytes], mark: Path, environment: Mapping[str, str]) -> Child:
        found.append(arguments)
        outputs = [Path(log.name)] * 2
        return Child(commands._call, "tetrad.cli:main", arguments, str(Path.cwd()), dict(environment), outputs)

    monkeypatch.setattr(attempt, "start_own_process", start)
    monkeypatch.setattr(attempt, "_LOOK_SECONDS", 0.05)
    return found


def never() -> bool:
    return False


def test_a_sweep_that_is_stopped_goes_on_and_one_that_has_ended_trains_nothing(
    place: Path, started: list[list[str]]
) -> None:
    folder, over = place / "sweep", ["train.seed=0,1"]
    (place / "sweep").mkdir()

    def has_begun() -> bool:
        return (folder / "seed-0" / "metrics.jsonl").exists()

    long = values(train__steps=400, sample__every=-1)
    *_, rows = Sweep.open(long, over, folder).train(Local(1), has_begun)
    assert {row.name: row.state for row in rows} == {"seed-0": "interrupted", "seed-1": "waiting"}
    assert [arguments[0] for arguments in started] == ["train"]

    for name in ("seed-0", "seed-1"):  # shorter now, so that the test is
        (folder / "recipes" / f"{name}.toml").unlink()
    recipe = (folder / "seed-0" / "recipe.toml").read_text("utf-8")
    step = max(int(path.name[5:]) for path in (folder / "seed-0" / "resume").glob("step-*"))
    steps = step + 2
    (folder / "seed-0" / "recipe.toml").write_text(recipe.replace("steps = 400", f"steps = {steps}"), "utf-8")
    identity = folder / "seed-0" / "resume" / "identity.json"
    identity.unlink()
    short = values(train__steps=steps, sample__every=-1)
    *_, rows = Sweep.open(short, over, folder).train(Local(1), never)
    assert {row.state for row in rows} == {"finished"} and all(row.change is not None for row in rows)
    assert [arguments[0] for arguments in started] == ["train", "resume", "train"]
    written = read_results(folder)
    assert written["best"] == rows[0].name and [run["name"] for run in written["runs"]] == [row.name for row in rows]
    assert Path(rows[0].file).is_file() and describe(rows[0])[2] == f"{steps}/{steps}"

    *_, again = Sweep.open(short, over, folder).train(Local(1), never)
    assert again == rows and len(started) == 3


def test_a_run_that_fails_leaves_the_others_and_says_why(place: Path, started: list[list[str]]) -> None:
    over = ["data.images=nowhere,images"]
    *_, rows = Sweep.open(values(), over, place / "sweep").train(Local(2), never)
    assert [(row.name, row.state) for row in rows] == [("images-images", "finished"), ("images-nowhere", "failed")]
    assert "nowhere" in rows[1].error
    sheet = write_sheet(place / "sweep", rows)
    assert sheet and sheet.stat().st_size > 1000


class Scores:
    """A place where runs only write scores: the loss of a run falls as fast as its seed is large."""

    def __init__(self) -> None:
        self.attempts: list[tuple[str, int]] = []

    def submit(self, made: Attempt) -> "Future[int]":
        self.attempts.append((made.name, made.until))
        (made.run).mkdir(exist_ok=True)
        (made.run / "recipe.toml").write_text("")
        rate = 0.01 * int(made.name.rpartition("-")[2])
        for step in (0, made.until or 8):
            append_scores(
                made.run, CheckpointScores(step, "file" * (step > 0), scores={"training_loss": Score(1 - rate * step)})
            )
        ended: Future[int] = Future()
        ended.set_result(0)
        return ended

    def stop(self) -> None:
        pass


def test_the_weaker_half_is_stopped_after_a_quarter_and_after_a_half(tmp_path: Path) -> None:
    place = Scores()
    base = values(train__steps=8)
    *_, rows = Sweep.open(base, ["train.seed=0..4"], tmp_path / "sweep", halves=True).train(place, never)
    rounds = [[name for name, until in place.attempts if until == step] for step in (2, 4, 0)]
    assert rounds == [[f"seed-{n}" for n in range(5)], ["seed-2", "seed-3", "seed-4"], ["seed-3", "seed-4"]]
    early = [row.name for row in rows if row.state == "stopped early"]
    assert sorted(early) == ["seed-0", "seed-1", "seed-2"] and rows[0].name == "seed-4"
    recipe = (tmp_path / "sweep" / "recipes" / "seed-0.toml").read_text("utf-8")
    assert "every = 2" in recipe and 'scores = "on"' in recipe


def test_a_folder_with_other_runs_is_not_mixed_up(tmp_path: Path) -> None:
    Sweep.open(values(), ["train.seed=0"], tmp_path)
    with pytest.raises(TetradError, match="with another recipe") as raised:
        Sweep.open(values(train__steps=5), ["train.seed=0..1"], tmp_path)
    assert raised.value.code == "E3192"
    Sweep.open(values(), ["train.seed=0..1"], tmp_path)  # more runs of the same


def test_stopping_weak_runs_needs_a_length(tmp_path: Path) -> None:
    with pytest.raises(TetradError, match=r"set train\.steps"):
        Sweep.open(values(train__steps=0), ["train.seed=0..1"], tmp_path, halves=True)


def test_ray_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(TetradError, match="needs the package ray") as raised:
        choose_place("ray", 1, "")
    assert raised.value.code == "E3193"


def test_a_loss_of_nan_is_no_change_and_wins_nothing() -> None:
    losses = {0: 1.0, 4: float("nan")}
    rows = [CheckpointScores(step, scores={"training_loss": Score(loss)}) for step, loss in losses.items()]
    assert compare_with_start(rows, rows[1]) == ("training_loss", None)


def test_two_processes_do_not_train_one_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    first, second = (Sweep.open(values(), ["train.seed=0"], folder).train(Scores(), never) for _number in range(2))
    next(first)
    with pytest.raises(TetradError, match="another process trains the sweep") as raised:
        next(second)
    assert raised.value.code == "E4203"
    list(first)
