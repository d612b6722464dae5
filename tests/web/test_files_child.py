"""What there is to generate with is listed by type, and the text of an image says what of it is not here."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tetrad.errors import TetradError
from tetrad.library import find_file, resolve_model_folders
from tetrad.web.drawing.worker import prefer_run
from tetrad.web.files_child import find_networks, list_choices, read_parameters
from tetrad.web.resident_child import Answers, Request

TEXT = "a cat <lora:ink:1>\nNegative prompt: bad\nSteps: 7, Sampler: {sampler}, CFG scale: 5, Seed: 3, Size: 64x32"


def ask(handler: Any, **values: Any) -> dict[str, Any]:
    answers: Answers = handler(Request(values, lambda answer: None, lambda: None))
    return next(iter(answers))


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """A run with a LoRA, and a web UI's folder with a model that is too large to look into, a VAE, and a stray LoRA."""
    run, web_ui = tmp_path / "runs" / "ink", tmp_path / "ui" / "models"
    for folder in (run, web_ui / "Stable-diffusion", web_ui / "VAE"):
        folder.mkdir(parents=True)
    lora = {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": torch.zeros(1, 4)}
    save_file(lora, run / "ink.safetensors", {"modelspec.trigger_phrase": "inkwash"})
    (web_ui / "Stable-diffusion" / "big.ckpt").write_bytes(b"not a model")
    (web_ui / "VAE" / "soft.safetensors").write_bytes(b"x")
    save_file(lora, web_ui / "VAE" / "stray.safetensors")
    runs = str(tmp_path / "runs")
    return {"lora_dir": runs, "embeddings_dir": runs, "hypernetwork_dir": runs, "models_dir": str(tmp_path / "ui")}


def test_files_are_listed_by_type_with_their_trigger_word(folders: dict[str, str]) -> None:
    found = ask(list_choices, folders=folders, runs=folders["lora_dir"])
    assert [(each["type"], each["name"], each["word"]) for each in found["networks"]] == [("lora", "ink", "inkwash")]
    assert [each["name"] for each in found["models"]] == ["big"]
    assert [each["name"] for each in found["vaes"]] == ["soft.safetensors"]


def test_what_a_prompt_names_is_found_or_not(folders: dict[str, str]) -> None:
    found = ask(find_networks, prompt="<lora:ink:0.5> <lora:inc:1>", negative_prompt="", folders=folders)["networks"]
    assert [(each["name"], bool(each["path"])) for each in found] == [("ink", True), ("inc", False)]
    assert found[0]["word"] == "inkwash" and found[1]["error"]["values"]["nearest"] == "ink"


def test_the_text_of_an_image_fills_in_what_is_known(folders: dict[str, str]) -> None:
    def read(text: str) -> dict[str, Any]:
        return ask(read_parameters, text=text, folders=folders)

    found = read(f"{TEXT.format(sampler='Euler a')}, Model: big")
    assert (found["seed"], found["steps"], found["width"], found["height"]) == (3, 7, 64, 32)
    assert found["negative_prompt"] == "bad" and found["model_path"].endswith("big.ckpt")
    assert found["not_reproducible"] == []
    missing = read(f"{TEXT.format(sampler='Nope')}, Model: none, Denoising strength: 0.5")
    reasons = [each["text"] for each in missing["not_reproducible"]]
    assert reasons == ["the sampler Nope, which Tetrad does not have", "the model none, which is not in your folders"]
    assert missing["has_init_image"] and missing["model_path"] == ""
    partial = read("a cat\nSteps: 9, Seed: 4, Model: builtin")
    assert partial["steps"] == 9 and len(partial["not_reproducible"]) == 3
    with pytest.raises(TetradError, match="E3205"):
        read("a cat")


def test_a_file_of_the_run_counts_before_another_one_of_its_name_in_the_web_ui(
    folders: dict[str, str], tmp_path: Path
) -> None:
    loras, run = tmp_path / "ui/models/Lora", tmp_path / "runs/ink"
    loras.mkdir()
    for name in ("ink", "other"):
        save_file({"lora_unet_conv_in.lora_down.weight": torch.ones(1, 4)}, loras / f"{name}.safetensors")
    found = resolve_model_folders(lora_dir=run, models_dir=Path(folders["models_dir"]))
    with pytest.raises(TetradError, match="E5101"):
        find_file("lora", "ink", found)
    preferred = prefer_run(found, run)
    assert find_file("lora", "ink", preferred) == run / "ink.safetensors"
    assert find_file("lora", "other", preferred) == loras / "other.safetensors"
    assert preferred["vae"] == found["vae"]
