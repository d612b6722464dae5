"""`tetrad recommend`: estimates for each method, the choice, the trigger word and the command."""

import shlex
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import tiny
import torch

from tetrad.cli.recommend import parse_assignments, parse_memory
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.discover.subsets import Subset
from tetrad.errors import TetradError
from tetrad.estimate import recommend
from tetrad.estimate.image_cost import ImageCost, estimate_image_seconds
from tetrad.estimate.recommend import MethodEstimate, build_train_command, choose_method, estimate_methods
from tetrad.estimate.speed import DeviceSpeed
from tetrad.methods import METHODS
from tetrad.methods.advice import GOALS, KINDS, parse_goal
from tetrad.models.device import DeviceSpec

CPU = DeviceSpec(torch.device("cpu"), torch.float32)
SPEED = DeviceSpeed(operations_per_second=1e11, weights_per_second=1e9)


@cache
def estimates_for(goal: str, limit: int = 0) -> dict[str, MethodEstimate]:
    return {
        estimate.method: estimate
        for estimate in estimate_methods(tiny.build_model(is_shallow=True), 8, goal, CPU, limit, SPEED)
    }


@pytest.fixture(scope="module")
def unlimited() -> dict[str, MethodEstimate]:
    return estimates_for("object")


def test_settings_of_a_method_change_its_estimate_and_its_command() -> None:
    given = {"algorithm": "lokr", "full_matrix": True}
    model = tiny.build_model(is_shallow=True)
    found = {each.method: each for each in estimate_methods(model, 8, "object", CPU, 0, SPEED, given=given)}
    plain = estimates_for("object")
    assert str(found["lora"].settings) == "LoKr, full matrices"
    assert found["lora"].file_bytes < plain["lora"].file_bytes
    assert found["dreambooth"] == plain["dreambooth"]
    command = build_train_command(found["lora"], "object", "photos", "builtin", "zkr", given=given)
    assert "--set method.algorithm=lokr --set method.full_matrix=true" in command
    assert "--set" not in build_train_command(found["dreambooth"], "object", "photos", "builtin", "zkr", given=given)
    with pytest.raises(TetradError) as caught:
        list(estimate_methods(model, 8, "object", CPU, 0, SPEED, given={"algoritm": "lokr"}))
    assert caught.value.code == "E3101"
    with pytest.raises(TetradError) as caught:
        parse_assignments(["train.steps=8"])
    assert caught.value.code == "E2008"


def test_every_method_has_advice_and_a_rank_for_each_goal() -> None:
    advice_by_kind = {kind: method.advice for kind, method in METHODS.items()}
    assert all(advice.good_at and advice.bad_at and advice.command_help for advice in advice_by_kind.values())
    for goal in KINDS:
        order = sorted(advice_by_kind, key=lambda kind: advice_by_kind[kind].suits[goal])
        assert [advice_by_kind[kind].suits[goal] for kind in order] == list(range(1, len(METHODS) + 1))
        assert [kind for kind in order if goal in advice_by_kind[kind].because] == order[:1]


def test_estimates_have_the_methods_own_defaults(unlimited: dict[str, MethodEstimate]) -> None:
    assert {kind: (estimate.steps, str(estimate.settings)) for kind, estimate in unlimited.items()} == {
        "textual-inversion": (3000, "zkr with 2 vectors"),
        "hypernetwork": (30000, "layers 1, 2, 1, activation linear"),
        "lora": (800, "rank 16, alpha 16"),
        "dreambooth": (400, "object, text encoder frozen"),
    }
    assert estimates_for("person")["dreambooth"].steps == 1500
    assert [unlimited[kind].steps_per_image for kind in METHODS] == [375, 3750, 100, 50]  # 8 images
    assert unlimited["textual-inversion"].file_bytes < unlimited["lora"].file_bytes < unlimited["dreambooth"].file_bytes
    assert unlimited["textual-inversion"].memory_bytes < unlimited["dreambooth"].memory_bytes
    assert all(
        estimate.fits and estimate.seconds > 0 and not estimate.memory_options.flags for estimate in unlimited.values()
    )


def test_memory_options_are_used_before_another_method_is_chosen(unlimited: dict[str, MethodEstimate]) -> None:
    best, reason = choose_method(unlimited, "object")
    assert best.method == "dreambooth" and "shape" in str(reason)
    tight = estimates_for("object", limit=unlimited["dreambooth"].memory_bytes - 1)
    assert tight["dreambooth"].memory_options.gradient_checkpointing and "gradient_checkpointing" in " ".join(
        tight["dreambooth"].memory_options.flags
    )
    none = estimates_for("object", limit=1000)
    assert not any(estimate.fits for estimate in none.values())
    assert choose_method(none, "object")[0].memory_bytes == min(each.memory_bytes for each in none.values())
    without_best = unlimited | {"dreambooth": replace(unlimited["dreambooth"], fits=False)}
    second, reason = choose_method(without_best, "object")
    assert second.method == "lora" and reason.values == {"best": "dreambooth", "next": "lora"}


def test_the_train_command_is_quoted_for_a_shell(unlimited: dict[str, MethodEstimate]) -> None:
    words = shlex.split(
        build_train_command(unlimited["dreambooth"], "person", "my photos", "a b.safetensors", "zkr", "man")
    )
    assert words[:4] == ["tetrad", "train", "dreambooth", "my photos"]
    options = ["--model", "a b.safetensors", "--trigger-word", "zkr", "--class-word", "man", "--subject", "face"]
    assert words[4:] == options
    words = shlex.split(build_train_command(unlimited["dreambooth"], "object", "my photos", "builtin", "zkr"))
    assert words[4:] == ["--trigger-word", "zkr"]


@pytest.mark.parametrize(
    "captions,word",
    [
        (["zkr dog on a sofa", "a dog, zkr, outside"], "zkr"),
        (["a dog on a sofa", "a dog outside"], "zgv"),
        (["zkr dog", "zkr dog at home 24", "a dog 24", ""], "zkr"),
        (["zkr dog", "a dog", ""], "zgv"),
        (["", ""], "zgv"),
    ],
)
def test_the_rare_word_of_most_captions_is_the_trigger_word(captions: list[str], word: str, tmp_path: Path) -> None:
    for number, caption in enumerate(captions):
        (tmp_path / f"{number}.png").write_bytes(b"x")
        (tmp_path / f"{number}.txt").write_text(caption, "utf-8")
    listing = list_dataset(tmp_path, Subset())
    assert recommend.suggest_trigger_word(listing) == word and recommend.suggest_trigger_word(listing, "abc") == "abc"


def test_style_images_without_captions_get_the_style_template(unlimited: dict[str, MethodEstimate]) -> None:
    assert build_train_command(unlimited["lora"], "style", "x", "builtin", "zkr", has_captions=False).endswith(
        "--template style"
    )
    assert "template" not in build_train_command(unlimited["lora"], "style", "x", "builtin", "zkr")
    assert str(unlimited["lora"].learning_rate) == "1e-4, text encoder 5e-5"
    assert unlimited["dreambooth"].learning_rate == "2e-6"


@pytest.mark.parametrize("goal", ["art", "", "*", "person*", "person*art", "person*style*pet", "dog", "personstyle"])
def test_an_unknown_goal_is_refused(goal: str) -> None:
    with pytest.raises(TetradError) as caught:
        estimates_for(goal)
    assert caught.value.code == "E3155" and "face, pet, person, object, style" in caught.value.message


@pytest.mark.parametrize("text,parts", [
    ("face", ("face",)), ("Pets", ("pet",)), ("人脸", ("face",)), ("art style", ("style",)),
    ("person*style", ("person", "style")), ("persons × styles", ("person", "style")),
    ("style x face", ("style", "face")), ("pet+object", ("pet", "object")),
])  # fmt: skip
def test_a_goal_is_one_word_or_a_pair(text: str, parts: tuple[str, ...]) -> None:
    assert parse_goal(text).parts == parts


@pytest.mark.parametrize("goal,method", [
    ("face", "lora"), ("person", "lora"), ("pet", "dreambooth"), ("object", "dreambooth"), ("style", "lora"),
    *((f"{goal}*style", "dreambooth") for goal in GOALS if goal != "style"), ("person*pet", "lora"),
])  # fmt: skip
def test_each_goal_has_a_first_choice_and_a_reason(
    goal: str, method: str, unlimited: dict[str, MethodEstimate]
) -> None:
    best, reason = choose_method(unlimited, goal)
    assert best.method == method and str(reason) != "it suits this goal best"


def test_a_person_in_styles_is_a_run_of_a_face_whose_reason_names_the_style(
    unlimited: dict[str, MethodEstimate],
) -> None:
    best, reason = choose_method(unlimited, "person*style")
    assert "likeness" in str(reason) and "style" in str(reason)
    assert "--subject face" in build_train_command(best, "person*style", "x", "builtin", "zkr", has_captions=False)
    assert "--template" not in build_train_command(best, "person*style", "x", "builtin", "zkr", has_captions=False)
    assert estimates_for("person*style")["dreambooth"].steps == 1500


def test_the_limits_of_hypernetworks_are_said() -> None:
    advice = METHODS["hypernetwork"].advice
    assert "very different subjects at once" in advice.bad_at and "paint over an image" in advice.good_at


@pytest.mark.parametrize("goal,model,class_word,prompt", [
    ("pet", "a b.safetensors", "corgi", "a photo of a corgi"), ("object", "builtin", "", "a photo of an object"),
    ("style", "builtin", "", "a painting of a house"), ("person*style", "builtin", "", "a painting of a person"),
])  # fmt: skip
def test_the_first_step_is_to_look_at_what_the_model_knows(goal: str, model: str, class_word: str, prompt: str) -> None:
    words = shlex.split(recommend.build_probe_command(goal, model, class_word))
    assert words == ["tetrad", "probe", prompt, *(["--model", model] if model != "builtin" else [])]


@pytest.mark.parametrize("text,size", [("8GB", 8 << 30), ("6.5 GiB", 13 << 29), ("8", 8 << 30), ("512mb", 512 << 20)])
def test_memory_sizes_are_parsed(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["much", "-8GB", "8TB", "1.2.3GB", "0"])
def test_invalid_memory_sizes_are_refused(text: str) -> None:
    with pytest.raises(TetradError):
        parse_memory(text)


def test_previews_take_the_time_of_twenty_images_with_every_method() -> None:
    model = tiny.build_model(is_shallow=True)
    cost = ImageCost(prediction=10**6, decoding=10**9)
    found = list(estimate_methods(model, 8, "object", CPU, 0, SPEED, image_cost=cost))
    expected = 20 * estimate_image_seconds(cost, SPEED, steps=20, uses_guidance=True)
    assert [each.seconds_of_previews for each in found] == [pytest.approx(expected)] * len(METHODS)
    assert all(each.seconds_of_previews > 0 for each in estimates_for("object").values())
