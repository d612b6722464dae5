"""The images of a run: the summary note, trigger word notes, and warnings about truncated captions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import plans
import pytest
from PIL import Image

from tetrad.data.dataset import Photo
from tetrad.data.latent_cache import LatentCache
from tetrad.errors import TetradError
from tetrad.run.caption_notes import check_truncated_captions, trigger_word_notes
from tetrad.run.class_images import check_folder, check_prompt
from tetrad.run.dataset import load_dataset
from tetrad.run.image_notes import dataset_summary
from tetrad.settings import ClassImageSettings, Data, build_recipe


def test_the_summary_counts_images_class_images_and_skipped_files() -> None:
    photos = plans.photos(["a zkr"] * 3)
    class_photos = [replace(photo, subset=replace(photo.subset, is_class_images=True)) for photo in photos[:1]]
    assert str(dataset_summary(photos, 1)) == "3 images, 3 captions from .txt, 1 file skipped"
    assert str(dataset_summary([*photos, *class_photos], 0)).endswith(", 1 class image, 0 files skipped")


def test_a_truncated_caption_is_reported_with_its_number_of_lost_tokens() -> None:
    plan = plans.plan(plans.recipe())
    fitting, long = plans.photos(["zkr", "zkr" + ", red" * 40])
    [note] = check_truncated_captions(plan, plans.shared(), [fitting, long])
    assert note.code == "W4153" and note.message.values["file"] == long.path.name
    assert note.message.values["count"] > 1 and note.message.values["limit"] == 75


def test_a_run_without_a_trigger_word_gets_a_note() -> None:
    plan = plans.plan(plans.recipe(data__trigger_word="", data__images="cats"), plans.photos(["a cat"]))
    [note] = trigger_word_notes(plan.data, plans.photos(["a cat"]))
    assert not note.code and "--trigger-word" in str(note.message)


def test_a_template_line_without_name_is_reported(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("a photo of [name]\na photo\n")
    plan = plans.plan(plans.recipe(data__captions__template=str(tmp_path / "lines.txt")))
    assert [note.code for note in trigger_word_notes(plan.data, plans.photos(["zkr"]))] == ["W3141"]


def notes_about_placeholders(photos: Sequence[Photo], **captions: str) -> list[str]:
    plan = plans.plan(plans.recipe(**{f"data__captions__{key}": value for key, value in captions.items()}))
    return [str(note.message) for note in trigger_word_notes(plan.data, photos) if note.code == "W3142"]


def test_square_brackets_that_are_trained_as_text_are_named() -> None:
    plain, marked = plans.photos(["zkr"]), plans.photos(["a photo of [name]", "[fileword]"])
    assert notes_about_placeholders(plain, template="[name], [fileword]") == []
    [note] = notes_about_placeholders(plain, template="a [big] photo of [name]")
    assert "[big]" in note and "'a [big] photo of [name]'" in note
    [note] = notes_about_placeholders(plain, prefix="[name],")
    assert "[name] in data.captions.prefix" in note
    [note] = notes_about_placeholders(marked)
    assert "[name] in 0.png and 1 more" in note


def test_a_run_without_images_is_refused() -> None:
    with pytest.raises(TetradError, match="E4001"):
        next(load_dataset(Data(), False, "", None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "prompt,class_word,code",
    [("", "", "E3151"), ("a photo", "dog", "E3152"), ("a photo of zkr dog", "dog", "E3157")],
)
def test_a_class_prompt_needs_the_class_word_and_not_the_trigger_word(prompt: str, class_word: str, code: str) -> None:
    with pytest.raises(TetradError, match=code):
        check_prompt(prompt, class_word, "zkr")


@pytest.mark.parametrize("class_folder", ["images", "images/dogs", "."])
def test_class_images_need_their_own_folder(class_folder: str) -> None:
    with pytest.raises(TetradError, match="E3156"):
        check_folder(Data(images="images", class_images=ClassImageSettings(images=class_folder)))
    check_folder(Data(images="images", class_images=ClassImageSettings(images="dogs")))


def test_a_run_says_first_what_a_scan_says_in_short(tmp_path: Path) -> None:
    for number in range(3):
        Image.effect_noise((64, 64), 40 + number).convert("RGB").save(tmp_path / f"{number}.png")
    (tmp_path / "0.txt").write_text("zkr, 一只猫", "utf-8")
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "grey.png")
    data = build_recipe({"data": {"images": str(tmp_path), "trigger_word": "zkr"}}).data
    events = load_dataset(data, False, "", LatentCache(None))
    with pytest.raises(StopIteration) as end:
        while True:
            next(events)
    notes = end.value.value.notes
    assert [note.code for note in notes if note.code] == ["W4161", "W4140", "W4158"]
    assert any("shorter side in pixels: 64–255: 4; shapes: square: 4" in str(note.message) for note in notes)
    assert str(notes[-1].message) == f"tetrad scan {tmp_path} shows this image by image"
