"""Installing puts a file where its web UI looks for it and replaces nothing; uninstalling removes only that."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import tetrad
from tetrad.errors import TetradError
from tetrad.installation.receipts import FILE_NAME

METADATA = {
    "ss_base_model_version": "sdxl_base_v1-0",
    "modelspec.trigger_phrase": "zkr",
    "modelspec.description": "a test",
}


@pytest.fixture
def a1111(tmp_path: Path) -> Path:
    for folder in ("models/Lora", "models/Stable-diffusion", "models/VAE", "embeddings"):
        (tmp_path / "a1111" / folder).mkdir(parents=True)
    return tmp_path / "a1111"


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    (tmp_path / "comfyui" / "models" / "loras").mkdir(parents=True)
    return tmp_path / "comfyui"


def save_lora(path: Path, value: float = 1.0) -> Path:
    name = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    save_file(
        {f"{name}.lora_down.weight": torch.full((2, 768), value), f"{name}.lora_up.weight": torch.ones(3072, 2)},
        path,
        METADATA,
    )
    return path


def save_embedding(path: Path) -> Path:
    save_file({"emb_params": torch.ones(1, 768)}, path)
    return path


def list_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_installed_with_its_preview_and_card(tmp_path: Path, a1111: Path) -> None:
    file = save_lora(tmp_path / "zkr.safetensors")
    Image.new("RGB", (8, 8)).save(tmp_path / "zkr.png")
    (installed,) = tetrad.install(file, a1111, strength=0.8)
    assert installed.target.read_bytes() == file.read_bytes() and not installed.notes
    expected = {"models/Lora/zkr.safetensors", "models/Lora/zkr.preview.png", "models/Lora/zkr.json"}
    assert list_files(a1111) == expected | {FILE_NAME}
    card = json.loads((a1111 / "models/Lora/zkr.json").read_text("utf-8"))
    assert card == {"activation text": "zkr", "preferred weight": 0.8, "sd version": "SDXL", "notes": "a test"}
    (again,) = tetrad.install(file, a1111)
    assert not again.made and list_files(a1111) == expected | {FILE_NAME}
    assert set(tetrad.uninstall("zkr", source=a1111).removed) == {a1111 / name for name in expected}
    assert not list_files(a1111)


def test_the_preview_is_the_last_one_of_the_runs_first_prompt(tmp_path: Path, a1111: Path) -> None:
    (tmp_path / "samples").mkdir()
    for name, side in (
        ("step00000002-00", 2),
        ("step00000004-00", 4),
        ("step00000004-01", 5),
        ("step00000004-sheet", 6),
    ):
        Image.new("RGB", (side, side)).save(tmp_path / "samples" / f"{name}.png")
    tetrad.install(save_lora(tmp_path / "zkr.safetensors"), a1111)
    with Image.open(a1111 / "models/Lora/zkr.preview.png") as preview:
        assert preview.size == (4, 4)


def test_comfyui_gets_the_file_alone(tmp_path: Path, comfyui: Path) -> None:
    (installed,) = tetrad.install(save_lora(tmp_path / "zkr.safetensors"), comfyui / "models", name="other")
    assert installed.target == comfyui / "models" / "loras" / "other.safetensors"
    assert list_files(comfyui) == {"models/loras/other.safetensors", FILE_NAME}


def test_another_file_of_the_name_is_not_replaced_and_nothing_is_installed(tmp_path: Path, a1111: Path) -> None:
    (a1111 / "models/Lora/zkr.safetensors").write_bytes(b"of somebody else")
    files = [save_embedding(tmp_path / "word.safetensors"), save_lora(tmp_path / "zkr.safetensors")]
    before = list_files(a1111)
    with pytest.raises(TetradError, match=r"E4342.*--name"):
        tetrad.install(files, a1111)
    assert list_files(a1111) == before


def test_all_files_are_installed_or_none(tmp_path: Path, a1111: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [save_embedding(tmp_path / "word.safetensors"), save_lora(tmp_path / "zkr.safetensors")]
    copy: Callable[..., None] = os.replace

    def fail_at_lora(source: Path, target: Path) -> None:
        if Path(target).name == "zkr.json":
            raise OSError(28, "No space left on device")
        copy(source, target)

    monkeypatch.setattr("os.replace", fail_at_lora)
    with pytest.raises(TetradError, match=r"E4202.*No space left"):
        tetrad.install(files, a1111)
    assert not list_files(a1111)


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path, a1111: Path) -> None:
    (a1111 / "models" / "Lora").rmdir()
    (a1111 / "models" / "Lora").touch()
    with pytest.raises(TetradError, match="E4202"):
        tetrad.install([save_embedding(tmp_path / "word.safetensors"), save_lora(tmp_path / "zkr.safetensors")], a1111)
    assert list_files(a1111) == {"models/Lora"}


def test_a_card_and_a_preview_of_a_person_stay_as_they_are(tmp_path: Path, a1111: Path) -> None:
    (a1111 / "models/Lora/zkr.json").write_text("{}")
    tetrad.install(save_lora(tmp_path / "zkr.safetensors"), a1111)
    assert (a1111 / "models/Lora/zkr.json").read_text() == "{}"
    tetrad.uninstall(a1111 / "models/Lora/zkr.safetensors", source=a1111)
    assert list_files(a1111) == {"models/Lora/zkr.json"}


def test_what_was_changed_since_stays(tmp_path: Path, a1111: Path) -> None:
    tetrad.install(save_lora(tmp_path / "zkr.safetensors"), a1111)
    card = a1111 / "models/Lora/zkr.json"
    card.write_text('{"activation text": "mine"}')
    file = a1111 / "models/Lora/zkr.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    with pytest.raises(TetradError, match="E4345"):
        tetrad.uninstall("zkr", source=a1111)
    file.write_bytes(content)
    result = tetrad.uninstall("zkr.safetensors", source=a1111)
    assert result.kept == (card,) and list_files(a1111) == {"models/Lora/zkr.json"}


def test_a_note_that_was_changed_by_hand_counts_as_none(tmp_path: Path, a1111: Path) -> None:
    tetrad.install(save_lora(tmp_path / "zkr.safetensors"), a1111)
    note = a1111 / FILE_NAME
    note.write_text(
        note.read_text("utf-8").replace('"models/Lora/zkr.safetensors": ', '"models/Lora/other": '), "utf-8"
    )
    with pytest.raises(TetradError, match=r"E4344.*nothing"):
        tetrad.uninstall("zkr", source=a1111)
    assert (a1111 / "models/Lora/zkr.safetensors").exists()


def test_only_what_was_installed_can_be_uninstalled(tmp_path: Path, a1111: Path) -> None:
    (a1111 / "models/Lora/mine.safetensors").touch()
    with pytest.raises(TetradError, match=r"E4344.*nothing"):
        tetrad.uninstall("mine", source=a1111)
    tetrad.install([save_lora(tmp_path / "zkr.safetensors"), save_embedding(tmp_path / "word.safetensors")], a1111)
    with pytest.raises(TetradError, match=r"E4344.*models/Lora/zkr.safetensors"):
        tetrad.uninstall("mine", source=a1111)
    (tmp_path / "other").mkdir()
    tetrad.install(save_embedding(tmp_path / "other" / "zkr.safetensors"), a1111)
    with pytest.raises(TetradError, match=r"E4344.*several"):
        tetrad.uninstall("zkr", source=a1111)
    tetrad.uninstall("embeddings/zkr.safetensors", source=a1111)
    assert "models/Lora/zkr.safetensors" in list_files(a1111)


def test_what_a_web_ui_has_no_folder_for_or_does_not_load_is_said(tmp_path: Path, a1111: Path) -> None:
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.ones(2, 2)}, tmp_path / "flux.safetensors")
    with pytest.raises(TetradError, match=r"E4341.*Flux"):
        tetrad.install(tmp_path / "flux.safetensors", a1111)
    name = "text_encoder.text_model.encoder.layers.0.mlp.fc1"
    keys = {f"{name}.lora_A.weight": torch.ones(2, 768), f"{name}.lora_B.weight": torch.ones(3072, 2)}
    save_file(keys, tmp_path / "peft.safetensors", METADATA)
    (installed,) = tetrad.install(tmp_path / "peft.safetensors", a1111)
    assert "A1111 does not load peft.safetensors" in str(installed.notes[0])


def test_a_damaged_file_is_not_installed(tmp_path: Path, a1111: Path) -> None:
    with pytest.raises(TetradError, match="E5481"):
        tetrad.install(save_lora(tmp_path / "zkr.safetensors", float("nan")), a1111)
    with pytest.raises(TetradError, match="E4321"):
        tetrad.install(save_lora(tmp_path / "zkr.safetensors"), tmp_path)
    assert not list_files(a1111)
