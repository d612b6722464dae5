"""Values that a recipe leaves open: learning rates, steps of a continued run, the name, the file format."""

import tomllib
from copy import copy
from pathlib import Path

import plans
import pytest
import torch
from torch import nn

from tetrad.builtin import BUILTIN_NAME, LEARNING_RATES, STEPS
from tetrad.errors import TetradError
from tetrad.methods import METHODS, DreamBooth, Lora
from tetrad.methods.base import ParamGroup
from tetrad.run.continuation import locate_start, read_trained_steps
from tetrad.run.training_run import group_schedule
from tetrad.settings import Recipe, build_recipe, dump_recipe
from tetrad.settings.learning_rate import parse_learning_rate
from tetrad.weights import Weights


def group_rates(recipe: Recipe, step: int = 1, *groups: tuple[str, float]) -> dict[tuple[str, float], float]:
    """The learning rate at a step of each group, given by its part and its factor."""
    train = plans.plan(recipe).train
    parts = [ParamGroup(part, [nn.Parameter(torch.zeros(1))], scale) for part, scale in groups or UNSCALED]
    return {
        (group.part, group.lr_scale): group_schedule(train, group, group.part.startswith("text"))(step)
        for group in parts
    }


UNSCALED = (("unet", 1.0), ("text_encoder", 1.0))


def rates(recipe: Recipe, step: int = 1) -> dict[str, float]:
    return {part: rate for (part, _scale), rate in group_rates(recipe, step).items()}


def test_learning_rates_are_the_methods_defaults() -> None:
    assert rates(plans.recipe()) == {"unet": 1e-4, "text_encoder": 5e-5}


@pytest.mark.parametrize("kind", list(METHODS))
def test_the_built_in_model_has_its_own_steps_and_learning_rates(kind: str) -> None:
    model = copy(plans.shared())
    model.name = BUILTIN_NAME
    train = plans.plan(plans.recipe(method__kind=kind), model=model).train
    assert train.steps == STEPS[kind] <= 400
    assert str(train.learning_rates[""]) == str(parse_learning_rate(str(LEARNING_RATES[kind])))
    if kind == "lora":
        assert train.learning_rates["text_encoder"](1) == LEARNING_RATES[kind] / 2  # type: ignore[operator]


def test_a_single_learning_rate_keeps_the_ratio_between_parts() -> None:
    assert rates(plans.recipe(train__learning_rate=2e-3)) == {"unet": 2e-3, "text_encoder": 1e-3}
    scheduled = plans.recipe(train__steps=10, train__learning_rate="0.02:5, 0.01")
    assert rates(scheduled, step=6) == {"unet": 0.01, "text_encoder": 0.005}


def test_the_text_encoder_has_its_own_rate_and_stops_after_its_share() -> None:
    own = {"train__text_encoder_learning_rate": "3e-6:-1", "train__text_encoder_share": 0.5}
    recipe = plans.recipe(train__steps=10, train__scheduler="constant", **own)
    assert rates(recipe, step=5) == {"unet": 1e-4, "text_encoder": 3e-6}
    assert rates(recipe, step=6) == {"unet": 1e-4, "text_encoder": 0.0}
    assert rates(plans.recipe(train__text_encoder_learning_rate=0)) == {"unet": 1e-4, "text_encoder": 0.0}


def test_a_groups_rate_is_its_factor_times_its_parts_rate() -> None:
    recipe = plans.recipe(train__steps=10, train__learning_rate="0.002:5, 0.001", train__text_encoder_share=0.5)
    groups = (("unet", 1.0), ("unet", 16.0), ("text_encoder", 16.0))
    assert group_rates(recipe, 5, *groups) == pytest.approx(dict(zip(groups, (0.002, 0.032, 0.016), strict=True)))
    assert group_rates(recipe, 6, *groups) == pytest.approx(dict(zip(groups, (0.001, 0.016, 0.0), strict=True)))


def test_steps_of_a_continued_run_count_from_the_earlier_steps() -> None:
    start = Weights("lora", {}, {"step": "500"})
    train = plans.plan(plans.recipe(continue_from="x.safetensors"), start=start).train
    assert (train.steps, train.steps_before) == (500 + 800, 500)
    assert plans.plan(plans.recipe(continue_from="x.safetensors"), start=start).sample.every == 200
    with pytest.raises(TetradError) as caught:
        plans.plan(plans.recipe(continue_from="x", train__steps=500), start=start)
    assert caught.value.code == "E3153" and "more than 500" in caught.value.message


@pytest.mark.parametrize("metadata,steps", [({"step": "7", "ss_steps": "9"}, 7), ({"ss_steps": "9"}, 9), ({}, 0)])
def test_trained_steps_are_read_from_metadata(metadata: dict[str, str], steps: int) -> None:
    assert read_trained_steps(Weights("lora", {}, metadata)) == steps
    assert read_trained_steps(Weights("lora", {}, {"step": "many"})) == 0 == read_trained_steps(None)


def test_a_recipe_read_from_its_file_gives_the_same_plan() -> None:
    recipe = plans.recipe(train__learning_rate="0.05:10, 0.02", method__rank=4)
    plan = plans.plan(recipe, plans.photos(["a zkr", "zkr"]))
    assert plans.plan(build_recipe(tomllib.loads(dump_recipe(recipe))), plans.photos(["a zkr", "zkr"])) == plan


def test_a_plan_of_default_settings_has_every_value() -> None:
    plan = plans.plan(plans.recipe())
    assert plan.sample.prompts and str(plan.train.learning_rates[""]) == "1e-4"
    assert (plan.train.steps, plan.train.batch_size, plan.train.weight_decay) == (800, 4, 0.01)
    assert (plan.save.name, plan.save.format, plan.save.precision) == ("zkr", "kohya", "fp16")
    assert (plan.data.resolution, plan.text.clip_skip, plan.model.prediction) == (64, 1, "epsilon")


def test_to_continue_from_a_run_folder_is_to_continue_from_its_newest_file(tmp_path: Path) -> None:
    run = tmp_path / "zkr"
    run.mkdir()
    (run / "recipe.toml").touch()
    with pytest.raises(TetradError) as caught:
        locate_start(Recipe(continue_from=str(run)))
    assert caught.value.code == "E5162"
    for name in ("zkr-step00000090.pt", "zkr-step00000100.pt", "zkr.pt"):
        (run / name).touch()
        assert locate_start(Recipe(continue_from=str(run))).continue_from == str(run / name)
    assert locate_start(Recipe(continue_from=str(tmp_path))).continue_from == str(tmp_path)
    assert locate_start(Recipe()) == Recipe()


def test_a_checkpoint_to_continue_from_is_also_the_model_unless_the_recipe_names_one() -> None:
    checkpoint = {"continue_from": "x.safetensors", "method": DreamBooth()}
    assert locate_start(Recipe(**checkpoint)).model == "x.safetensors"
    assert locate_start(Recipe(model="y", **checkpoint)).model == "y"
    assert locate_start(Recipe(continue_from="x.safetensors", method=Lora())).model == "builtin"


def test_the_runs_name_is_save_name_or_the_trigger_word_or_the_folders_name() -> None:
    assert plans.plan(plans.recipe(save__name="x")).save.name == "x"
    assert plans.plan(plans.recipe(data__trigger_word="zkr style")).save.name == "zkr-style"
    assert plans.plan(plans.recipe(data__trigger_word="", data__images="some/my cat")).save.name == "my-cat"


def test_an_unknown_file_format_is_refused() -> None:
    with pytest.raises(TetradError, match="E3154") as caught:
        plans.plan(plans.recipe(save__format="webui"))
    assert caught.value.sentence.values == {"formats": "kohya, diffusers, lycoris", "value": "webui"}
