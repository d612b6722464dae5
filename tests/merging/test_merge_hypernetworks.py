"""Linear hypernetworks merged into one do what A1111 does with all of them, one after another."""

from pathlib import Path
from typing import Any

import a1111_unpickler
import pytest
import tiny
import torch
from torch import Tensor, nn

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.merging.hypernetworks import merge_hypernetworks
from tetrad.methods import Hypernetwork
from tetrad.methods.base import parameters_of


def save(path: Path, seed: int, **settings: Any) -> Path:
    model = tiny.build_model(is_shallow=True)
    adapter = tiny.attach(Hypernetwork(**settings), model, generator(0, 0, "method"))
    rng = generator(seed, 0, "trained")
    with torch.no_grad():
        for parameter in parameters_of(adapter):
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    return library.save_weights(path, adapter.weights(), model, {"step": "5"})


def apply_as_a1111(path: Path, width: int, side: int, x: Tensor, strength: float) -> Tensor:
    """x + linear(x) · multiplier, with the layers of the file in their order, all linear here."""
    state, y = torch.load(path, weights_only=True)[width][side], x
    for number in range(len(state) // 2):
        y = nn.functional.linear(y, state[f"linear.{number}.weight"], state[f"linear.{number}.bias"])
    return x + strength * y


def test_one_network_does_what_several_do_one_after_another(tmp_path: Path) -> None:
    files = [
        (save(tmp_path / "a", 1), 0.7),
        (save(tmp_path / "b", 2, structure=(1, 1.5, 2, 1)), 1.0),
        (save(tmp_path / "c", 3, sizes=(64,)), -0.5),
    ]
    unused = (files[0][0], 0.0)
    result = merge_hypernetworks([*files, unused], tmp_path / "all.pt")
    assert str(result.notes[-1]) == "a.pt has the weight 0, so nothing of it is merged"
    merged = result.path
    a1111_unpickler.check_can_open(merged)
    for width in (32, 64):
        for side in (0, 1):
            x = torch.randn(50, width, generator=generator(0, 0, "x"))
            expected = x
            for path, strength in files if width == 64 else files[:2]:
                expected = apply_as_a1111(path, width, side, expected, strength)
            actual = apply_as_a1111(merged, width, side, x, 1.0)
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_the_order_matters_and_a_single_one_keeps_its_strength(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a", 1), save(tmp_path / "b", 2)
    first, second = (merge_hypernetworks(files, tmp_path / f"{n}.pt").path for n, files in enumerate(([a, b], [b, a])))
    x = torch.randn(5, 32, generator=generator(0, 0, "x"))
    assert (apply_as_a1111(first, 32, 0, x, 1.0) - apply_as_a1111(second, 32, 0, x, 1.0)).abs().max() > 0.01
    half = merge_hypernetworks([(a, 0.5), (b, 0.0)], tmp_path / "half.pt").path
    torch.testing.assert_close(apply_as_a1111(half, 32, 1, x, 1.0), apply_as_a1111(a, 32, 1, x, 0.5))


def test_what_cannot_be_chained_is_refused(tmp_path: Path) -> None:
    linear = save(tmp_path / "a", 1)
    for settings, words in (({"activation": "swish"}, "activation swish"), ({"layer_norm": True}, "layer norm yes")):
        other = save(tmp_path / f"{next(iter(settings))}", 2, **settings)
        with pytest.raises(TetradError, match=words) as caught:
            merge_hypernetworks([linear, other], tmp_path / "out.pt")
        assert caught.value.code == "E5357"
    content = torch.load(linear, weights_only=True)
    families = []
    for width in (768, 1024):
        weight_files.write_file(tmp_path / f"{width}.pt", {**content, width: content[32]})
        families.append(tmp_path / f"{width}.pt")
    with pytest.raises(TetradError, match=r"768 and .*1024") as caught:
        merge_hypernetworks(families, tmp_path / "out.pt")
    assert caught.value.code == "E5107"
    weight_files.write_file(tmp_path / "damaged.pt", {**content, 32: content[64]})
    content[32][0]["linear.0.weight"][0, 0] = torch.nan
    weight_files.write_file(tmp_path / "nan.pt", content)
    bad = {"nan": "E5014", "none": "E5001", "damaged": "E5108"}
    for path, code in ((tmp_path / f"{name}.pt", code) for name, code in bad.items()):
        with pytest.raises(TetradError) as caught:
            merge_hypernetworks([linear, path], tmp_path / "out.pt")
        assert caught.value.code == code
    assert not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize("strength", [1e7, 1e38])
def test_strengths_too_large_for_half_precision_write_no_file(strength: float, tmp_path: Path) -> None:
    a = save(tmp_path / "a", 1)
    with pytest.raises(TetradError, match="E5303"):
        merge_hypernetworks([(a, strength), (a, strength)], tmp_path / "all.pt")
    assert not (tmp_path / "all.pt").exists()


def test_a_file_of_another_type_is_named(tmp_path: Path) -> None:
    embedding = tmp_path / "zkr.safetensors"
    weight_files.write_safetensors(embedding, {"emb_params": torch.zeros(2, 768)}, {})
    with pytest.raises(TetradError, match="this is a Textual Inversion embedding, not a hypernetwork") as caught:
        merge_hypernetworks([save(tmp_path / "a", 1), embedding], tmp_path / "all.pt")
    assert caught.value.code == "E5108"
