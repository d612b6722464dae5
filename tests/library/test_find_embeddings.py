"""Embeddings that a prompt names are found, or it is an error: their names must not be read as ordinary words."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tetrad import library
from tetrad.errors import TetradError


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_named_file_without_an_embedding_is_an_error(suffix: str, tmp_path: Path) -> None:
    words = {"<s0>": torch.ones(32), "<s1>": torch.ones(32)}
    (save_file if suffix == "safetensors" else torch.save)(words, tmp_path / f"zkr.{suffix}")
    folders = library.resolve_model_folders(embeddings_dir=tmp_path)
    assert library.find_embeddings(["a cat"], folders) == []
    with pytest.raises(TetradError, match=r"E5106.*zkr.*<s0>, <s1>"):
        library.find_embeddings(["a zkr"], folders)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_named_file_without_content_is_an_error(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"zkr.{suffix}").touch()
    folders = library.resolve_model_folders(embeddings_dir=tmp_path)
    assert library.find_embeddings(["a cat"], folders) == []
    with pytest.raises(TetradError, match=r"E5002.*zkr"):
        library.find_embeddings(["a zkr"], folders)


def test_files_of_another_type_are_not_proposed(tmp_path: Path) -> None:
    save_file({"emb_params": torch.ones(1, 32)}, tmp_path / "zkr.safetensors")
    folders = library.resolve_model_folders(lora_dir=tmp_path)
    with pytest.raises(TetradError, match=r"E5101.*there is no LoRA at all"):
        library.find_file("lora", "zkq", folders)
    save_file({"lora_unet_mid_block_x.lora_up.weight": torch.ones(1)}, tmp_path / "zkrs.safetensors")
    with pytest.raises(TetradError, match=r"E5101.*the nearest are zkrs$"):
        library.find_file("lora", "zkq", folders)
