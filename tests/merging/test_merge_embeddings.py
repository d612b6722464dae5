"""Embeddings merged into one: one after another, or averaged."""

import json
from pathlib import Path

import lora_samples
import pytest
import tiny
import torch
from torch import Tensor

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats import file_hashes, weight_files
from tetrad.merging.embeddings import merge_embeddings


def save(path: Path, count: int, seed: int, *widths: int) -> Path:
    names = ("emb_params",) if len(widths) == 1 else ("clip_l", "clip_g")
    rng = torch.Generator().manual_seed(seed)
    rows = {name: torch.randn(count, width, generator=rng) for name, width in zip(names, widths, strict=True)}
    weight_files.write_safetensors(path, rows, {})
    return path


def rows_of(path: Path) -> dict[str, Tensor]:
    return weight_files.read_weight_file(path).tensors


@pytest.mark.parametrize("widths", [(32,), (32, 48)])
def test_concatenated_vectors_are_those_of_all_files_in_order(widths: tuple[int, ...], tmp_path: Path) -> None:
    files = [save(tmp_path / f"{seed}.safetensors", seed, seed, *widths) for seed in (2, 1, 3)]
    merged = merge_embeddings(files, tmp_path / "all.safetensors").path
    for name, rows in rows_of(merged).items():
        assert torch.equal(rows, torch.cat([rows_of(path)[name] for path in files]))


def test_a_concatenated_embedding_means_the_prompt_with_all_words(tmp_path: Path) -> None:
    model = tiny.build_model(is_shallow=True)
    files = [save(tmp_path / f"{word}.safetensors", 2, seed, 32) for seed, word in enumerate(("zkr", "qwv"))]
    merged = merge_embeddings(files, tmp_path / "both.pt").path
    adapters = [library.attach_weights(path, model) for path in (*files, merged)]
    separate, together = (model.condition([f"a photo of {words}"]).hidden_states for words in ("zkr qwv", "both"))
    for adapter in adapters:
        adapter.detach()
    assert torch.equal(separate, together)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (1.5, -0.5)])
@pytest.mark.parametrize("widths", [(32,), (32, 48)])
def test_an_average_is_the_weighted_mean(widths: tuple[int, ...], weights: tuple[float, float], tmp_path: Path) -> None:
    a, b = (save(tmp_path / f"{seed}.safetensors", 2, seed, *widths) for seed in (1, 2))
    merged = merge_embeddings([(a, weights[0]), (b, weights[1])], tmp_path / "mean.safetensors", average=True).path
    for name, rows in rows_of(merged).items():
        expected = (weights[0] * rows_of(a)[name] + weights[1] * rows_of(b)[name]) / sum(weights)
        torch.testing.assert_close(rows, expected, atol=1e-6, rtol=0)


def test_the_average_of_a_file_with_itself_is_the_file(tmp_path: Path) -> None:
    a = save(tmp_path / "a.safetensors", 3, 1, 32)
    merged = merge_embeddings([(a, 0.3), (a, 0.4)], tmp_path / "same.safetensors", average=True).path
    assert torch.equal(rows_of(merged)["emb_params"], rows_of(a)["emb_params"])
    recipe = json.loads(weight_files.read_safetensors_metadata(merged)["sd_merge_recipe"])
    assert recipe["files"] == [
        {"name": "a.safetensors", "hash": file_hashes.compute_file_hash(a), "weights": [0.3, 0.4]}
    ]
    assert recipe["mode"] == "average"


def test_embeddings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    sd1, sd2 = save(tmp_path / "a.safetensors", 2, 1, 768), save(tmp_path / "b.safetensors", 2, 2, 1024)
    xl, longer = save(tmp_path / "c.safetensors", 2, 3, 768, 1280), save(tmp_path / "d.safetensors", 40, 4, 768)
    cases = [
        ([sd1, sd2], False, "768 numbers and b.safetensors of 1024"),
        ([sd1, xl], False, "768 [+] 1280"),
        ([sd1, longer], True, "2 vectors and d.safetensors has 40"),
        ([longer, longer], False, "80 vectors, but a prompt holds 75"),
        ([(sd1, 0.5), sd1], False, "averages only"),
        ([(sd1, 1.0), (sd1, -1.0)], True, "add up to 0"),
    ]
    for files, average, words in cases:
        with pytest.raises(TetradError, match=words) as caught:
            merge_embeddings(files, tmp_path / "out.safetensors", average)
        assert caught.value.code == "E5356"
    lora = lora_samples.save_kind(tmp_path / "lora", "LoRA")
    with pytest.raises(TetradError, match=r"E5106.*lora\.safetensors is a LoRA"):
        merge_embeddings([sd1, lora], tmp_path / "out.safetensors")
    for out, code in ((sd1, "E5210"), (tmp_path / "out.ckpt", "E5210")):
        with pytest.raises(TetradError) as caught:
            merge_embeddings([sd1, sd1], out)
        assert caught.value.code == code
    assert not list(tmp_path.glob("out*"))


def test_huge_weights_are_averaged_too_and_a_sum_that_only_rounds_away_from_0_is_none(tmp_path: Path) -> None:
    a, b = (save(tmp_path / f"{seed}.safetensors", 2, seed, 32) for seed in (1, 2))
    merged = merge_embeddings([(a, 1e308), (b, 1e308)], tmp_path / "mean.safetensors", average=True).path
    torch.testing.assert_close(rows_of(merged)["emb_params"], (rows_of(a)["emb_params"] + rows_of(b)["emb_params"]) / 2)
    with pytest.raises(TetradError, match="E5356"):
        merge_embeddings([(a, 0.1), (b, 0.2), (a, -0.3)], tmp_path / "none.safetensors", average=True)


def test_an_average_too_large_for_fp32_is_not_written(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.safetensors", 2, 1, 32), tmp_path / "b.safetensors"
    weight_files.write_safetensors(b, {"emb_params": torch.full((2, 32), 3e38)}, {})
    with pytest.raises(TetradError, match="E5303"):
        merge_embeddings([(b, 1), (a, -0.99)], tmp_path / "mean.safetensors", average=True)
    assert not (tmp_path / "mean.safetensors").exists()
