"""Train the same images with each method, judge the files by the same images, and say which method to use."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tetrad.builtin import BUILTIN_NAME
from tetrad.contest.answer import find_answer
from tetrad.contest.comparison import RECORD, Comparison
from tetrad.contest.figures import read_result
from tetrad.contest.judge import judge_runs
from tetrad.contest.page import write_page
from tetrad.contest.recipes import make_recipes
from tetrad.contest.sheet import write_sheet
from tetrad.contest.trainings import Trainings
from tetrad.contest.wish import MIN_METHODS, Budget, Wish, make_wish
from tetrad.documents import parse_json, read_text_file, writable
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file
from tetrad.given_paths import check_images_exist, check_model_exists
from tetrad.judging.runs.job import make_run_job
from tetrad.locales import Message, _
from tetrad.paths import expand_path
from tetrad.run.events import Event, Note
from tetrad.run.heartbeat import hold_lock
from tetrad.run.watch import Stop, StoppedWhileGenerating, never_stop
from tetrad.settings import dump_recipe
from tetrad.settings.field import as_toml

_RECIPES = "recipes"
DEFAULT_COUNT = 16


def compare_methods(
    wish: Wish,
    out: Path,
    count: int = DEFAULT_COUNT,
    stop: Stop = never_stop,
    on_event: Callable[[Event], Any] = lambda event: None,
) -> Comparison | None:
    """The comparison of a wish in the folder `out`; what is already there is kept.  None where `stop` has ended it.

    `count` images with the trigger word, and as many without, judge each method. E3272 where `out` holds another
    comparison, E4203 where another process works on it, E5504 where fewer than two methods can be compared.
    """
    out = out.absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        template = _("{folder} cannot be written to ({reason}); choose another folder with --out")
        raise TetradError("E4202", template, folder=out, reason=error.strerror) from error
    with _lock(out):
        plan = _Plan(wish, out)
        plan.add_recipes(on_event)
        runs = Trainings(out, plan.recipes, stop, on_event).train_missing()
        if stop():
            return None
        if len(runs) < MIN_METHODS:
            template = _(
                "fewer than two methods have been trained, so there is nothing to compare; the lines above say why"
            )
            raise TetradError("E5504", template)
        try:
            judged = judge_runs(out, runs, count, wish.device, stop, on_event)
        except StoppedWhileGenerating:
            return None
        results = tuple(read_result(run) for run in runs.values())
        answer = find_answer(results)
        if answer is None:  # a model that generates NaN or Inf has no scores
            template = _("fewer than two methods generate images that can be scored, so there is nothing to compare")
            raise TetradError("E5504", template)
        images = len(make_run_job(next(iter(runs.values()))).images)
        comparison = Comparison(plan.wish, out, plan.budget, results, answer, judged, plan.notes, images, count)
        write_sheet(comparison)
        write_page(comparison)
        plan.write(comparison.as_record())
        return comparison


def compare(
    images: Path | str,
    *,
    goal: str = "",
    model: Path | str = BUILTIN_NAME,
    trigger_word: str = "",
    class_word: str = "",
    methods: Sequence[str] = (),
    budget: str = "",
    count: int = DEFAULT_COUNT,
    device: str = "auto",
    settings: Mapping[str, Any] = MappingProxyType({}),
    out: Path | str = "compare",
    on_event: Callable[[Event], Any] = lambda event: None,
) -> Comparison:
    """Train a folder of images with each method in the folder `out`, and say which one to use.

    `settings` are those of docs/settings.md, for every training. Called again it goes on with what is missing.
    """
    check_images_exist(str(images))
    check_model_exists(str(model))
    assignments = [f"{key}={as_toml(value)}" for key, value in settings.items()]
    chosen = ",".join(methods)
    wish = make_wish(str(images), goal, str(model), trigger_word, class_word, chosen, budget, device, assignments)
    found = compare_methods(wish, expand_path(out), count, on_event=on_event)
    assert found is not None, "nothing stops it"
    return found


@contextmanager
def _lock(out: Path) -> Iterator[None]:
    """Hold the folder of a comparison.  E4203 where another process has it."""
    template = _("another process compares methods in {folder}; wait until it has ended, or choose another --out")
    with hold_lock(out / ".comparing", lambda: TetradError("E4203", template, folder=out)):
        yield


class _Plan:
    """What a comparison is of: its first start decides the budget, the trigger word and the recipes."""

    def __init__(self, wish: Wish, out: Path) -> None:
        """Read what an earlier start has decided.  E3272 where that was a comparison of something else."""
        self.wish, self.out, self.notes = wish, out, tuple[Message, ...]()
        self.asked = wish.as_record()
        self.budget = wish.budget
        try:
            values = parse_json(read_text_file(out / RECORD))
            asked, budget, word = values["asked"], Budget(**values["budget"]), str(values["trigger_word"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            template = _("{path} cannot be read ({reason}); remove it, or choose another folder with --out")
            raise TetradError("E3272", template, path=out / RECORD, reason=error) from error
        differing = [name for name in self.asked if asked.get(name) != parse_json(json.dumps(self.asked[name]))]
        if differing:
            template = _(
                "{folder} holds a comparison with other values of {names}; give the same again, or another folder with"
                " --out"
            )
            raise TetradError("E3272", template, folder=out, names=", ".join(differing))
        self.budget, self.wish = budget, replace(wish, trigger_word=word)

    @property
    def recipes(self) -> dict[str, Path]:
        """The files of the recipes by method."""
        paths = {name: self.out / _RECIPES / f"{name}.toml" for name in self.wish.methods}
        return {name: path for name, path in paths.items() if path.is_file()}

    def add_recipes(self, on_event: Callable[[Event], Any]) -> None:
        """Write the recipes of the methods that have none yet, and what they were made from."""
        missing = [name for name in self.wish.methods if name not in self.recipes]
        if not missing:
            return
        planned = make_recipes(replace(self.wish, budget=self.budget), self.out, missing)
        self.budget, self.notes = planned.budget, planned.left_out
        self.wish = replace(self.wish, trigger_word=planned.trigger_word)
        for note in planned.left_out:
            on_event(Note(note, "W5503"))
        self.write({"asked": self.asked, "budget": vars(self.budget)})
        (self.out / _RECIPES).mkdir(exist_ok=True)
        for name, recipe in planned.recipes.items():
            replace_file(self.out / _RECIPES / f"{name}.toml", dump_recipe(recipe).encode())

    def write(self, record: dict[str, Any]) -> None:
        """Write comparison.json."""
        record = {**record, "asked": self.asked, "trigger_word": self.wish.trigger_word}
        text = writable(json.dumps(record, ensure_ascii=False, indent=1))
        replace_file(self.out / RECORD, text.encode())
