"""Which VAE a checkpoint uses: the web UI's rules one by one, in its order, and the reason that is given for each."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tetrad import library
from tetrad.builtin import MODEL_PATH
from tetrad.errors import TetradError
from tetrad.library.vae.select import VaeChoice


class WebUi:
    """A web UI's folder with one checkpoint, `cat.safetensors`."""

    def __init__(self, root: Path) -> None:
        self.models, self.vaes = root / "models" / "Stable-diffusion", root / "models" / "VAE"
        for folder in (self.models, self.vaes):
            folder.mkdir(parents=True)
        self.model = self.models / "cat.safetensors"
        self.model.touch()

    def add_beside_checkpoint(self, *names: str) -> None:
        for name in names:
            (self.models / name).touch()

    def add_to_vae_folder(self, *names: str) -> None:
        for name in names:
            (self.vaes / name).parent.mkdir(exist_ok=True)
            (self.vaes / name).touch()

    def set_for_checkpoint(self, name: object) -> None:
        (self.models / "cat.json").write_text(json.dumps({"vae": name, "notes": "x"}), "utf-8")

    def set_globally(self, name: str, **settings: bool) -> None:
        (self.models.parent.parent / "config.json").write_text(json.dumps({"sd_vae": name, **settings}), "utf-8")

    def choose(self, vae_name: str = "Automatic") -> VaeChoice:
        return library.choose_vae(self.model, vae_name, [self.vaes], [self.models])

    def choose_name(self, vae_name: str = "Automatic") -> str | None:
        path = self.choose(vae_name).path
        return path.name if path else None


@pytest.fixture
def web_ui(tmp_path: Path) -> WebUi:
    return WebUi(tmp_path)


def test_a_checkpoint_without_vae_files_of_its_name_uses_its_own_vae(web_ui: WebUi) -> None:
    web_ui.add_beside_checkpoint("dog.vae.pt")
    web_ui.add_to_vae_folder("dog.pt")
    choice = web_ui.choose()
    assert choice.path is None and str(choice.reason).startswith("the checkpoint's own") and not choice.warnings


@pytest.mark.parametrize("suffix", [".vae.pt", ".vae.ckpt", ".vae.safetensors"])
def test_a_vae_beside_the_checkpoint_with_its_name_is_used(suffix: str, web_ui: WebUi) -> None:
    web_ui.add_beside_checkpoint(f"cat{suffix}")
    choice = web_ui.choose()
    assert choice.path == web_ui.models / f"cat{suffix}"
    assert "beside the checkpoint" in str(choice.reason) and not choice.warnings


def test_the_order_is_ckpt_pt_safetensors_and_then_the_vae_folder(web_ui: WebUi) -> None:
    names = ["cat.vae.ckpt", "cat.vae.pt", "cat.vae.safetensors", "cat.ckpt", "cat.pt"]
    web_ui.add_beside_checkpoint(*names[:3])
    web_ui.add_to_vae_folder(*names[3:], "cat.safetensors")
    for name in names[:3]:
        assert web_ui.choose_name() == name
        (web_ui.models / name).unlink()
    for name in names[3:]:
        assert web_ui.choose_name() == name
        (web_ui.vaes / name).unlink()
    assert web_ui.choose_name() == "cat.safetensors" and web_ui.choose().path == web_ui.vaes / "cat.safetensors"


def test_a_vae_whose_name_only_begins_like_the_checkpoint_is_used_with_a_warning(web_ui: WebUi) -> None:
    web_ui.add_to_vae_folder("category-theory.pt")
    choice = web_ui.choose()
    assert choice.path == web_ui.vaes / "category-theory.pt"
    [warning] = choice.warnings
    assert "begins with cat" in str(warning) and "choose None as the VAE" in str(warning)


def test_the_warning_names_the_vae_with_exactly_the_checkpoints_name(web_ui: WebUi) -> None:
    """`category.ckpt` is listed before `cat.pt`, and the web UI takes the first."""
    web_ui.add_to_vae_folder("category.ckpt", "cat.pt")
    choice = web_ui.choose()
    assert choice.path == web_ui.vaes / "category.ckpt" and "choose cat.pt as the VAE" in str(choice.warnings[0])


def test_a_lora_whose_name_begins_like_the_checkpoint_is_not_used(web_ui: WebUi) -> None:
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, web_ui.vaes / "cat-lora.safetensors")
    assert web_ui.choose_name() is None


def test_a_choice_by_name_overrides_a_file_beside_the_checkpoint(web_ui: WebUi) -> None:
    web_ui.add_beside_checkpoint("cat.vae.pt")
    web_ui.set_for_checkpoint("cat.vae.pt")
    web_ui.add_to_vae_folder("anime.pt", "sub/deep.safetensors")
    assert web_ui.choose_name("anime.pt") == web_ui.choose_name("anime") == "anime.pt"
    assert web_ui.choose_name("deep") == "deep.safetensors"
    assert "chosen by name" in str(web_ui.choose("anime").reason)
    assert web_ui.choose_name("None") is web_ui.choose_name("none") is None


def test_a_path_may_be_in_any_folder(web_ui: WebUi, tmp_path: Path) -> None:
    web_ui.add_to_vae_folder("anime.pt")
    (tmp_path / "anime.pt").touch()
    assert web_ui.choose(str(tmp_path / "anime.pt")).path == tmp_path / "anime.pt"


def test_an_unknown_name_is_an_error_with_the_nearest_names(web_ui: WebUi) -> None:
    web_ui.add_to_vae_folder("anime.pt", "vae-ft-mse-840000.ckpt")
    with pytest.raises(TetradError, match="E5206") as caught:
        web_ui.choose("animee.pt")
    values = caught.value.sentence.values
    assert values["name"] == "animee.pt" and values["nearest"].startswith("anime.pt")


def test_files_that_are_no_vae_are_not_suggested(web_ui: WebUi) -> None:
    save_file({"lora_unet_x.lora_down.weight": torch.ones(2, 2)}, web_ui.vaes / "anime-lora.safetensors")
    with pytest.raises(TetradError, match="the folders searched contain no VAE"):
        web_ui.choose("anime.pt")
    web_ui.add_to_vae_folder("anime2.pt")
    with pytest.raises(TetradError, match="E5206") as caught:
        web_ui.choose("anime.pt")
    assert caught.value.sentence.values["nearest"] == "anime2.pt"


def test_the_checkpoints_own_setting_overrides_a_file_beside_it(web_ui: WebUi) -> None:
    web_ui.add_beside_checkpoint("cat.vae.pt")
    web_ui.add_to_vae_folder("anime.pt")
    web_ui.set_for_checkpoint("anime.pt")
    assert web_ui.choose_name() == "anime.pt" and "cat.json" in str(web_ui.choose().reason)
    web_ui.set_for_checkpoint("None")
    assert web_ui.choose_name() is None and "cat.json" in str(web_ui.choose().reason)


@pytest.mark.parametrize("setting", ["Automatic", "", None, 3])
def test_an_empty_setting_of_the_checkpoint_is_ignored(setting: object, web_ui: WebUi) -> None:
    web_ui.add_beside_checkpoint("cat.vae.pt")
    web_ui.set_for_checkpoint(setting)
    assert web_ui.choose_name() == "cat.vae.pt" and not web_ui.choose().warnings


def test_a_missing_vae_in_the_checkpoints_setting_is_a_warning(web_ui: WebUi) -> None:
    web_ui.add_beside_checkpoint("cat.vae.pt")
    web_ui.set_for_checkpoint("gone.pt")
    assert web_ui.choose_name() == "cat.vae.pt" and "gone.pt" in str(web_ui.choose().warnings[0])
    (web_ui.models / "cat.json").write_text("{", "utf-8")
    assert web_ui.choose_name() == "cat.vae.pt"


def test_the_web_uis_setting_overrides_that_of_the_checkpoint(web_ui: WebUi) -> None:
    web_ui.add_beside_checkpoint("cat.vae.pt")
    web_ui.set_for_checkpoint("cat.vae.pt")
    web_ui.add_to_vae_folder("anime.pt")
    web_ui.set_globally("anime.pt")
    assert web_ui.choose_name() == "anime.pt" and "config.json selects it" in str(web_ui.choose().reason)
    web_ui.set_globally("None")
    assert web_ui.choose_name() is None and "config.json selects None" in str(web_ui.choose().reason)
    web_ui.set_globally("Automatic")
    assert web_ui.choose_name() == "cat.vae.pt" == web_ui.choose_name("cat")
    web_ui.set_globally("gone.pt")
    assert web_ui.choose_name() is None and "gone.pt, which is in none" in str(web_ui.choose().warnings[0])


def test_a_web_ui_setting_that_does_not_override_comes_last(web_ui: WebUi) -> None:
    web_ui.add_beside_checkpoint("cat.vae.pt")
    web_ui.add_to_vae_folder("anime.pt", "cat-other.pt")
    web_ui.set_globally("anime.pt", sd_vae_overrides_per_model_preferences=False)
    assert web_ui.choose_name() == "cat.vae.pt"
    web_ui.set_for_checkpoint("cat-other.pt")
    assert web_ui.choose_name() == "cat-other.pt"
    web_ui.set_for_checkpoint("")
    for path in (web_ui.models / "cat.vae.pt", web_ui.vaes / "cat-other.pt"):
        path.unlink()
    assert web_ui.choose_name() == "anime.pt"


@pytest.mark.parametrize("content", ["{", "[]", '{"sd_vae": 3}', "{}"])
def test_web_ui_settings_without_a_vae_are_ignored(content: str, web_ui: WebUi) -> None:
    (web_ui.models.parent.parent / "config.json").write_text(content, "utf-8")
    web_ui.add_beside_checkpoint("cat.vae.pt")
    assert web_ui.choose_name() == "cat.vae.pt"


def test_the_order_of_suffixes_counts_before_the_folder(web_ui: WebUi) -> None:
    """In A1111 `**/*.vae.ckpt` is listed before `**/*.vae.pt`, the checkpoint's own folder or not."""
    (web_ui.models / "more").mkdir()
    web_ui.add_beside_checkpoint("cat.vae.pt", "more/cat-two.vae.ckpt")
    assert web_ui.choose_name() == "cat-two.vae.ckpt"


def test_the_folder_of_vae_dir_overrides_the_web_uis(web_ui: WebUi, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "anime.pt").touch()
    web_ui.add_to_vae_folder("anime.pt")
    choice = library.choose_vae(web_ui.model, "anime", [tmp_path / "mine", web_ui.vaes])
    assert choice.path == tmp_path / "mine" / "anime.pt"


def test_a_hypernetwork_whose_name_begins_like_the_checkpoint_is_not_used(web_ui: WebUi) -> None:
    torch.save({"768": ({"linear.0.weight": torch.zeros(1)},), "name": "cat"}, web_ui.vaes / "cat.pt")
    torch.save({"string_to_param": {"*": torch.zeros(1, 768)}}, web_ui.vaes / "cat-word.pt")
    assert web_ui.choose_name() is None


def test_a_name_matches_in_any_case_and_without_its_suffix(web_ui: WebUi) -> None:
    web_ui.add_beside_checkpoint("dog.vae.pt")
    web_ui.add_to_vae_folder("Anime.safetensors")
    assert web_ui.choose_name("dog") == "dog.vae.pt" and web_ui.choose_name("anime") == "Anime.safetensors"


def test_training_uses_another_vae_only_if_named_and_warns_otherwise(web_ui: WebUi) -> None:
    folders = {"vae": (web_ui.vaes,), "checkpoint": (web_ui.models,)}
    assert not library.choose_training_vae(web_ui.model, "", False, folders).warnings
    web_ui.add_beside_checkpoint("cat.vae.pt")
    web_ui.add_to_vae_folder("anime.pt")
    own = library.choose_training_vae(web_ui.model, "", False, folders)
    assert own.path is None and own.warnings[0].values == {"vae": "cat.vae.pt", "checkpoint": "cat.safetensors"}
    assert library.choose_training_vae(web_ui.model, "anime", False, folders).name == "anime.pt"
    assert library.choose_training_vae(web_ui.model, "", True, folders).name == "cat.vae.pt"
    assert (
        library.resolve_folders_around_model(web_ui.model)["vae"][-1] == web_ui.vaes
        and len(library.resolve_folders_around_model(Path("cat"))["vae"]) == 1
    )


def test_of_two_files_with_one_name_that_in_the_vae_folder_counts(web_ui: WebUi) -> None:
    web_ui.add_beside_checkpoint("cat.vae.pt")
    web_ui.add_to_vae_folder("cat.vae.pt")
    assert web_ui.choose().path == web_ui.vaes / "cat.vae.pt"


def test_in_subfolders_of_the_checkpoints_only_vae_files_are_listed(web_ui: WebUi) -> None:
    (web_ui.models / "more").mkdir()
    web_ui.add_beside_checkpoint("more/cat-two.vae.pt", "more/cat-three.ckpt")
    assert web_ui.choose_name() == "cat-two.vae.pt"
    assert library.choose_vae(web_ui.model, "Automatic", [web_ui.vaes]).path is None


def test_a_folders_name_has_no_suffix(web_ui: WebUi) -> None:
    folder = web_ui.models / "model-v1.5"
    folder.mkdir()
    web_ui.add_to_vae_folder("model-v1.pt")
    assert library.choose_vae(folder, vae_folders=[web_ui.vaes]).path is None


def test_the_builtin_model_uses_its_own_vae(web_ui: WebUi) -> None:
    web_ui.add_to_vae_folder("model-of-mine.pt")
    assert library.choose_vae(MODEL_PATH, vae_folders=[web_ui.vaes]).path is None


@pytest.mark.parametrize("below", ["VAE", "Stable-diffusion"])
def test_links_to_folders_are_followed_and_loops_end(below: str, web_ui: WebUi, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "deep"
    elsewhere.mkdir(parents=True)
    (elsewhere / "cat.vae.pt").touch()
    (elsewhere / "loop").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "models" / below / "link").symlink_to(tmp_path / "elsewhere")
    assert web_ui.choose_name() == "cat.vae.pt" == web_ui.choose_name("cat.vae")
    assert str(web_ui.choose().path).count("deep") == 1


def test_no_module_of_the_library_has_the_name_of_a_public_function() -> None:
    """Importing the module would replace the function."""
    modules = {path.stem for path in Path(library.__file__).parent.glob("*.py")}
    assert not modules & set(library.__all__)


def test_a_vae_that_is_not_found_is_not_said_to_be_near_a_file_of_another_type(web_ui: WebUi) -> None:
    save_file({"lora_unet_mid_block_x.lora_up.weight": torch.ones(1)}, web_ui.vaes / "dog.safetensors")
    torch.save({320: ({}, {}), "name": "x"}, web_ui.vaes / "dogs.pt")
    with pytest.raises(TetradError, match=r"E5206 .*contain no VAE"):
        web_ui.choose("dog2")
    web_ui.add_to_vae_folder("dog.vae.pt")
    with pytest.raises(TetradError, match=r"E5206 .*the nearest are dog\.vae\.pt;"):
        web_ui.choose("dog2")
