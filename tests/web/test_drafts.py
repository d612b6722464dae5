"""A draft keeps what was chosen, refuses what cannot be, and becomes a recipe and a command that means the same."""

import math
import shlex
from pathlib import Path
from typing import Any

import pytest

from tetrad.builtin import DEMO_STEPS
from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.settings import Recipe, build_recipe, read_values
from tetrad.web.drafts import QUALITIES, Draft, Drafts, describe_command

CHOICES: dict[str, Any] = {
    "images": "builtin:subject",
    "goal": "object",
    "trigger_word": "zkr",
    "class_word": "robot",
    "method": "lora",
}


@pytest.fixture
def drafts(tmp_path: Path) -> Drafts:
    return Drafts(tmp_path / "drafts")


def test_a_draft_is_kept_and_changed_and_removed(drafts: Drafts) -> None:
    draft = drafts.create(goal="style")
    drafts.update(draft.id, step="how", settings={"train.batch_size": 2})
    (drafts.folder / "damaged.json").write_text("{")
    (found,) = Drafts(drafts.folder).list()
    assert (found.goal, found.step, found.settings) == ("style", "how", {"train.batch_size": 2})
    drafts.remove(draft.id)
    assert not drafts.list()


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"colour": "red"}, "E4307"),
        ({"id": "x"}, "E4307"),
        ({"step": "later"}, "E4307"),
        ({"method": "magic"}, "E4307"),
        ({"model": 5}, "E4307"),
        ({"settings": []}, "E4307"),
        ({"goal": "weather"}, "E3155"),
    ],
)
def test_a_draft_takes_only_what_can_be(drafts: Drafts, values: dict[str, Any], code: str) -> None:
    draft = drafts.create()
    with pytest.raises(TetradError, match=code):
        drafts.update(draft.id, **values)
    assert drafts.read_draft(draft.id) == draft
    for id in ("..", "../drafts/x", "", "nothing"):
        with pytest.raises(TetradError, match="E4307"):
            drafts.read_draft(id)


@pytest.mark.parametrize("method", list(METHODS))
def test_the_recipe_has_the_choices_and_the_advice_for_the_goal(drafts: Drafts, method: str) -> None:
    draft = drafts.create(**CHOICES | {"method": method, "goal": "face"})
    recipe = draft.make_recipe(8, "out")
    assert recipe.method.kind == method and recipe.save.out == "out" and recipe.train.steps == 0
    assert (recipe.data.images, recipe.data.trigger_word, recipe.data.class_word) == ("builtin:subject", "zkr", "robot")
    if method == "dreambooth":
        assert recipe.method.subject == "face"  # type: ignore[attr-defined]
    assert build_recipe(read_values(drafts.write_recipe(draft.id, recipe))) == recipe


def test_quality_changes_the_steps_unless_they_are_set(drafts: Drafts) -> None:
    default = DEMO_STEPS
    for quality, share in QUALITIES.items():
        steps = drafts.create(**CHOICES, quality=quality).make_recipe(8).train.steps
        assert (steps or default) == default * share
    draft = drafts.create(**CHOICES, quality="quick", settings={"train.epochs": "3"})
    assert draft.make_recipe(8).train.steps == 0 and draft.make_recipe(8).train.epochs == 3


def test_files_are_saved_on_the_way_unless_the_settings_say_when(drafts: Drafts) -> None:
    steps = {"train.steps": "1001"}
    for method, saves, every in (("lora", 0, 201), ("dreambooth", 0, 334), ("lora", 10, 101), ("lora", 1, 0)):
        draft = drafts.create(**CHOICES | {"method": method}, saves=saves, settings=steps)
        assert draft.make_recipe(8).save.every == every
    save = drafts.create(**CHOICES, settings={"train.epochs": "12"}).make_recipe(8).save
    assert (save.every, save.every_epochs) == (0, 3)
    assert drafts.create(**CHOICES, settings={**steps, "save.every": "7"}).make_recipe(8).save.every == 7
    assert drafts.create(**CHOICES, settings={**steps, "save.every_minutes": 9}).make_recipe(8).save.every == 0
    default = DEMO_STEPS
    assert drafts.create(**CHOICES).make_recipe(8).save.every == math.ceil(default / 5)
    with pytest.raises(TetradError, match="E4307"):
        drafts.create(saves=101)


def test_typed_settings_are_read_as_on_the_command_line() -> None:
    settings = {"method.rank": "8", "train.learning_rate": "1e-4:100, 5e-5", "data.flip": True, "save.name": "1e3"}
    recipe = Draft("x", **CHOICES, settings=settings).make_recipe(8)
    assert recipe.method.rank == 8 and recipe.data.flip  # type: ignore[attr-defined]
    assert str(recipe.train.learning_rate) == "1e-4:100, 5e-5" and recipe.save.name == "1e3"
    for bad in ({"method.rnk": 8}, {"method.rank": "many"}, {"train": {"x": 1}}):
        with pytest.raises(TetradError, match="E310"):
            Draft("x", **CHOICES, settings=bad).make_recipe(8)


@pytest.mark.parametrize("method", list(METHODS))
def test_the_command_means_the_same_as_the_recipe(method: str) -> None:
    settings = {
        "train.batch_size": 2,
        "train.learning_rate": 1e-3,
        "sample.prompts": ['a "zkr", red', "it's"],
        "data.captions.shuffle": True,
        "sample.before_training": False,
    }
    draft = Draft("x", **CHOICES | {"method": method, "images": "my photos"}, quality="quick", settings=settings)
    recipe = draft.make_recipe(8, "my runs")
    assert run_command(describe_command(recipe)) == recipe


def run_command(command: str) -> Recipe:
    """The recipe that a command makes, up to where it would be trained."""
    import typer.main

    from tetrad.cli import train
    from tetrad.cli.program import build_program

    made: list[Recipe] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "run_recipe", lambda recipe, as_json: made.append(recipe))
        typer.main.get_command(build_program())(shlex.split(command)[1:], prog_name="tetrad", standalone_mode=False)
    return made[0]
