"""What a recipe leaves open is decided by the method, and what it goes on from is counted on."""

from pathlib import Path

import pytest
import tiny

from tetrad import plan
from tetrad.errors import TetradError
from tetrad.methods.dreambooth import DreamBooth
from tetrad.recipe import Data, Recipe, Sample, Train
from tetrad.weights import Weights

GROUPS = ("unet", "text_encoder")
USUAL = {"": "1e-4", "text_encoder": "5e-5"}


def at(train: Train, usual: dict[str, str], step: int = 1) -> dict[str, float]:
    found = plan.rates(train, usual, GROUPS, ("text_encoder",))
    return {group: schedule(step) for group, schedule in found.items()}


def test_rates_are_the_methods_where_nobody_says_otherwise() -> None:
    assert at(Train(steps=10), USUAL) == {"unet": 1e-4, "text_encoder": 5e-5}


def test_one_rate_for_all_keeps_the_proportion() -> None:
    assert at(Train(steps=10, learning_rate=2e-3), USUAL) == {"unet": 2e-3, "text_encoder": 1e-3}
    scheduled = at(Train(steps=10, learning_rate="0.02:5, 0.01"), USUAL, step=6)
    assert scheduled == {"unet": 0.01, "text_encoder": 0.005}


def test_the_text_encoder_may_have_a_rate_of_its_own_and_rests_after_its_share() -> None:
    train = Train(steps=10, text_encoder_learning_rate="3e-6:-1", text_encoder_share=0.5, schedule="constant")
    assert at(train, USUAL, step=5) == {"unet": 1e-4, "text_encoder": 3e-6}
    assert at(train, USUAL, step=6) == {"unet": 1e-4, "text_encoder": 0.0}


def test_a_group_learns_at_its_pace_times_its_parts_rate() -> None:
    train = Train(steps=10, learning_rate="0.002:5, 0.001", text_encoder_share=0.5)
    found = plan.rates(train, USUAL, ("unet", "unet ×16", "text_encoder ×16"), ("text_encoder",))
    assert {group: schedule(5) for group, schedule in found.items()} == pytest.approx(
        {"unet": 0.002, "unet ×16": 0.032, "text_encoder ×16": 0.016}
    )
    assert found["unet ×16"](6) == pytest.approx(0.016) and found["text_encoder ×16"](6) == 0


def test_steps_are_counted_on_from_what_a_run_goes_on_from() -> None:
    start = Weights("lora", {}, {"step": "500"})
    recipe = Recipe(start="x.safetensors", data=Data(word="zkr"))
    settled = plan.settled(recipe, tiny.model(), ["a zkr"] * 8, start)
    assert settled.train.steps == 500 + 800 and settled.sample.every == 200
    with pytest.raises(TetradError) as caught:
        plan.settled(Recipe(start="x", train=Train(steps=500)), tiny.model(), ["a zkr"], start)
    assert caught.value.code == "E3153" and "more than 500" in caught.value.message


def test_a_decided_recipe_decides_the_same_again() -> None:
    recipe = plan.settled(plan.named(Recipe(data=Data(word="zkr")), 2), tiny.model(), ["a zkr", "zkr"], None)
    assert plan.settled(plan.named(recipe, 2), tiny.model(), ["a zkr", "zkr"], None) == recipe
    assert recipe.sample != Sample() and recipe.train.learning_rate == "1e-4"


def test_a_runs_folder_stands_for_what_it_came_to(tmp_path: Path) -> None:
    run = tmp_path / "zkr"
    run.mkdir()
    (run / "recipe.toml").touch()
    with pytest.raises(TetradError) as caught:
        plan.begun(Recipe(start=str(run)))
    assert caught.value.code == "E5162"
    for name in ("zkr-step00000090.pt", "zkr-step00000100.pt", "zkr.pt"):
        (run / name).touch()
        assert plan.begun(Recipe(start=str(run))).start == str(run / name)
    assert plan.begun(Recipe(start=str(tmp_path))).start == str(tmp_path)


def test_a_checkpoint_to_go_on_from_is_the_model_unless_another_is_named() -> None:
    assert plan.begun(Recipe(start="x.safetensors", method=DreamBooth())).model == "x.safetensors"
    assert plan.begun(Recipe(start="x.safetensors", model="y", method=DreamBooth())).model == "y"
    assert plan.begun(Recipe(start="x.safetensors")).model == "builtin"
