"""What is said before a run begins."""

import pytest
import tiny
import torch

from tetrad import briefing, plan
from tetrad.methods.dreambooth import DreamBooth
from tetrad.methods.lora import Lora
from tetrad.methods.textual_inversion import TextualInversion
from tetrad.recipe import Data, Recipe, Train
from tetrad.training import device
from tetrad.training.dry_step import dry_step
from tetrad.training.memory import GIB

STEP = dry_step(tiny.model(), Lora(), 64, 64)
CPU = device.Device(torch.device("cpu"), torch.float32)


def idle(**settings: object) -> list[str]:
    recipe = Recipe(method=DreamBooth(), train=Train(**{"steps": 10, "learning_rate": "2e-6"} | settings))
    rates = plan.rates(recipe.train, recipe.method.rates(), ["unet"], ["text_encoder"])
    return [sentence.split()[0] for sentence in briefing.without_effect(recipe, rates, ["text_encoder"])]


def test_a_setting_that_does_nothing_is_named() -> None:
    assert idle() == []
    assert idle(text_encoder_share=0.5, warmup_steps=2) == ["train.text_encoder_share"]
    assert idle(learning_rate="1e-5:5, 1e-6", warmup_steps=2, schedule="linear") == [
        "train.schedule",
        "train.warmup_steps",
    ]


@pytest.mark.parametrize(
    "there,asked,checkpointed,code",
    [(64 * GIB, None, False, ""), (0, None, False, ""), (64 * GIB, True, True, ""), (1, None, True, "W6001")],
)
def test_activations_are_computed_twice_only_where_memory_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, there: int, asked: bool | None, checkpointed: bool, code: str
) -> None:
    monkeypatch.setattr(device, "SMALL", 0)
    monkeypatch.setattr(briefing, "dry_step", lambda *step: STEP)
    monkeypatch.setattr(device, "free", lambda place: there)
    recipe = Recipe(data=Data(resolution=64), train=Train(steps=1, batch_size=1, gradient_checkpointing=asked))
    decided, notes = briefing.fitted(recipe, tiny.model(), CPU)
    assert decided.train.gradient_checkpointing is checkpointed
    assert [note.code for note in notes] == [code] and "is estimated to take" in notes[0].text
    assert ("train.optimizer=adafactor" in notes[0].text) == (code == "W6001")


def test_a_word_that_its_file_does_not_have_is_told() -> None:
    recipe = Recipe(method=TextualInversion().decided("zkr", 8), data=Data(word="zkr"), train=Train(steps=10))
    said = [[note.text for note in briefing.notes(recipe, tiny.model(), {}, 0, file)] for file in ("zkr", "zkr-2")]
    assert len(said[0]) == 1 and "zkr of 2 vectors, to step 10" in said[0][0]
    assert said[1][1].startswith("prompts say zkr-2, not zkr")


def test_a_schedule_that_ends_early_is_told_once_for_all_its_parts() -> None:
    recipe = Recipe(train=Train(steps=10, learning_rate="1e-4:5"))
    rates = plan.rates(recipe.train, Lora().rates(), ["unet", "unet ×16", "text_encoder"], ["text_encoder"])
    said = [note.text for note in briefing.notes(recipe, tiny.model(), rates, 0, "zkr") if note.code == "W3131"]
    assert len(said) == 1 and "its last rate, 0.0001, is kept" in said[0]


def test_a_small_model_is_not_counted() -> None:
    decided, notes = briefing.fitted(Recipe(data=Data(resolution=64)), tiny.model(), CPU)
    assert decided.train.gradient_checkpointing is False and not notes


def test_this_machine_says_how_much_memory_it_has() -> None:
    assert GIB // 4 < device.free(torch.device("cpu")) < 1 << 50
