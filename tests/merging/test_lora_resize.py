"""A resized LoRA changes the model as much the same as its ranks allow."""

from pathlib import Path

import pytest
import torch
from lora_samples import ATTENTION, CONVOLUTION, KINDS, TEXT, changes_of, plain, read_file, save, save_base, save_kind

from tetrad.merging.lora_resize import resize_lora
from tetrad.weights import Weights


def test_resizing_to_its_own_rank_leaves_every_tensor_as_it_is(tmp_path: Path) -> None:
    base, lora = save_base(tmp_path / "base"), save_kind(tmp_path / "a", "LoCon", 1, torch.float16)
    resize_lora(lora, tmp_path / "b.safetensors", rank=4, model=base)
    before, after = read_file(lora).tensors, read_file(tmp_path / "b.safetensors").tensors
    assert before.keys() == after.keys() and all(before[name].equal(after[name]) for name in before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rank_that_holds_everything_keeps_the_change(tmp_path: Path, kind: str) -> None:
    base, lora = save_base(tmp_path / "base"), save_kind(tmp_path / "a", kind)
    resize_lora(lora, tmp_path / "b.safetensors", energy=1.0, model=base)
    before, after = changes_of(lora), changes_of(tmp_path / "b.safetensors")
    for name, change in before.items():
        torch.testing.assert_close(after[name], change, rtol=0, atol=1e-5 * float(change.abs().max()))


def test_a_lower_rank_loses_what_the_singular_values_say_and_the_report_says_so(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    tensors = {
        f"{path}.{name}": each for path in (ATTENTION, CONVOLUTION, TEXT) for name, each in plain(1, path, 16).items()
    }
    lora = save(tmp_path / "a", Weights("lora", tensors))
    report = resize_lora(lora, tmp_path / "b.safetensors", rank=5, conv_rank=2, model=base)
    before, after = changes_of(lora), changes_of(tmp_path / "b.safetensors")
    for layer in report.layers:
        sigma = torch.linalg.svdvals(before[f"{layer.path}.weight"].flatten(1))
        rank = 2 if layer.path == CONVOLUTION else 5
        lost = (after[f"{layer.path}.weight"] - before[f"{layer.path}.weight"]).norm()
        assert layer.rank == rank
        assert abs(float(lost) - layer.lost) < 1e-4 * layer.norm
        assert abs(layer.lost - float(sigma[rank:].norm())) < 1e-4 * layer.norm
    assert read_file(tmp_path / "b.safetensors").metadata["ss_network_args"] == '{"conv_dim": "2", "conv_alpha": "3"}'


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.99])
def test_every_layer_keeps_the_energy_with_the_fewest_ranks(tmp_path: Path, energy: float) -> None:
    base = save_base(tmp_path / "base")
    lora = save(
        tmp_path / "a", Weights("lora", {f"{ATTENTION}.{name}": each for name, each in plain(1, ATTENTION, 16).items()})
    )
    report = resize_lora(lora, tmp_path / "b.safetensors", energy=energy, model=base)
    squares = torch.linalg.svdvals(changes_of(lora)[f"{ATTENTION}.weight"]).square()
    held = squares.cumsum(0) / squares.sum()
    assert report.layers[0].rank == int((held < energy).sum()) + 1


def test_a_file_of_a_given_size_holds_the_most_that_fits(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    layers = {ATTENTION: plain(1, ATTENTION, 16), TEXT: {name: each * 3 for name, each in plain(1, TEXT, 16).items()}}
    lora = save(
        tmp_path / "a",
        Weights("lora", {f"{path}.{name}": each for path, own in layers.items() for name, each in own.items()}),
    )
    size = lora.stat().st_size * 2 // 3
    report = resize_lora(lora, tmp_path / "b.safetensors", max_bytes=size, model=base)
    assert 0.8 * size < (tmp_path / "b.safetensors").stat().st_size <= size
    ranks = {layer.path: layer.rank for layer in report.layers}
    assert ranks[TEXT] > ranks.get(ATTENTION, 0)
