"""A comparison says what differs and how much by block, whatever the formats of the two files are."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

import tetrad
from tetrad import library
from tetrad.comparison import BlockDifference, Difference
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_safetensors_metadata
from tetrad.methods import Lora
from tetrad.models import FAMILIES
from tetrad.weights import Weights

MODEL = tiny.build_model(is_shallow=True)
SD1 = {"ss_base_model_version": "sd_v1"}


def save_model(path: Path, family: str = "sd1", change: dict[str, float] | None = None, format: str = "ldm") -> Path:
    """A narrow model of a family, with some tensors multiplied."""
    source = tiny.build_weights(family=family, is_shallow=family != "sdxl")
    tensors = {name: tensor * (change or {}).get(name, 1.0) for name, tensor in source.tensors.items()}
    model = FAMILIES[family].build(Weights("checkpoint", tensors, source.metadata), "tiny")
    return library.save_weights(path, model.weights(), model, {}, format)


def blocks_of(difference: Difference) -> dict[str, BlockDifference]:
    return {str(each.block): each for each in difference.blocks if each.different}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_single_file_and_a_folder_of_the_same_model_have_the_same_weights(family: str, tmp_path: Path) -> None:
    file = save_model(tmp_path / "a", family)
    difference = tetrad.diff(file, save_model(tmp_path / "b", family, format="diffusers"))
    assert difference.has_same_weights and not difference.is_identical
    assert difference.total.compared > 300 and difference.metadata


def test_a_difference_is_measured_in_the_block_where_it_is(tmp_path: Path) -> None:
    change = {
        "unet.down_blocks.0.resnets.0.conv1.weight": 1.5,
        "unet.mid_block.resnets.0.conv1.weight": 0.9,
        "text_encoder.encoder.layers.0.mlp.fc1.weight": 1.1,
        "vae.decoder.conv_in.weight": 2.0,
    }
    difference = tetrad.diff(save_model(tmp_path / "a"), save_model(tmp_path / "b", change=change))
    blocks = blocks_of(difference)
    assert list(blocks) == ["text encoder", "IN01", "M00", "VAE decoder"]
    assert all(each.different == 1 for each in blocks.values())
    original = {name: each.double() for name, each in tiny.build_weights(is_shallow=True).tensors.items()}
    in_decoder = [each for name, each in original.items() if name.startswith(("vae.decoder", "vae.post_quant"))]
    expected = float(
        original["vae.decoder.conv_in.weight"].norm() / torch.cat([x.flatten() for x in in_decoder]).norm()
    )
    assert blocks["VAE decoder"].relative == pytest.approx(expected, rel=1e-4)


def test_the_same_file_is_said_to_be_the_same(tmp_path: Path) -> None:
    file = save_model(tmp_path / "a")
    difference = tetrad.diff(file, file)
    assert difference.is_identical and difference.as_record()["same_weights"]


def test_missing_tensors_shapes_dtypes_nan_and_metadata_are_named(tmp_path: Path) -> None:
    file = save_model(tmp_path / "a")
    tensors = load_file(file)
    names = [name for name in tensors if name.endswith("conv.weight") and "first_stage_model" in name]
    tensors["extra"] = tensors.pop(names[0])
    tensors[names[1]] = tensors[names[1]][:1].clone()
    tensors[names[2]] = tensors[names[2]].half()
    tensors[names[3]][0] = float("nan")
    metadata = read_safetensors_metadata(file) | {"modelspec.title": "b"}
    save_file(tensors, tmp_path / "b.safetensors", metadata)
    record = tetrad.diff(file, tmp_path / "b.safetensors").as_record()
    assert record["only_in_b"] == ["extra"] and len(record["only_in_a"]) == 1
    assert [both[1][0] for both in record["shapes"].values()] == [1]
    assert record["dtypes"] == [{"a": "float32", "b": "float16", "tensors": 1}]
    assert len(record["not_finite"]) == 1 and record["metadata"] == {"modelspec.title": [None, "b"]}


def make_lora(rank: int) -> Weights:
    weights = tiny.attach(Lora(rank=rank), tiny.build_model(is_shallow=True), generator(0, 0, "method")).weights()
    noise = {name: torch.randn(each.shape, generator=generator(0, 0, name)) for name, each in weights.tensors.items()}
    changed = {name: noise[name] for name in weights.tensors if not name.endswith("alpha")}
    return replace(weights, tensors=weights.tensors | changed)


def widen(weights: Weights) -> Weights:
    """The same change with twice the rank: each factor beside itself, at half of the alpha for twice the rank."""
    tensors = {}
    for name, each in weights.tensors.items():
        axis = {"down": 0, "up": 1}.get(name.rpartition(".")[2])
        tensors[name] = each if axis is None else torch.cat([each, each], axis)
    return replace(weights, tensors=tensors)


def test_loras_are_compared_by_what_they_change_whatever_their_ranks_and_formats(tmp_path: Path) -> None:
    weights = make_lora(2)
    plain = library.save_weights(tmp_path / "plain", weights, MODEL, SD1)
    same = library.save_weights(tmp_path / "wide", widen(weights), MODEL, SD1, "diffusers")
    difference = tetrad.diff(plain, same)
    assert difference.compares_changes and difference.total.compared == len(weights.tensors) // 3
    assert difference.total.relative < 1e-5 and not any(difference.only_in)
    layer = "unet.mid_block.attentions.0.proj_in"
    doubled = {**weights.tensors, f"{layer}.up": weights.tensors[f"{layer}.up"] * 2}
    other = library.save_weights(tmp_path / "other", replace(weights, tensors=doubled), MODEL, SD1)
    blocks = blocks_of(tetrad.diff(plain, other))
    assert list(blocks) == ["M00"] and blocks["M00"].different == 1


def test_a_dora_needs_the_base_model(tmp_path: Path) -> None:
    weights = tiny.attach(Lora(rank=2, dora=True), tiny.build_model(is_shallow=True), generator(0, 0, "m")).weights()
    paths = [library.save_weights(tmp_path / name, weights, MODEL, SD1 | {"n": name}, "lycoris") for name in "ab"]
    with pytest.raises(TetradError, match=r"E5492.*--base"):
        tetrad.diff(*paths)
    base = tiny.save_shallow_checkpoint(tmp_path / "base")
    assert tetrad.diff(*paths, base=base).has_same_weights


def test_embeddings_are_compared_whatever_their_formats(tmp_path: Path) -> None:
    weights = Weights("embedding", {"text_encoder": torch.randn(2, 32)}, {"word": "zkr"})
    paths = [library.save_weights(tmp_path / name, weights, MODEL, {}, name) for name in ("pt", "safetensors")]
    assert tetrad.diff(*paths).has_same_weights


def test_files_of_different_types_or_families_are_not_compared(tmp_path: Path) -> None:
    lora = library.save_weights(tmp_path / "zkr", make_lora(2), MODEL, SD1)
    file = save_model(tmp_path / "a")
    for other, words in ((lora, "a LoRA"), (save_model(tmp_path / "b", "sd2"), "Stable Diffusion 2")):
        with pytest.raises(TetradError, match="E5491") as caught:
            tetrad.diff(file, other)
        assert words in caught.value.message
