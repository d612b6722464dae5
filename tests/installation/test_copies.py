"""Web UIs are recognized by their subfolders, and a copy replaces nothing in them."""

import json
from pathlib import Path

import pytest

from tetrad.errors import TetradError
from tetrad.installation import Copy, Destination, check_name, choose_free_name, list_folders, recognize


def make(root: Path, *folders: str) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    "folders,kind",
    [
        (("models/Stable-diffusion", "embeddings"), "A1111"),
        (("models/Stable-diffusion", "modules_forge"), "Forge"),
        (("models/checkpoints", "models/loras"), "ComfyUI"),
        (("models/loras",), "ComfyUI"),
        (("models/Lora",), "A1111"),
    ],
)
def test_a_web_ui_is_recognized_also_by_its_folder_of_models(
    tmp_path: Path, folders: tuple[str, ...], kind: str
) -> None:
    make(tmp_path, *folders)
    assert recognize(tmp_path) == Destination(tmp_path, kind)
    assert recognize(tmp_path / "models") == Destination(tmp_path, kind)
    assert recognize(tmp_path / "models" / "nothing") is None


def test_each_type_of_file_has_its_folder() -> None:
    def folders(kind: str) -> dict[str, str]:
        found = Destination(Path("/ui"), kind)
        return {file_type: found.folder(file_type).as_posix() for file_type in list_folders()}

    assert (
        folders("Forge")
        == folders("A1111")
        == {
            "lora": "/ui/models/Lora",
            "embedding": "/ui/embeddings",
            "hypernetwork": "/ui/models/hypernetworks",
            "checkpoint": "/ui/models/Stable-diffusion",
            "vae": "/ui/models/VAE",
        }
    )
    assert folders("ComfyUI") == {
        "lora": "/ui/models/loras",
        "embedding": "/ui/models/embeddings",
        "hypernetwork": "/ui/models/hypernetworks",
        "checkpoint": "/ui/models/checkpoints",
        "vae": "/ui/models/vae",
    }
    assert set(folders("").values()) == {"/ui"}


def test_a_name_is_free_in_every_spelling_with_all_that_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ZKR.safetensors").touch()
    (tmp_path / "zkr-2.preview.png").touch()
    assert choose_free_name(tmp_path, "zkr", ".safetensors") == "zkr-3"
    assert choose_free_name(tmp_path / "new", "zkr", ".safetensors") == "zkr"


@pytest.mark.parametrize("name", ["a b", "a/b", "..", "<lora:a:1>", "con", "", "x" * 300, "a:b", ".hidden"])
def test_a_name_that_prompts_or_systems_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(TetradError, match="E4322"):
        check_name(name)


def test_a_copy_is_whole_or_not_there(tmp_path: Path) -> None:
    source = tmp_path / "zkr.safetensors"
    source.write_bytes(b"x" * 5_000_000)
    target = tmp_path / "ui" / "models" / "Lora" / "zkr.safetensors"
    Copy(source, target, None, {"activation text": "触发词"}).run()
    assert target.read_bytes() == source.read_bytes()
    assert json.loads(target.with_suffix(".json").read_text("utf-8")) == {"activation text": "触发词"}
    (tmp_path / "file").touch()
    with pytest.raises(TetradError, match="E4202"):
        Copy(source, tmp_path / "file" / "zkr.safetensors").run()
    folder = make(tmp_path / "model", "unet")
    (folder / "unet" / "a.json").write_text("{}")
    Copy(folder, tmp_path / "ui" / "copy").run()
    assert (tmp_path / "ui" / "copy" / "unet" / "a.json").exists()
    assert not list((tmp_path / "ui").rglob(".*"))
