"""A run from a recipe to a file, in this process, on a tiny model."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image

from tetrad import library
from tetrad.errors import TetradError
from tetrad.methods import Lora
from tetrad.run import train as runs
from tetrad.run import updates
from tetrad.run.events import Event, Finished, Note, Phase, Sampled, Saved, Trained
from tetrad.run.open_model import find_model_resolution
from tetrad.run.planned_run import read_dataset
from tetrad.run.train import train
from tetrad.settings import ClassImageSettings, Data, Recipe, Sample, Save, Train, build_recipe
from tetrad.settings.toml import put


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, two images of a subject and two of its class."""
    path = tmp_path_factory.mktemp("runs")
    tiny.save_shallow_checkpoint(path / "tiny.safetensors")
    for folder in ("subject", "class"):
        (path / folder).mkdir()
        for number in range(2):
            Image.effect_noise((64, 64), 40 + number).convert("RGB").save(path / folder / f"{number}.png")
    return path


@pytest.fixture(autouse=True)
def cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))
    return place / "cache"


def recipe(place: Path, name: str, data: dict[str, Any] | None = None, **settings: Any) -> Recipe:
    """Two steps of a small LoRA without previews, unless the settings say otherwise."""
    default = {"steps": 2, "learning_rate": 1e-2, "batch_size": 1, "scheduler": "constant"}
    return Recipe(
        model=str(place / "tiny.safetensors"),
        continue_from=settings.pop("continue_from", ""),
        data=Data(**{"images": str(place / "subject"), "trigger_word": "zkr"} | (data or {})),
        method=Lora(rank=2, text_encoder=settings.pop("text_encoder", False)),
        sample=Sample(**settings.pop("sample", {"every": -1})),
        save=Save(out=str(place / "out"), name=name),
        train=Train(**default | settings),
    )


def done(events: Iterator[Event]) -> tuple[list[Event], Path]:
    seen = list(events)
    assert isinstance(seen[-1], Finished)
    return seen, seen[-1].path


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    return library.read_weights(path, tiny.build_model(is_shallow=True)).tensors


def text_tensors(path: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in read_tensors(path).items() if name.startswith("text")}


def test_a_continued_run_repeats_the_steps_of_an_uninterrupted_one(place: Path) -> None:
    """The optimizer state is not saved, so losses differ a little; images, noise and times of a step are the same."""
    whole, _ = done(train(recipe(place, "whole", steps=3)))
    _, first = done(train(recipe(place, "first", steps=1)))
    seen, path = done(train(recipe(place, "second", steps=3, continue_from=str(first))))
    assert [event.step for event in seen if isinstance(event, Trained)] == [2, 3]
    assert library.read_weights(path, tiny.build_model(is_shallow=True)).metadata["ss_steps"] == "3"
    losses = [[event.loss for event in events if isinstance(event, Trained)] for events in (whole, seen)]
    assert losses[1][0] == pytest.approx(losses[0][1], rel=1e-2)
    with pytest.raises(TetradError) as caught:
        done(train(recipe(place, "third", steps=3, continue_from=str(path))))
    assert caught.value.code == "E3153" and not (place / "out" / "third").exists()


def minimal_recipe(place: Path, kind: str, name: str, start: Path | None = None, **more: Any) -> Recipe:
    """A recipe of the few settings that a person must give; one step more than `start` has."""
    values: dict[str, Any] = {"data": {"images": str(place / "subject")}, "method": {"kind": kind}}
    values |= {"save": {"out": str(place / "out"), "name": name}, "continue_from": str(start or "")}
    values |= {"sample": {"every": -1}, "train": {"steps": 2 if start else 1, "batch_size": 1}}
    if not (start and kind == "dreambooth"):
        values["model"] = str(place / "tiny.safetensors")
    for key, value in more.items():
        put(values, key.replace("__", "."), value)
    return build_recipe(values)


@pytest.mark.parametrize("file_format", ["ldm", "diffusers"])
def test_dreambooth_continues_from_its_own_file_or_folder_without_another_model(place: Path, file_format: str) -> None:
    _, path = done(train(minimal_recipe(place, "dreambooth", f"db {file_format}", save__format=file_format)))
    seen, again = done(
        train(minimal_recipe(place, "dreambooth", f"db on {file_format}", path, save__format=file_format))
    )
    assert [event.step for event in seen if isinstance(event, Trained)] == [2]
    assert any("which was trained for 1 step" in str(event.message) for event in seen if isinstance(event, Note))
    assert library.read_weights(again, tiny.build_model(is_shallow=True), "checkpoint").metadata["step"] == "2"


def test_a_continued_embedding_takes_its_trigger_word_from_the_file(place: Path) -> None:
    _, path = done(train(minimal_recipe(place, "textual-inversion", "other name", data__trigger_word="zkr")))
    seen, _ = done(train(minimal_recipe(place, "textual-inversion", "word on", path)))
    assert any("zkr with 2 vectors" in str(event.message) for event in seen if isinstance(event, Note))
    assert (place / "out" / "word on" / "plan.toml").read_text("utf-8").count('trigger_word = "zkr"') == 1
    assert 'trigger_word = ""' in (place / "out" / "word on" / "recipe.toml").read_text("utf-8")
    before, after = (
        library.read_weights(p, tiny.build_model(is_shallow=True)).tensors["text_encoder"]
        for p in (path, seen[-1].path)
    )
    assert not torch.equal(before, after)


def test_too_many_vectors_for_every_caption_are_refused(place: Path) -> None:
    wide = minimal_recipe(place, "textual-inversion", "wide", data__trigger_word="zkr", method__vectors=75)
    with pytest.raises(TetradError, match="75 vectors") as caught:
        done(train(wide))
    assert caught.value.code == "E3113" and not (place / "out" / "wide").exists()


def test_a_continued_lora_keeps_its_rank_and_refuses_another(place: Path) -> None:
    _, path = done(train(minimal_recipe(place, "lora", "narrow", method__rank=2, save__precision="fp32")))
    _, again = done(train(minimal_recipe(place, "lora", "narrow on", path)))
    assert library.read_weights(again, tiny.build_model(is_shallow=True)).metadata["ss_network_dim"] == "2"
    with pytest.raises(TetradError) as caught:
        done(train(minimal_recipe(place, "lora", "wider", path, method__rank=4)))
    assert caught.value.code == "E5111"


@pytest.mark.parametrize("rate,first_idle", [("0.01:1, 0", 2), ("0:-1", 1)])
def test_a_run_that_would_train_nothing_is_refused_before_it_starts(place: Path, rate: str, first_idle: int) -> None:
    with pytest.raises(TetradError, match="E3135") as caught:
        done(train(recipe(place, "idle", learning_rate=rate, steps=3)))
    assert caught.value.sentence.values["first"] == first_idle and not (place / "out" / "idle").exists()


def test_zero_terminal_snr_is_stored_in_a_v_checkpoint_and_warned_about_for_epsilon(place: Path) -> None:
    tiny.save_checkpoint(
        place / "v.safetensors", tiny.build_model(family="sd2"), tiny.build_weights(family="sd2").metadata
    )
    zero = {"loss__zero_terminal_snr": True, "model": str(place / "v.safetensors")}
    _, path = done(train(minimal_recipe(place, "dreambooth", "zero", **zero)))
    assert library.load_model(str(path)).noise.alphas_cumprod[-1] == 0
    seen, _ = done(train(minimal_recipe(place, "lora", "zero ε", loss__zero_terminal_snr=True)))
    sentences = [str(event.message) for event in seen if isinstance(event, Note)]
    assert any(
        text.startswith("tiny.safetensors is Stable Diffusion 1, 64 pixels, and predicts ε") for text in sentences
    )
    assert [event.code for event in seen if isinstance(event, Note) and event.code] == ["W3133"]


def test_class_images_are_generated_once_and_used_again(place: Path, cache: Path) -> None:
    class_settings = {"class_word": "dog", "class_images": ClassImageSettings(count=2, weight=0.5)}
    seen, path = done(train(recipe(place, "class", class_settings, steps=1)))
    assert [event.total for event in seen if isinstance(event, Phase) and "class" in str(event.name)] == [2]
    previews = sorted((cache / "class-images").rglob("*.png"))
    assert len(previews) == 2
    again, _ = done(train(recipe(place, "class", class_settings, steps=1)))
    assert not any(isinstance(event, Phase) and "class" in str(event.name) for event in again)
    assert any("2 class images" in str(event.message) for event in again if isinstance(event, Note))
    assert library.read_weights(path, tiny.build_model(is_shallow=True)).metadata["ss_num_reg_images"] == "2"


def test_a_folder_of_class_images_is_used_as_it_is(place: Path) -> None:
    class_settings = {"class_word": "dog", "class_images": ClassImageSettings(images=str(place / "class"))}
    seen, _ = done(train(recipe(place, "given", class_settings, steps=1)))
    assert next(event.total for event in seen if isinstance(event, Phase) and "encoding" in str(event.name)) == 4
    assert len(list((place / "class").iterdir())) == 2


@pytest.mark.parametrize(
    "class_settings,code",
    [
        ({"class_images": {"count": 2}}, "E3151"),
        ({"class_word": "dog", "class_images": {"count": 2, "prompt": "a photo"}}, "E3152"),
    ],
)
def test_class_images_without_a_class_word_are_refused(place: Path, class_settings: dict[str, Any], code: str) -> None:
    settings = {**class_settings, "class_images": ClassImageSettings(**class_settings["class_images"])}
    with pytest.raises(TetradError) as caught:
        done(train(recipe(place, "refused", settings)))
    assert caught.value.code == code and not (place / "out" / "refused").exists()


def test_previews_are_generated_before_and_during_training_with_a_sheet_each_time(place: Path) -> None:
    sample = {"every": 1, "steps": 1}
    seen, _ = done(train(recipe(place, "previews", sample=sample)))
    previews = [event for event in seen if isinstance(event, Sampled)]
    assert [event.step for event in previews if str(event.shows) == "sheet"] == [0, 1, 2]
    assert {str(event.shows) for event in previews} == {
        "one of your captions",
        "somewhere new",
        "without the trigger word",
        "overfitting check (not in your images)",
        "sheet",
    }
    assert all(event.path.is_file() for event in previews)


def test_previews_are_always_generated_after_the_last_step(place: Path) -> None:
    seen, _ = done(train(recipe(place, "seen", steps=3, sample={"every": 2, "steps": 1, "prompts": ("zkr",)})))
    assert [event.step for event in seen if isinstance(event, Sampled) and str(event.shows) == "sheet"] == [0, 2, 3]


def test_the_saved_weights_are_the_ema(place: Path) -> None:
    _, plain = done(train(recipe(place, "plain", steps=3)))
    _, average = done(train(recipe(place, "average", steps=3, ema=0.5)))
    name = next(name for name in read_tensors(plain) if name.endswith(".up"))
    assert 0 < read_tensors(average)[name].norm() < read_tensors(plain)[name].norm()


def test_the_text_encoder_is_trained_for_its_share_of_the_steps_only(place: Path) -> None:
    _, never = done(train(recipe(place, "never", text_encoder=True, text_encoder_share=0.0)))
    _, half = done(train(recipe(place, "half", text_encoder=True, text_encoder_share=0.5)))
    _, one = done(train(recipe(place, "one", text_encoder=True, steps=1)))
    parts = [text_tensors(path) for path in (half, one)]
    assert all(not t.any() for name, t in text_tensors(never).items() if name.endswith(".up"))
    assert all(torch.equal(parts[0][name], parts[1][name]) for name in parts[0])
    assert any(t.any() for name, t in text_tensors(half).items() if name.endswith(".up"))


def fail_after_first_step(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    original = updates.training_steps

    def failing_steps(*arguments: Any, **settings: Any) -> Iterator[Any]:
        if not settings["updates_before"]:
            yield next(original(*arguments, **settings))
        raise error

    monkeypatch.setattr(updates, "training_steps", failing_steps)


@pytest.mark.parametrize(
    "error,code",
    [
        (TetradError("E7001", "the loss is NaN or Inf"), "E7001"),
        (torch.OutOfMemoryError("CUDA out of memory"), "E6001"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "E6001"),
    ],
)
def test_the_weights_are_saved_when_training_fails(
    place: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    fail_after_first_step(monkeypatch, error)
    seen: list[Event] = []
    with pytest.raises(TetradError) as caught:
        seen.extend(train(recipe(place, f"broken {code}")))
    assert caught.value.code == code and "--continue-from" in caught.value.message
    folders = sorted((place / "out").glob(f"broken {code}*"))
    assert read_tensors(next(folders[-1].glob("*.safetensors")))


def test_a_checkpoint_of_the_failing_step_is_not_saved_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_after_first_step(monkeypatch, TetradError("E7001", "the loss is NaN or Inf"))
    checkpoint_recipe = minimal_recipe(
        place, "dreambooth", "twice", save__format="diffusers", save__every=1, train__steps=2
    )
    with pytest.raises(TetradError, match=r"saved in .*twice-step00000001, and") as caught:
        done(train(checkpoint_recipe))
    assert caught.value.code == "E7001"


def test_a_bug_is_not_reported_as_a_memory_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing_steps(*arguments: Any, **settings: Any) -> Iterator[Any]:
        raise RuntimeError("a bug")
        yield

    monkeypatch.setattr(updates, "training_steps", failing_steps)
    with pytest.raises(RuntimeError, match="a bug"):
        list(train(recipe(place, "bug")))


def test_running_out_of_memory_before_the_first_step_is_one_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> Iterator[Event]:
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr(runs, "encode_images", failing)
    with pytest.raises(TetradError) as caught:
        done(train(recipe(place, "early")))
    assert caught.value.code == "E6001" and not (place / "out" / "early").exists()


def test_training_continues_when_the_log_cannot_be_written(place: Path) -> None:
    events = train(recipe(place, "full"))
    seen = [next(events)]
    while not isinstance(seen[-1], Saved):
        if (folder := place / "out" / "full").exists() and not (folder / "metrics.jsonl").exists():
            (folder / "metrics.jsonl").mkdir()  # a file nobody can write, for root too
        seen.append(next(events))
    assert [event.code for event in seen if isinstance(event, Note) and event.code] == ["W4201"]
    assert read_tensors(seen[-1].path)


def is_generating(seen: Sequence[Event]) -> bool:
    return any(isinstance(event, Phase) and str(event.name) == "generating class images" for event in seen)


def test_a_stop_while_class_images_are_generated_trains_nothing(place: Path) -> None:
    class_settings = {"class_word": "cat", "class_images": ClassImageSettings(count=5)}
    seen: list[Event] = []
    for event in train(recipe(place, "stopped", class_settings), stop=lambda: is_generating(seen)):
        seen.append(event)
    assert not any(isinstance(event, Trained | Saved) for event in seen)
    assert isinstance(seen[-1], Note) and seen[-1].code == "W7501"


@pytest.mark.parametrize("settings,is_planned", [({}, False), ({"resolution": 128}, True)])
def test_a_large_image_is_decoded_once_at_the_resolution_of_the_model_or_the_settings(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, int], is_planned: bool
) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    Image.effect_noise((1100, 1000), 40).convert("RGB").save(tmp_path / "set" / "a.png")
    monkeypatch.setattr(
        "tetrad.data.encoding.decode_image", lambda path, _size: pytest.fail(f"{path} is decoded again")
    )
    given = recipe(place, f"large-{is_planned}", {"images": str(tmp_path / "set"), **settings}, steps=1)
    if is_planned:
        read_dataset(given)
    done(train(given))


def test_the_resolution_of_a_model_is_known_before_it_is_loaded(place: Path, tmp_path: Path) -> None:
    assert find_model_resolution("builtin") == 128
    assert find_model_resolution(str(place / "tiny.safetensors")) == tiny.build_model(is_shallow=True).resolution
    (tmp_path / "bad.safetensors").write_bytes(b"no model")
    assert find_model_resolution(str(tmp_path / "bad.safetensors")) == 0
    assert find_model_resolution(str(tmp_path / "none.safetensors")) == 0
