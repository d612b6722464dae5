"""The plan of a run has the figures that the run itself has, and models are kept without their weights."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import tiny
from PIL import Image

from tetrad.errors import TetradError
from tetrad.estimate import recommend
from tetrad.estimate.memory import MemoryOptions
from tetrad.estimate.recommend import MethodEstimate
from tetrad.estimate.speed import DeviceSpeed
from tetrad.locales import Message
from tetrad.methods import METHODS
from tetrad.models.device import select_device
from tetrad.settings.toml import as_values
from tetrad.web import planning_child
from tetrad.web.drafts import Draft
from tetrad.web.planning import Planning
from tetrad.web.planning_child import Planner
from tetrad.web.resident_child import Request


@pytest.fixture
def planner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planner:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(planning_child, "measure_device_speed", lambda *arguments: DeviceSpeed(1e9, 1e9))
    tiny.save_checkpoint(tmp_path / "tiny.safetensors", tiny.build_model(), tiny.build_weights().metadata)
    return Planner(tmp_path / "state" / "speeds.json")


def request(**values: Any) -> Request:
    return Request({"id": 1, **values}, lambda answer: None)


def test_a_plan_has_the_length_the_cost_and_the_files(tmp_path: Path, planner: Planner) -> None:
    settings = {"train.steps": 40, "train.batch_size": 2, "data.resolution": 64, "method.rank": 4}
    choices = {"images": "builtin:subject", "goal": "object", "trigger_word": "zkr"}
    draft = Draft("x", model=str(tmp_path / "tiny.safetensors"), settings=settings, **choices)
    recipe = draft.make_recipe(8, tmp_path / "runs")
    (plan,) = planner.plan(request(recipe=as_values(recipe)))
    assert (plan["steps"], plan["images"], plan["batch_size"], plan["views_per_image"]) == (40, 8, 2, 10)
    assert plan["plan"]["method"]["rank"] == 4 and plan["file"] == "zkr.safetensors"
    assert plan["folder"] == str(tmp_path / "runs" / "zkr") and not (tmp_path / "runs").exists()
    assert plan["seconds"] > 0 and plan["memory_bytes"] > 1e8 and 0 < plan["disk_bytes"] < plan["free_disk_bytes"]
    assert "--rank 4" in plan["command"] and len(plan["prompts"]) == 4
    model = planner.open_model(str(tmp_path / "tiny.safetensors"))
    assert {parameter.device.type for part in model.parts().values() for parameter in part.parameters()} == {"meta"}
    assert Planner(planner.speeds).measure(model, *planner_arguments()) == DeviceSpeed(1e9, 1e9)  # from the file


def test_a_plan_says_that_the_built_in_model_cannot_learn_photos(tmp_path: Path, planner: Planner) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (128, 128), "teal").save(tmp_path / "photos" / "sea.png")
    draft = Draft("x", model="builtin", images=str(tmp_path / "photos"), goal="object", trigger_word="zkr")
    (plan,) = planner.plan(request(recipe=as_values(draft.make_recipe(1, tmp_path / "runs"))))
    assert plan["notes"][0]["code"] == "W5202"


def planner_arguments() -> tuple[Any, int]:
    return select_device("cpu"), 2


def test_the_methods_are_compared_once_for_the_same_images(
    tmp_path: Path, planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def estimate(model: Any, images: int, *arguments: Any, **about: Any) -> list[MethodEstimate]:
        calls.append(images)
        known = (100, 12.5, Message("5e-5"), Message("rank 4"), 60.0, 9.0, 1 << 30, 1 << 20, True, MemoryOptions(True))
        return [
            MethodEstimate(name, *known, method.advice.good_at, method.advice.bad_at)
            for name, method in METHODS.items()
        ]

    monkeypatch.setattr(recommend, "estimate_methods", estimate)
    values = {
        "images": "builtin:subject",
        "goal": "object",
        "device": "cpu",
        "trigger_word": "zkr",
        "class_word": "",
        "count": 0,
    }
    for _again in range(2):
        (found,) = planner.methods(request(model=str(tmp_path / "tiny.safetensors"), **values))
    assert calls == [8] and found["images"] == 8 and found["best"] in METHODS
    assert [each["method"] for each in found["methods"]] == list(METHODS)
    assert (found["methods"][0]["seconds"], found["methods"][0]["seconds_of_previews"]) == (60, 9)
    assert found["methods"][0]["options"] == ["train.gradient_checkpointing=true"]
    assert found["methods"][0]["good_at"]["template"] == METHODS["textual-inversion"].advice.good_at


def test_the_child_checks_words_and_finds_networks(tmp_path: Path) -> None:
    async def use(planning: Planning) -> None:
        word = await planning.check_word("dog")
        assert word["warnings"][0]["code"] == "W3111" and len(word["suggestions"]) == 4
        assert (await planning.check_word("zkr"))["warnings"] == []
        Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
        first = (await planning.check_word("", str(tmp_path)))["word"]
        second = (await planning.check_word("", str(tmp_path), taken=[first]))["word"]
        assert len({first, second}) == 2 and first == "zgv"
        (network,) = await planning.find_networks("a <lora:none:0.5>", "", {"lora_dir": str(tmp_path)})
        assert (network["name"], network["strength"], network["path"]) == ("none", 0.5, "")
        assert network["error"]["code"] == "E5101"
        with pytest.raises(TetradError, match="E4001"):
            await planning.compare_methods(str(tmp_path / "nothing"), "object")

    async def run() -> None:
        planning = Planning(tmp_path / "state")
        try:
            await use(planning)
        finally:
            await planning.end()

    asyncio.run(run())
