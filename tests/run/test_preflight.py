"""Notes and warnings before the first step: memory, schedules that end early."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import plans
import pytest
import tiny
import torch

from tetrad.errors import TetradError
from tetrad.estimate import forecast
from tetrad.estimate.memory import GIB
from tetrad.estimate.step_cost import measure_step_cost
from tetrad.methods import Lora
from tetrad.methods.base import ParamGroup
from tetrad.models import device
from tetrad.run import preflight
from tetrad.run.events import Note
from tetrad.run.plan import Plan
from tetrad.run.training_run import group_schedule
from tetrad.settings import Recipe
from tetrad.settings.field import as_number
from tetrad.training.lr_schedules import Schedule

STEP = measure_step_cost(tiny.build_model(is_shallow=True), Lora(), 64, 64)
UNET = ("unet",)
BOTH = ("unet", "text_encoder")


def groups(parts: Sequence[str]) -> list[ParamGroup]:
    return [ParamGroup(part, []) for part in parts]


def schedules(plan: Plan, parts: Sequence[str]) -> list[Schedule]:
    return [group_schedule(plan.train, group, group.part.startswith("text")) for group in groups(parts)]


@pytest.mark.parametrize(
    "free,setting,checkpointing,codes",
    [
        (64 * GIB, None, False, [""]),
        (0, None, False, [""]),
        (64 * GIB, True, True, [""]),
        (1, None, True, ["", "", "W6001"]),
    ],
)
def test_gradient_checkpointing_is_turned_on_only_when_memory_is_short(
    monkeypatch: pytest.MonkeyPatch, free: int, setting: bool | None, checkpointing: bool, codes: list[str]
) -> None:
    monkeypatch.setattr(device, "SINGLE_THREAD_MAX_PARAMETERS", 0)
    monkeypatch.setattr(forecast, "recall_step_cost", lambda *step: STEP)
    monkeypatch.setattr(device, "get_free_memory", lambda device: free)
    settings = {} if setting is None else {"train__gradient_checkpointing": setting}
    plan, memory_forecast = plans.resolved(plans.recipe(train__steps=1, train__batch_size=1, **settings))
    assert plan.train.gradient_checkpointing is checkpointing
    notes = list(preflight.memory_notes(plan, memory_forecast, setting))
    assert [note.code for note in notes] == codes
    assert "a step is estimated to need" in str(notes[0].message)
    assert ("free memory on cpu" in str(notes[0].message)) == (free > 0)
    if len(notes) > 1:
        assert "gradient checkpointing is turned on" in str(notes[1].message)
        assert "train.optimizer=adafactor" in notes[2].message.values["flags"]
    packing = replace(plan, train=replace(plan.train, packs_convolutions=True))
    said = [str(note.message) for note in preflight.memory_notes(packing, memory_forecast, setting)]
    assert sum("frozen convolutions are packed" in text for text in said) == 1 and len(said) == len(notes) + 1


def test_no_memory_is_estimated_for_a_small_model() -> None:
    plan, memory_forecast = plans.resolved(plans.recipe())
    assert plan.train.gradient_checkpointing is False and memory_forecast is None
    assert not list(preflight.memory_notes(plan, memory_forecast, None))


def run_notes(recipe: Recipe, file: str = "zkr", parts: Sequence[str] = UNET) -> list[Note]:
    plan = plans.plan(recipe)
    return list(preflight.run_notes(plan, plans.shared(), schedules(plan, parts), file))


def test_a_note_says_when_the_file_name_is_not_the_trigger_word() -> None:
    recipe = plans.recipe(method__kind="textual-inversion", train__steps=10, train__learning_rate=1e-3)
    [summary] = run_notes(recipe, "zkr")
    assert str(summary.message).startswith("textual-inversion: zkr with 2 vectors; 10 steps = 5 epochs")
    _summary, note = run_notes(recipe, "zkr-2")
    assert str(note.message).startswith("prompts must use zkr-2 instead of zkr")


def test_one_note_gives_the_method_the_length_and_the_learning_rate() -> None:
    recipe = plans.recipe(method__rank=4, train__epochs=2, train__batch_size=1)
    assert [str(note.message) for note in run_notes(recipe)] == [
        "lora: rank 4, alpha 4; 16 steps = 2 epochs × 8 images × 1 repeat / batch 1, 2 steps per image; "
        "learning rate 1e-4 (cosine)"
    ]


def test_a_schedule_that_ends_early_gets_one_warning_for_all_parts() -> None:
    recipe = plans.recipe(train__steps=10, train__learning_rate="1e-4:5", method__plus_ratio=16)
    [warning] = [note.message for note in run_notes(recipe, parts=BOTH) if note.code == "W3131"]
    assert "ends at step" in str(warning) and warning.values == {"end": 5, "rate": "1e-4", "steps": 10}


def end_warning(rate: str, steps: int, before: int = 0) -> str:
    recipe = plans.recipe(train__steps=steps, train__learning_rate=rate)
    start = plans.Weights("lora", {}, {"step": str(before)}) if before else None
    plan = plans.plan(recipe, start=start)
    (schedule,) = schedules(plan, UNET)
    return str(preflight.end_warning(schedule, plan.train) or "")


def test_a_schedule_that_lasts_or_ends_with_minus_one_gets_no_warning() -> None:
    assert end_warning("0.05:10, 0.02:20", 20) == end_warning("0.05:10, 0.02:-1", 100) == end_warning("1e-4", 9) == ""
    assert "ends at step 20" in end_warning("0.05:10, 0.02:20", 100)
    assert "ended at step 20, and the run continues from step 25" in end_warning("0.05:10, 0.02:20", 100, before=25)


@pytest.mark.parametrize(
    "rate,steps,before,advice",
    [
        ("0.01:1, 0", 3, 0, "from step 2 on, .* end the run with --steps 1, or"),
        ("0:-1", 3, 0, "from step 1 on, .*; give a learning rate that lasts"),
        ("0.01:4, 0", 9, 6, "from step 7 on, .*; give a learning rate that lasts"),
    ],
)
def test_a_run_that_would_train_nothing_is_refused(rate: str, steps: int, before: int, advice: str) -> None:
    start = plans.Weights("lora", {}, {"step": str(before)}) if before else None
    plan = plans.plan(plans.recipe(train__steps=steps, train__learning_rate=rate), start=start)
    with pytest.raises(TetradError, match=advice) as caught:
        preflight.check_something_trains(schedules(plan, UNET), plan.train)
    assert caught.value.code == "E3135"
    preflight.check_something_trains([*schedules(plan, UNET), Schedule(plans.rate("1e-4"))], plan.train)


def test_free_memory_of_this_machine_is_plausible() -> None:
    assert GIB // 4 < device.get_free_memory(torch.device("cpu")) < 1 << 50


@pytest.mark.parametrize("rate,steps,number,unused", [
    (None, 3000, 6, "5e-4"), (None, 3001, 7, ""), (None, 10, 1, "0.02, 0.01, 0.005, 0.002, 0.001, 5e-4"),
    ("1e-3:2, 1e-4:5", 9, 2, ""), ("1e-3:2, 1e-4:-1", 9, 2, ""), ("1e-3", 9, 0, ""), ("1e-3:-1", 9, 0, ""),
])  # fmt: skip
def test_the_plan_names_the_rate_of_the_schedule_that_the_run_ends_with(
    rate: str | None, steps: int, number: int, unused: str
) -> None:
    settings = {"method__kind": "textual-inversion", "train__steps": steps, "train__learning_rate": rate}
    plan = plans.plan(plans.recipe(**settings))
    notes = [str(note.message) for note in preflight.run_notes(plan, plans.shared(), schedules(plan, BOTH), "zkr")]
    ends = [note for note in notes if note.startswith("the run ends at step")]
    assert len(ends) == (number > 0)
    if number:
        last = plan.train.learning_rates[""].pieces[number - 1][0]
        assert f", {as_number(last)}" in ends[0] and ends[0].endswith(f"does not reach {unused}") == bool(unused)
        assert (f"rate {number} of" in ends[0]) == bool(unused)


@pytest.mark.parametrize("kind,per_image", [
    ("lora", "100 steps per image"), ("dreambooth", "50 steps per image"), ("textual-inversion", "375 steps per image"),
    ("hypernetwork", "3,750 steps per image"),
])  # fmt: skip
def test_the_plan_of_every_method_shows_steps_per_image(kind: str, per_image: str) -> None:
    plan = plans.plan(plans.recipe(method__kind=kind, train__batch_size=1))
    assert f", {per_image}; learning rate" in str(preflight.summary(plan))
    assert f"steps_per_image = {plan.train.steps / 8}" in plan.as_toml()


@pytest.mark.parametrize("class_word,settings,steps,rate", [
    ("woman", {}, 1500, "1e-6"), ("young man", {}, 1500, "1e-6"), ("女孩", {}, 1500, "1e-6"), ("dog", {}, 400, "2e-6"),
    ("", {}, 400, "2e-6"), ("woman", {"method__subject": "object"}, 400, "2e-6"),
    ("dog", {"method__subject": "face"}, 1500, "1e-6"), ("woman", {"train__steps": 7}, 7, "1e-6"),
])  # fmt: skip
def test_a_persons_class_word_makes_dreambooth_a_run_of_a_face_and_the_plan_says_so(
    class_word: str, settings: dict[str, Any], steps: int, rate: str
) -> None:
    plan = plans.plan(plans.recipe(method__kind="dreambooth", data__class_word=class_word, **settings))
    assert (plan.train.steps, str(plan.train.learning_rates[""])) == (steps, rate)
    is_inferred = rate == "1e-6" and "method__subject" not in settings
    assert (f"face (because {class_word} is a person" in str(preflight.summary(plan))) == is_inferred


@pytest.mark.parametrize("kind,scheduler", [
    ("dreambooth", "constant"), ("lora", "cosine"), ("textual-inversion", "cosine"), ("hypernetwork", "cosine"),
])  # fmt: skip
def test_dreambooth_trains_at_the_rate_as_given(kind: str, scheduler: str) -> None:
    """400 steps at 2e-6 are for a constant rate, the default of diffusers' script and of the extension."""
    plan = plans.plan(plans.recipe(method__kind=kind))
    assert plan.train.scheduler == scheduler
    [unet] = schedules(plan, UNET)
    total = sum(map(unet, range(1, plan.train.steps + 1)))
    if kind == "dreambooth":
        assert total == pytest.approx(400 * 2e-6) and "learning rate 2e-6 (constant)" in str(preflight.summary(plan))
    if kind == "lora":
        assert total == pytest.approx(800 * 1e-4 / 2, rel=2e-3)
    chosen = plans.plan(plans.recipe(method__kind=kind, train__scheduler="linear"))
    assert chosen.train.scheduler == "linear"


@pytest.mark.parametrize(
    "settings,codes",
    [
        ({"sample__prompts": ["a photo of a castle"]}, ["W3205"]),
        ({"sample__prompts": ["a zkr in a castle", "a cat"]}, []),  # zkr is what the run teaches
        ({"sample__prompts": ["a cat"], "sample__overfit_prompts": ["a penguin"]}, ["W3205"]),
        ({"sample__prompts": ["a castle"], "continue_from": "castle.safetensors"}, []),
        ({"sample__prompts": ["a castle"], "data__images": "photos"}, ["W5202"]),
        ({"sample__prompts": ["a castle"], "model": "photos.safetensors"}, []),
        ({}, []),
    ],
)
def test_preview_prompts_that_the_builtin_model_cannot_show_are_named(
    settings: dict[str, Any], codes: list[str]
) -> None:
    recipe = plans.recipe(**{"data__images": "builtin:subject", **settings})
    assert [note.code for note in preflight.builtin_model_notes(recipe)] == codes
