"""A run from a recipe to a file, in this process, on a tiny model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from PIL import Image

from tetrad import library
from tetrad import recipe as recipes
from tetrad import run as runs
from tetrad.data.priors import Prior
from tetrad.errors import TetradError
from tetrad.methods.lora import Lora
from tetrad.recipe import Data, Recipe, Sample, Save, Train
from tetrad.run import train
from tetrad.training.events import Event, Finished, Note, Phase, Sampled, Saved, Trained


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, two pictures of a subject and two of its class."""
    path = tmp_path_factory.mktemp("runs")
    library.save_checkpoint(path / "tiny.safetensors", tiny.model(), tiny.weights().metadata)
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
    default = {"steps": 2, "learning_rate": 1e-2, "batch_size": 1, "schedule": "constant"}
    return Recipe(
        model=str(place / "tiny.safetensors"),
        start=settings.pop("start", ""),
        data=Data(images=str(place / "subject"), word="zkr", **(data or {})),
        method=Lora(rank=2, text_encoder=settings.pop("text_encoder", False)),
        sample=Sample(**settings.pop("sample", {"every": -1})),
        save=Save(out=str(place / "out"), name=name),
        train=Train(**default | settings),
    )


def done(events: Iterator[Event]) -> tuple[list[Event], Path]:
    told = list(events)
    assert isinstance(told[-1], Finished)
    return told, told[-1].path


def learned(path: Path) -> dict[str, torch.Tensor]:
    return library.read(path, tiny.model()).tensors


def test_going_on_counts_steps_on_and_sees_what_an_unbroken_run_sees(place: Path) -> None:
    """The optimizer forgets, so the numbers differ; pictures, noise and times of a step do not."""
    whole, _ = done(train(recipe(place, "whole", steps=3)))
    _, first = done(train(recipe(place, "first", steps=1)))
    told, path = done(train(recipe(place, "second", steps=3, start=str(first))))
    assert [event.step for event in told if isinstance(event, Trained)] == [2, 3]
    assert library.read(path, tiny.model()).metadata["ss_steps"] == "3"
    losses = [[event.loss for event in events if isinstance(event, Trained)] for events in (whole, told)]
    assert losses[1][0] == pytest.approx(losses[0][1], rel=1e-2)
    with pytest.raises(TetradError) as caught:
        done(train(recipe(place, "third", steps=3, start=str(path))))
    assert caught.value.code == "E3153" and not (place / "out" / "third").exists()


def of_kind(place: Path, kind: str, name: str, start: Path | None = None, **more: Any) -> Recipe:
    """A run of one step more, by what a person gives and no more."""
    values: dict[str, Any] = {"data": {"images": str(place / "subject")}, "method": {"kind": kind}}
    values |= {"save": {"out": str(place / "out"), "name": name}, "start": str(start or ""), "sample": {"every": -1}}
    values["train"] = {"steps": 2 if start else 1, "batch_size": 1}
    if not (start and kind == "dreambooth"):
        values["model"] = str(place / "tiny.safetensors")
    for key, value in more.items():
        recipes.put(values, key.replace("__", "."), value)
    return recipes.built(values)


@pytest.mark.parametrize("spelling", ["ldm", "diffusers"])
def test_dreambooth_goes_on_from_its_own_file_or_folder_without_another_model(place: Path, spelling: str) -> None:
    _, path = done(train(of_kind(place, "dreambooth", f"db {spelling}", save__spelling=spelling)))
    told, again = done(train(of_kind(place, "dreambooth", f"db on {spelling}", path, save__spelling=spelling)))
    assert [event.step for event in told if isinstance(event, Trained)] == [2]
    assert any("which learned for 1 step" in event.text for event in told if isinstance(event, Note))
    assert library.read(again, tiny.model(), "checkpoint").metadata["step"] == "2"


def test_a_word_that_goes_on_is_the_one_of_its_file_in_every_caption(place: Path) -> None:
    _, path = done(train(of_kind(place, "textual-inversion", "other name", data__word="zkr")))
    told, _ = done(train(of_kind(place, "textual-inversion", "word on", path)))
    assert any("zkr of 2 vectors" in event.text for event in told if isinstance(event, Note))
    assert (place / "out" / "word on" / "recipe.toml").read_text("utf-8").count('word = "zkr"') == 1
    before, after = (library.read(p, tiny.model()).tensors["text_encoder"] for p in (path, told[-1].path))
    assert not torch.equal(before, after)


def test_a_word_whose_vectors_fit_into_no_caption_is_told(place: Path) -> None:
    wide = of_kind(place, "textual-inversion", "wide", data__word="zkr", method__vectors=75)
    with pytest.raises(TetradError, match="75 vectors") as caught:
        done(train(wide))
    assert caught.value.code == "E3113" and not (place / "out" / "wide").exists()


def test_what_goes_on_says_what_the_file_is_and_refuses_another_rank(place: Path) -> None:
    _, path = done(train(of_kind(place, "lora", "narrow", method__rank=2, save__precision="fp32")))
    _, again = done(train(of_kind(place, "lora", "narrow on", path)))
    assert library.read(again, tiny.model()).metadata["ss_network_dim"] == "2"
    with pytest.raises(TetradError) as caught:
        done(train(of_kind(place, "lora", "wider", path, method__rank=4)))
    assert caught.value.code == "E5111"


@pytest.mark.parametrize("rate,first", [("0.01:1, 0", 2), ("0:-1", 1)])
def test_a_run_of_which_nothing_learns_is_refused_before_it_starts(place: Path, rate: str, first: int) -> None:
    with pytest.raises(TetradError, match=f"from step {first} on") as caught:
        done(train(recipe(place, "rests", learning_rate=rate, steps=3)))
    assert caught.value.code == "E3135" and not (place / "out" / "rests").exists()


def test_a_zero_terminal_checkpoint_says_so(place: Path) -> None:
    library.save_checkpoint(place / "v.safetensors", tiny.model(family="sd2"), tiny.weights(family="sd2").metadata)
    zero = {"loss__zero_terminal_snr": True, "model": str(place / "v.safetensors")}
    _, path = done(train(of_kind(place, "dreambooth", "zero", **zero)))
    assert library.load_model(str(path)).noise.alphas_cumprod[-1] == 0
    told, _ = done(train(of_kind(place, "lora", "zero ε", loss__zero_terminal_snr=True)))
    said = [event.text for event in told if isinstance(event, Note)]
    assert any(text.startswith("tiny.safetensors is Stable Diffusion 1, of 64 pixels, and predicts ε") for text in said)
    assert [event.code for event in told if isinstance(event, Note) and event.code] == ["W3133"]


def test_class_pictures_are_drawn_once_and_learned_beside_the_subject(place: Path, cache: Path) -> None:
    prior = {"class_word": "dog", "prior": Prior(count=2, weight=0.5)}
    told, path = done(train(recipe(place, "class", prior, steps=1)))
    assert [event.total for event in told if isinstance(event, Phase) and "class" in event.name] == [2]
    drawn = sorted((cache / "class pictures").rglob("*.png"))
    assert len(drawn) == 2
    again, _ = done(train(recipe(place, "class", prior, steps=1)))
    assert not any(isinstance(event, Phase) and "class" in event.name for event in again)
    assert any("2 class pictures are" in event.text for event in again if isinstance(event, Note))
    assert library.read(path, tiny.model()).metadata["ss_num_reg_images"] == "2"


def test_class_pictures_may_be_given(place: Path) -> None:
    prior = {"class_word": "dog", "prior": Prior(images=str(place / "class"))}
    told, _ = done(train(recipe(place, "given", prior, steps=1)))
    assert next(event.total for event in told if isinstance(event, Phase) and "encoding" in event.name) == 4
    assert len(list((place / "class").iterdir())) == 2


@pytest.mark.parametrize(
    "prior,code",
    [({"prior": {"count": 2}}, "E3151"), ({"class_word": "dog", "prior": {"count": 2, "prompt": "a photo"}}, "E3152")],
)
def test_class_pictures_of_no_class_are_refused(place: Path, prior: dict[str, Any], code: str) -> None:
    settings = {**prior, "prior": Prior(**prior["prior"])}
    with pytest.raises(TetradError) as caught:
        done(train(recipe(place, "refused", settings)))
    assert caught.value.code == code and not (place / "out" / "refused").exists()


def test_previews_are_drawn_before_and_on_the_way_with_one_sheet_each(place: Path) -> None:
    sample = {"every": 1, "steps": 1}
    told, _ = done(train(recipe(place, "previews", sample=sample)))
    drawn = [event for event in told if isinstance(event, Sampled)]
    assert [event.step for event in drawn if event.shows == "sheet"] == [0, 1, 2]
    assert {event.shows for event in drawn} == {
        "a caption of yours",
        "somewhere new",
        "without the word",
        "sanity: in no picture",
        "sheet",
    }
    assert all(event.path.is_file() for event in drawn)


def test_what_came_out_in_the_end_is_always_to_be_seen(place: Path) -> None:
    told, _ = done(train(recipe(place, "seen", steps=3, sample={"every": 2, "steps": 1, "prompts": ("zkr",)})))
    assert [event.step for event in told if isinstance(event, Sampled) and event.shows == "sheet"] == [0, 2, 3]


def test_the_average_is_what_is_saved(place: Path) -> None:
    _, plain = done(train(recipe(place, "plain", steps=3)))
    _, average = done(train(recipe(place, "average", steps=3, ema=0.5)))
    name = next(name for name in learned(plain) if name.endswith(".up"))
    assert 0 < learned(average)[name].norm() < learned(plain)[name].norm()


def test_the_text_encoder_rests_after_its_share(place: Path) -> None:
    _, never = done(train(recipe(place, "never", text_encoder=True, text_encoder_share=0.0)))
    _, half = done(train(recipe(place, "half", text_encoder=True, text_encoder_share=0.5)))
    _, one = done(train(recipe(place, "one", text_encoder=True, steps=1)))
    parts = [{name: t for name, t in learned(path).items() if name.startswith("text")} for path in (half, one)]
    assert all(not t.any() for name, t in learned(never).items() if name.startswith("text") and name.endswith(".up"))
    assert all(torch.equal(parts[0][name], parts[1][name]) for name in parts[0])
    assert any(t.any() for name, t in learned(half).items() if name.startswith("text") and name.endswith(".up"))


@pytest.mark.parametrize(
    "error,code",
    [
        (TetradError("E7001", "the loss is no longer a number"), "E7001"),
        (torch.OutOfMemoryError("CUDA out of memory"), "E6001"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "E6001"),
    ],
)
def test_what_was_learned_is_kept_when_training_breaks_off(
    place: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    real = runs.training_steps

    def breaking(*arguments: Any, **settings: Any) -> Iterator[Any]:
        yield next(real(*arguments, **settings))
        raise error

    monkeypatch.setattr(runs, "training_steps", breaking)
    told: list[Event] = []
    with pytest.raises(TetradError) as caught:
        told.extend(train(recipe(place, f"broken {code}")))
    assert caught.value.code == code and "--continue" in caught.value.message
    folders = sorted((place / "out").glob(f"broken {code}*"))
    assert learned(next(folders[-1].glob("*.safetensors")))


def test_what_was_saved_just_before_training_breaks_off_is_not_saved_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runs.training_steps

    def breaking(*arguments: Any, **settings: Any) -> Iterator[Any]:
        yield next(real(*arguments, **settings))
        raise TetradError("E7001", "the loss is no longer a number")

    monkeypatch.setattr(runs, "training_steps", breaking)
    asked = of_kind(place, "dreambooth", "twice", save__spelling="diffusers", save__every=1, train__steps=2)
    with pytest.raises(TetradError, match=r"kept in .*twice-step00000001, and") as caught:
        done(train(asked))
    assert caught.value.code == "E7001"


def test_another_error_is_not_mistaken_for_one_of_memory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(*arguments: Any, **settings: Any) -> Iterator[Any]:
        raise RuntimeError("a bug")
        yield

    monkeypatch.setattr(runs, "training_steps", breaking)
    with pytest.raises(RuntimeError, match="a bug"):
        list(train(recipe(place, "bug")))


def test_a_lack_of_memory_before_the_first_step_is_one_sentence(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> Iterator[Event]:
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr(runs.pictures, "latents", failing)
    with pytest.raises(TetradError) as caught:
        done(train(recipe(place, "early")))
    assert caught.value.code == "E6001" and not (place / "out" / "early").exists()


def test_a_log_that_cannot_be_written_loses_nothing_that_is_learned(place: Path) -> None:
    events = train(recipe(place, "full"))
    told = [next(events)]
    while not isinstance(told[-1], Saved):
        if (folder := place / "out" / "full").exists() and not (folder / "metrics.jsonl").exists():
            (folder / "metrics.jsonl").mkdir()  # a file nobody can write, for root too
        told.append(next(events))
    assert [event.code for event in told if isinstance(event, Note) and event.code] == ["W4201"]
    assert learned(told[-1].path)


def test_a_stop_while_class_pictures_are_drawn_learns_nothing(place: Path) -> None:
    prior = {"class_word": "cat", "prior": Prior(count=5)}
    told = list(train(recipe(place, "stopped", prior), stop=lambda: True))
    assert not any(isinstance(event, Trained | Saved) for event in told)
    assert isinstance(told[-1], Note) and told[-1].code == "W7501"
