"""Which VAE a checkpoint gets: the web UI's rules one by one, in its order, each with the sentence that says so."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tetrad import library
from tetrad.builtin import MODEL
from tetrad.errors import TetradError
from tetrad.library.mounting import Choice


class Place:
    """A web UI's folder with one checkpoint, `cat.safetensors`."""

    def __init__(self, root: Path) -> None:
        self.models, self.vaes = root / "models" / "Stable-diffusion", root / "models" / "VAE"
        for folder in (self.models, self.vaes):
            folder.mkdir(parents=True)
        self.model = self.models / "cat.safetensors"
        self.model.touch()

    def beside(self, *names: str) -> None:
        for name in names:
            (self.models / name).touch()

    def folder(self, *names: str) -> None:
        for name in names:
            (self.vaes / name).parent.mkdir(exist_ok=True)
            (self.vaes / name).touch()

    def wants(self, name: object) -> None:
        (self.models / "cat.json").write_text(json.dumps({"vae": name, "notes": "x"}), "utf-8")

    def set(self, name: str, **more: bool) -> None:
        (self.models.parent.parent / "config.json").write_text(json.dumps({"sd_vae": name, **more}), "utf-8")

    def chosen(self, choice: str = "Automatic") -> Choice:
        return library.choose_vae(self.model, choice, [self.vaes], [self.models])

    def name(self, choice: str = "Automatic") -> str | None:
        found = self.chosen(choice).path
        return found.name if found else None


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_checkpoint_by_itself_keeps_its_own(place: Place) -> None:
    place.beside("dog.vae.pt")
    place.folder("dog.pt")
    choice = place.chosen()
    assert choice.path is None and choice.rule.startswith("the checkpoint's own") and not choice.warnings


@pytest.mark.parametrize("ending", [".vae.pt", ".vae.ckpt", ".vae.safetensors"])
def test_a_file_beside_it_under_its_name_is_mounted(ending: str, place: Place) -> None:
    place.beside(f"cat{ending}")
    choice = place.chosen()
    assert choice.path == place.models / f"cat{ending}"
    assert "beside the checkpoint under the checkpoint's name" in choice.rule and not choice.warnings


def test_ckpt_beats_pt_beats_safetensors_beats_the_folder(place: Place) -> None:
    names = ["cat.vae.ckpt", "cat.vae.pt", "cat.vae.safetensors", "cat.ckpt", "cat.pt"]
    place.beside(*names[:3])
    place.folder(*names[3:], "cat.safetensors")
    for name in names[:3]:
        assert place.name() == name
        (place.models / name).unlink()
    for name in names[3:]:
        assert place.name() == name
        (place.vaes / name).unlink()
    assert place.name() == "cat.safetensors" and place.chosen().path == place.vaes / "cat.safetensors"


def test_a_file_that_only_begins_like_the_checkpoint_is_taken_and_said_so(place: Place) -> None:
    place.folder("category-theory.pt")
    choice = place.chosen()
    assert choice.path == place.vaes / "category-theory.pt"
    [warning] = choice.warnings
    assert "begins with cat" in warning and "--vae None" in warning


def test_where_the_right_one_is_there_too_it_is_named(place: Place) -> None:
    """`category.ckpt` is listed before `cat.pt`, and the web UI takes the first."""
    place.folder("category.ckpt", "cat.pt")
    choice = place.chosen()
    assert choice.path == place.vaes / "category.ckpt" and "--vae cat.pt" in choice.warnings[0]


def test_a_lora_that_begins_like_the_checkpoint_is_no_vae(place: Place) -> None:
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, place.vaes / "cat-lora.safetensors")
    assert place.name() is None


def test_a_choice_by_name_wins_over_what_lies_beside(place: Place) -> None:
    place.beside("cat.vae.pt")
    place.wants("cat.vae.pt")
    place.folder("anime.pt", "sub/deep.safetensors")
    assert place.name("anime.pt") == place.name("anime") == "anime.pt"
    assert place.name("deep") == "deep.safetensors"
    assert "chosen by name" in place.chosen("anime").rule
    assert place.name("None") is place.name("none") is None


def test_a_path_is_taken_wherever_it_lies(place: Place, tmp_path: Path) -> None:
    place.folder("anime.pt")
    (tmp_path / "anime.pt").touch()
    assert place.chosen(str(tmp_path / "anime.pt")).path == tmp_path / "anime.pt"


def test_a_name_that_is_not_there_is_an_error_with_the_nearest(place: Place) -> None:
    place.folder("anime.pt", "vae-ft-mse-840000.ckpt")
    with pytest.raises(TetradError, match=r"called animee\.pt; the nearest are anime\.pt") as caught:
        place.chosen("animee.pt")
    assert caught.value.code == "E5206"


def test_the_checkpoints_own_preference_wins_over_what_lies_beside(place: Place) -> None:
    place.beside("cat.vae.pt")
    place.folder("anime.pt")
    place.wants("anime.pt")
    assert place.name() == "anime.pt" and "cat.json" in place.chosen().rule
    place.wants("None")
    assert place.name() is None and "cat.json" in place.chosen().rule


@pytest.mark.parametrize("nothing", ["Automatic", "", None, 3])
def test_a_preference_that_prefers_nothing_is_passed_over(nothing: object, place: Place) -> None:
    place.beside("cat.vae.pt")
    place.wants(nothing)
    assert place.name() == "cat.vae.pt" and not place.chosen().warnings


def test_a_preference_that_is_not_there_is_passed_over_and_said(place: Place) -> None:
    place.beside("cat.vae.pt")
    place.wants("gone.pt")
    assert place.name() == "cat.vae.pt" and "gone.pt" in place.chosen().warnings[0]
    (place.models / "cat.json").write_text("{", "utf-8")
    assert place.name() == "cat.vae.pt"


def test_the_web_uis_own_setting_is_final(place: Place) -> None:
    place.beside("cat.vae.pt")
    place.wants("cat.vae.pt")
    place.folder("anime.pt")
    place.set("anime.pt")
    assert place.name() == "anime.pt" and "config.json chooses it" in place.chosen().rule
    place.set("None")
    assert place.name() is None and "config.json says None" in place.chosen().rule
    place.set("Automatic")
    assert place.name() == "cat.vae.pt" == place.name("cat")
    place.set("gone.pt")
    assert place.name() is None and "gone.pt, which is in none" in place.chosen().warnings[0]


def test_a_setting_that_does_not_override_comes_last(place: Place) -> None:
    place.beside("cat.vae.pt")
    place.folder("anime.pt", "cat-other.pt")
    place.set("anime.pt", sd_vae_overrides_per_model_preferences=False)
    assert place.name() == "cat.vae.pt"
    place.wants("cat-other.pt")
    assert place.name() == "cat-other.pt"
    place.wants("")
    for path in (place.models / "cat.vae.pt", place.vaes / "cat-other.pt"):
        path.unlink()
    assert place.name() == "anime.pt"


@pytest.mark.parametrize("nothing", ["{", "[]", '{"sd_vae": 3}', "{}"])
def test_settings_that_say_nothing_are_passed_over(nothing: str, place: Place) -> None:
    (place.models.parent.parent / "config.json").write_text(nothing, "utf-8")
    place.beside("cat.vae.pt")
    assert place.name() == "cat.vae.pt"


def test_one_ending_after_the_other_wherever_they_lie(place: Place) -> None:
    """In A1111 `**/*.vae.ckpt` is listed before `**/*.vae.pt`, the checkpoint's own folder or not."""
    (place.models / "more").mkdir()
    place.beside("cat.vae.pt", "more/cat-two.vae.ckpt")
    assert place.name() == "cat-two.vae.ckpt"


def test_a_folder_named_by_a_person_wins_over_the_web_uis(place: Place, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "anime.pt").touch()
    place.folder("anime.pt")
    chosen = library.choose_vae(place.model, "anime", [tmp_path / "mine", place.vaes])
    assert chosen.path == tmp_path / "mine" / "anime.pt"


def test_a_hypernetwork_that_begins_like_the_checkpoint_is_no_vae(place: Place) -> None:
    torch.save({"768": ({"linear.0.weight": torch.zeros(1)},), "name": "cat"}, place.vaes / "cat.pt")
    torch.save({"string_to_param": {"*": torch.zeros(1, 768)}}, place.vaes / "cat-word.pt")
    assert place.name() is None


def test_a_name_counts_in_any_case_and_without_the_end_of_its_ending(place: Place) -> None:
    place.beside("dog.vae.pt")
    place.folder("Anime.safetensors")
    assert place.name("dog") == "dog.vae.pt" and place.name("anime") == "Anime.safetensors"


def test_training_leaves_out_what_is_not_named_and_says_so(place: Place) -> None:
    where = {"vae": (place.vaes,), "checkpoint": (place.models,)}
    assert not library.training_vae(place.model, "", False, where).warnings
    place.beside("cat.vae.pt")
    place.folder("anime.pt")
    own = library.training_vae(place.model, "", False, where)
    assert own.path is None and "cat.vae.pt draws cat.safetensors's pictures and is left out" in own.warnings[0]
    assert library.training_vae(place.model, "anime", False, where).name == "anime.pt"
    assert library.training_vae(place.model, "", True, where).name == "cat.vae.pt"
    assert library.around(place.model)["vae"][-1] == place.vaes and len(library.around(Path("cat"))["vae"]) == 1


def test_of_two_files_of_one_name_the_folders_counts(place: Place) -> None:
    place.beside("cat.vae.pt")
    place.folder("cat.vae.pt")
    assert place.chosen().path == place.vaes / "cat.vae.pt"


def test_below_the_checkpoints_folder_only_vae_files_are_listed(place: Place) -> None:
    (place.models / "more").mkdir()
    place.beside("more/cat-two.vae.pt", "more/cat-three.ckpt")
    assert place.name() == "cat-two.vae.pt"
    assert library.choose_vae(place.model, "Automatic", [place.vaes]).path is None


def test_a_folder_is_known_by_its_whole_name(place: Place) -> None:
    folder = place.models / "model-v1.5"
    folder.mkdir()
    place.folder("model-v1.pt")
    assert library.choose_vae(folder, folders=[place.vaes]).path is None


def test_the_built_in_model_has_its_own(place: Place) -> None:
    place.folder("model-of-mine.pt")
    assert library.choose_vae(MODEL, folders=[place.vaes]).path is None


def test_no_room_of_the_library_hides_what_it_offers() -> None:
    """A module of the same name as a function would take its place as soon as it is imported."""
    rooms = {path.stem for path in Path(library.__file__).parent.glob("*.py")}
    assert not rooms & set(library.__all__)
