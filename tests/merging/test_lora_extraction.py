"""A LoRA extracted from two checkpoints holds their difference as well as its ranks allow, and says what it lacks."""

from pathlib import Path

import pytest
import torch
from lora_samples import (
    ATTENTION,
    CONVOLUTION,
    KINDS,
    NORM,
    TEXT,
    build_model,
    changes_of,
    read_file,
    save_base,
    save_kind,
)

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.merging.lora_extraction import extract_lora
from tetrad.merging.lora_files import LoraChoice
from tetrad.merging.lora_into_checkpoint import merge_loras_into
from tetrad.weights import Weights


def save_tuned(path: Path, amounts: dict[str, float], metadata: dict[str, str] | None = None) -> Path:
    """The base with random noise of a size on some of its tensors, by canonical name."""
    weights = build_model().weights()
    tensors = dict(weights.tensors)
    for name, amount in amounts.items():
        noise = torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(1))
        tensors[name] = tensors[name] + amount * noise
    tuned = Weights("checkpoint", tensors, weights.metadata)
    return library.save_weights(path, tuned, build_model(), {**weights.metadata, **(metadata or {})}, "ldm")


def test_merging_what_was_extracted_at_full_rank_recovers_the_tuned_checkpoint(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    loras = [LoraChoice(save_kind(tmp_path / kind, kind)) for kind in KINDS if kind not in ("norms", "full")]
    tuned = merge_loras_into(loras, base, tmp_path / "t.safetensors").path
    lora = tmp_path / "x.safetensors"
    report = extract_lora(base, tuned, lora, energy=1.0, precision="fp32")
    assert report.error() < 1e-5 and not report.left_out_shares
    merged = merge_loras_into([LoraChoice(lora)], base, tmp_path / "m.safetensors").path
    before, after, start = (weight_files.read_weight_file(path).tensors for path in (tuned, merged, base))
    for name, tensor in before.items():
        change = tensor - start[name]
        torch.testing.assert_close(after[name] - start[name], change, rtol=0, atol=1e-5 * float(change.abs().max()))


def test_the_report_has_the_error_of_each_layer_and_the_share_of_what_no_lora_holds(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    amounts = {
        f"{ATTENTION}.weight": 0.01,
        f"{TEXT}.weight": 0.02,
        f"{NORM}.weight": 0.1,
        f"{CONVOLUTION}.weight": 0.01,
    }
    tuned = save_tuned(tmp_path / "t", amounts)
    report = extract_lora(base, tuned, tmp_path / "x.safetensors", rank=8, precision="fp32", convolutions=False)
    before, after = weight_files.read_weight_file(base).tensors, weight_files.read_weight_file(tuned).tensors
    total = sum(float((after[name] - before[name]).double().square().sum()) for name in before)
    found = changes_of(tmp_path / "x.safetensors")
    differences = {name: build_difference(base, tuned, name) for name in found}
    for layer in report.layers:
        name = f"{layer.path}.weight"
        assert layer.rank == 8
        assert abs(float((found[name] - differences[name]).norm()) - layer.lost) < 1e-4 * layer.norm
    kept = sum(float(change.square().sum()) for change in differences.values())
    shares = report.left_out_shares
    assert shares.keys() == {"norms", "convolutions"}
    assert abs(sum(shares.values()) - (total - kept) / total) < 1e-5


def build_difference(base: Path, tuned: Path, name: str) -> torch.Tensor:
    """Of a tensor by canonical name, read by the library's own reader."""
    first, second = (library.load_model(str(path)).weights().tensors[name] for path in (base, tuned))
    return (second - first).double()


def test_a_size_is_kept_and_the_trigger_word_is_too(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    tuned = save_tuned(
        tmp_path / "t", {f"{ATTENTION}.weight": 0.01, f"{TEXT}.weight": 0.02}, {"modelspec.trigger_phrase": "zkr"}
    )
    extract_lora(base, tuned, tmp_path / "x.safetensors", max_bytes=9000)
    assert 6000 < (tmp_path / "x.safetensors").stat().st_size <= 9000
    metadata = read_file(tmp_path / "x.safetensors").metadata
    assert metadata["modelspec.trigger_phrase"] == "zkr" and metadata["ss_base_model_version"] == "sd_v1"
    assert metadata["ss_sd_model_name"] == "base.safetensors"


def test_checkpoints_that_do_not_differ_or_do_not_fit_are_refused(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    with pytest.raises(TetradError, match="E5323"):
        extract_lora(base, base, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
