"""Checkpoints merged from files: what becomes of each tensor, what is said, what is refused."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tetrad
from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats import direct_reading, weight_files
from tetrad.merging import merged_tensors, parents
from tetrad.merging.checkpoint_merge import MergedCheckpoint, merge_checkpoints

UNET, CLIP, VAE = "model.diffusion_model", "cond_stage_model.transformer.text_model", "first_stage_model"
FIRST = f"{UNET}.input_blocks.0.0.weight"
SHAPES = {
    FIRST: (8, 4, 3, 3),
    f"{UNET}.input_blocks.1.0.in_layers.2.weight": (8, 8, 3, 3),
    f"{UNET}.middle_block.0.in_layers.0.weight": (8,),
    f"{UNET}.output_blocks.0.0.out_layers.3.weight": (8, 8, 1, 1),
    f"{UNET}.out.2.bias": (4,),
    f"{UNET}.time_embed.0.weight": (8, 4),
    f"{CLIP}.final_layer_norm.weight": (6,),
    f"{VAE}.decoder.conv_in.bias": (5,),
}


def make_tensors(seed: int, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """A small checkpoint."""
    rng = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=rng).to(dtype) for name, shape in SHAPES.items()}
    return tensors | {f"{CLIP}.embeddings.position_ids": torch.arange(7)[None], "alphas_cumprod": torch.rand(3)}


def write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    save_file(dict(tensors), path, metadata)
    return path


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Three checkpoints of one family."""
    return [write(tmp_path / f"{name}.safetensors", make_tensors(seed)) for seed, name in enumerate("abc")]


def merge(models: list[Path], **choices: object) -> tuple[dict[str, Tensor], MergedCheckpoint]:
    merged = merge_checkpoints(models, models[0].parent / "out.safetensors", **choices)
    return load_file(merged.path), merged


def notes_of(merged: MergedCheckpoint) -> str:
    return "\n".join(map(str, merged.notes))


def test_each_weight_is_the_sum_in_float32_in_the_precision_of_a(models: list[Path]) -> None:
    a, b = map(load_file, models[:2])
    result, merged = merge(models[:2], weight=0.3)
    kept = (f"{VAE}.decoder.conv_in.bias", f"{CLIP}.embeddings.position_ids", "alphas_cumprod")
    for name in a:
        expected = a[name] if name in kept else (a[name].float() * (1 - 0.3) + b[name].float() * 0.3).half()
        assert result[name].dtype == a[name].dtype and torch.equal(result[name], expected), name
    assert result.keys() == a.keys() and "the VAE is that of a.safetensors" in notes_of(merged)


@pytest.mark.parametrize(
    "choices", [{"method": "add-difference"}, {"method": "dare", "weight": 0.5}, {"text_encoder": "B"}]
)
def test_a_tensor_of_many_parts_is_that_of_one(
    models: list[Path], choices: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "method" in choices:
        choices = choices | {"base": models[2]}
    whole = merge(models[:2], **choices)[0]
    (models[0].parent / "out.safetensors").unlink()
    monkeypatch.setattr(merged_tensors, "_RANGE", 20)
    monkeypatch.setattr(merged_tensors, "_BLOCK", 50)
    parts = merge(models[:2], **choices)[0]
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


@pytest.mark.parametrize("is_known", [True, False])
def test_models_are_read_once_where_their_hashes_are_known(
    is_known: bool, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(parents, "is_hash_cached", lambda path: is_known)
    monkeypatch.setattr(direct_reading, "is_faster", asked.append)
    merge(models[:2])
    assert asked == (models[:2] if is_known else [])


def test_a_weight_of_0_gives_a_file_with_the_same_tensors_bit_for_bit(models: list[Path]) -> None:
    result, _merged = merge(models[:2], weight=0.0)
    expected = load_file(models[0])
    assert all(result[name].numpy().tobytes() == expected[name].numpy().tobytes() for name in expected)


@pytest.mark.parametrize(
    ("method", "weights", "letter"),
    [
        ("weighted-sum", [None, 0], "B"),
        ("sum", [0.5, 0, 0.5], "B"),
        ("sum", [0, 1], "A"),
        ("add-difference", [None, 0, 0.5], "B"),
        ("dare", [None, 0, 0.5], "B"),
    ],
)
def test_nan_in_a_model_of_weight_0_does_not_reach_the_result_and_is_said(
    models: list[Path], method: str, weights: list[float | None], letter: str
) -> None:
    damaged = models["AB".index(letter)]
    change(damaged, out__2__bias=torch.full((4,), torch.nan)).replace(damaged)
    base = models[2] if method in ("add-difference", "dare") else None
    tensors, merged = merge([*models, models[2]][: len(weights)], method=method, weights=weights, base=base)
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert f"{damaged.name} has the weight 0, so nothing of it is merged" in notes_of(merged)
    note = f"1 tensor of {damaged.name} contains NaN or Inf ({UNET}.out.2.bias); the result does not, because {letter}"
    assert note in notes_of(merged)


def test_add_difference_with_one_model_twice_is_a(models: list[Path]) -> None:
    result, _merged = merge(models[:2], method="add-difference", base=models[1])
    assert all(torch.equal(tensor, result[name]) for name, tensor in load_file(models[0]).items())


@pytest.mark.parametrize(
    ("choices", "weights", "shares"),
    [
        ({"method": "sum"}, (0.5, 0.3, 0.2), (0.5, 0.3, 0.2)),
        ({"method": "dare", "density": 1.0}, (None, 0.5, 2.0), (-1.5, 0.5, 2.0)),
    ],
)
def test_any_number_of_models_is_merged(
    models: list[Path], choices: dict[str, Any], weights: tuple[float | None, ...], shares: tuple[float, ...]
) -> None:
    """Without a base, differences are those to A."""
    tensors = [load_file(model)[FIRST].float() for model in models]
    result, _merged = merge(models, precision="fp32", weights=weights, **choices)
    expected = sum(share * tensor for share, tensor in zip(shares, tensors, strict=True))
    torch.testing.assert_close(result[FIRST], expected, atol=4e-6, rtol=0)


def test_weights_by_block_apply_to_their_blocks_only(models: list[Path]) -> None:
    a, b = map(load_file, models[:2])
    result, merged = merge(models[:2], weight=0.0, block_weights="IN01=1,BASE=0.5")
    changed = {name for name in a if not torch.equal(result[name], a[name])}
    assert changed == {
        f"{UNET}.input_blocks.1.0.in_layers.2.weight",
        f"{UNET}.time_embed.0.weight",
        f"{CLIP}.final_layer_norm.weight",
    }
    assert torch.equal(
        result[f"{UNET}.input_blocks.1.0.in_layers.2.weight"], b[f"{UNET}.input_blocks.1.0.in_layers.2.weight"]
    )
    assert "the text encoder is merged with the weight of BASE, 0.5" in notes_of(merged)


def test_text_encoder_and_vae_can_be_those_of_one_model(models: list[Path]) -> None:
    a, b = map(load_file, models[:2])
    result, merged = merge(models[:2], weight=0.5, text_encoder="B", vae="merge")
    assert torch.equal(result[f"{CLIP}.final_layer_norm.weight"], b[f"{CLIP}.final_layer_norm.weight"])
    name = f"{VAE}.decoder.conv_in.bias"
    assert torch.equal(result[name], ((a[name].float() + b[name].float()) * 0.5).half())
    assert "the text encoder is that of b.safetensors" in notes_of(merged)


def test_of_an_inpainting_model_the_first_four_channels_are_merged(models: list[Path]) -> None:
    inpainting = make_tensors(7) | {FIRST: torch.randn(8, 9, 3, 3).half()}
    a = write(models[0].with_name("inpainting.safetensors"), inpainting)
    result, merged = merge([a, models[1]], base=models[2], method="add-difference")
    b, c = (load_file(path)[FIRST].float() for path in models[1:])
    assert torch.equal(result[FIRST][:, :4], (inpainting[FIRST][:, :4].float() + (b - c)).half())
    assert torch.equal(result[FIRST][:, 4:], inpainting[FIRST][:, 4:])
    assert "only the first 4 of 9 input channels are merged" in notes_of(merged)
    with pytest.raises(TetradError, match="give the model with more channels first") as caught:
        merge_checkpoints([models[1], a], models[0].with_name("other.safetensors"))
    assert caught.value.code == "E5302"


def test_the_configuration_beside_a_is_copied(models: list[Path]) -> None:
    models[0].with_suffix(".yaml").write_text("parameterization: v")
    _result, merged = merge(models[:2])
    assert merged.path.with_suffix(".yaml").read_text() == "parameterization: v"
    assert "a.yaml is copied to out.yaml" in notes_of(merged)
    merged.path.unlink()
    with pytest.raises(TetradError, match=r"out\.yaml already exists and is not overwritten"):
        merge(models[:2])


def test_ema_weights_are_left_out_and_said(models: list[Path]) -> None:
    a = write(
        models[0].with_name("ema.safetensors"),
        make_tensors(1) | {"model_ema.decay": torch.ones(1), "model_ema.x": torch.ones(2)},
    )
    result, merged = merge([a, models[1]])
    assert not any(name.startswith("model_ema") for name in result)
    assert "the EMA weights of ema.safetensors (2 tensors) are left out" in notes_of(merged)


def test_old_names_and_linear_projections_are_the_same_weights_and_others_are_said(models: list[Path]) -> None:
    other = make_tensors(1)
    other[f"{CLIP}.final_layer_norm.weight".replace(".text_model", "")] = other.pop(f"{CLIP}.final_layer_norm.weight")
    projection = f"{UNET}.output_blocks.0.0.out_layers.3.weight"
    other[projection] = other[projection].reshape(8, 8)
    del other[f"{UNET}.out.2.bias"]
    other[f"{UNET}.out.3.bias"] = torch.ones(4)
    result, merged = merge([models[0], write(models[0].with_name("old.safetensors"), other)], weight=1.0)
    expected = load_file(models[1])
    assert torch.equal(result[f"{CLIP}.final_layer_norm.weight"], expected[f"{CLIP}.final_layer_norm.weight"])
    assert torch.equal(result[projection], expected[projection])
    assert torch.equal(result[f"{UNET}.out.2.bias"], load_file(models[0])[f"{UNET}.out.2.bias"])
    assert "1 tensor that not all models have is kept as it is in A: model.diffusion_model.out.2.bias" in notes_of(
        merged
    )
    assert "1 tensor of old.safetensors that A does not have is left out" in notes_of(merged)


def test_precisions_may_be_mixed_and_float8_becomes_float16(models: list[Path]) -> None:
    a = write(models[0].with_name("eight.safetensors"), make_tensors(0, torch.float8_e4m3fn))
    b = write(models[0].with_name("full.safetensors"), make_tensors(1, torch.float32))
    result, _merged = merge([a, b], weight=0.25)
    expected = load_file(a)[FIRST].float() * 0.75 + load_file(b)[FIRST] * 0.25
    assert result[FIRST].dtype == torch.float16 and torch.equal(result[FIRST], expected.half())


def test_the_file_tells_its_recipe_and_those_of_its_parents_as_a1111_does(models: list[Path]) -> None:
    hashes = [hashlib.sha256(model.read_bytes()).hexdigest() for model in models]
    _result, merged = merge(models[:2], weight=0.3)
    metadata = weight_files.read_safetensors_metadata(merged.path)
    recipe, parents = json.loads(metadata["sd_merge_recipe"]), json.loads(metadata["sd_merge_models"])
    assert recipe["primary_model_hash"] == hashes[0] and recipe["secondary_model_hash"] == hashes[1]
    assert (recipe["tertiary_model_hash"], recipe["interp_method"], recipe["multiplier"]) == (None, "Weighted sum", 0.3)
    assert parents[hashes[1]] == {"name": "b.safetensors", "legacy_hash": "e3b0c442", "sd_merge_recipe": None}
    again = merge_checkpoints([merged.path, models[2]], merged.path.with_name("again.safetensors"))
    history = json.loads(weight_files.read_safetensors_metadata(again.path)["sd_merge_models"])
    assert history.keys() == {*hashes, library.get_file_hash(merged.path)}
    assert history[library.get_file_hash(merged.path)]["sd_merge_recipe"] == recipe


def change(model: Path, **tensors: Tensor) -> Path:
    """A copy of a model with other tensors, by the last parts of their names (`__` for a dot) or new."""
    content = load_file(model)
    for key, tensor in tensors.items():
        ending = key.replace("__", ".")
        content[next((name for name in content if name.endswith(ending)), ending)] = tensor
    return write(model.with_name("changed.safetensors"), content)


# The code → what the second model is, the choices, and a part of the sentence.
BAD = {
    "E5001": (lambda b: b.with_name("none.safetensors"), {}, "there is no file"),
    "E5008": (lambda b: write(b.with_name("x.safetensors"), {f"{VAE}.x": torch.ones(1)}), {}, "is a VAE; give a"),
    "E5014": (lambda b: change(b, out__2__bias=torch.full((4,), torch.nan)), {}, "contains NaN or Inf"),
    "E5014 ": (
        lambda b: change(b, time_embed__0__weight=torch.ones(8, 4, dtype=torch.int8)),
        {},
        "stored as integers (int8)",
    ),
    "E5301": (
        lambda b: change(b, conditioner__embedders__0__x=torch.ones(1)),
        {},
        "is a Stable Diffusion XL checkpoint",
    ),
    "E5302": (lambda b: change(b, out__2__bias=torch.ones(9)), {}, "has the shape (9,) in"),
    "E5303": (lambda b: b, {"weight": 1e6}, "which fp16 cannot hold; use fp32"),
    "E3302": (lambda b: b, {"block_weights": "0.5,0.5,0.5"}, "has 3 numbers"),
    "E3303": (lambda b: b, {"method": "sum", "weights": (0.6, 0.6)}, "use for example 0.5, 0.5"),
}


@pytest.mark.parametrize("code", list(BAD))
def test_what_cannot_be_merged_is_said_in_one_sentence_and_nothing_is_written(models: list[Path], code: str) -> None:
    make, choices, explanation = BAD[code]
    paths = [models[0], make(models[1])]
    before = {path: path.read_bytes() for path in models[0].parent.iterdir()}
    with pytest.raises(TetradError) as caught:
        merge_checkpoints(paths, models[0].with_name("out.safetensors"), **choices)
    assert caught.value.code == code.strip() and explanation in caught.value.message
    assert {path: path.read_bytes() for path in models[0].parent.iterdir()} == before


@pytest.mark.parametrize(
    ("choices", "explanation"),
    [
        ({"method": "add-difference"}, "needs C, the model that B was made from; give it with --base"),
        ({"base": "a.safetensors"}, "a base has no effect on Weighted sum"),
        ({"method": "average"}, "method must be one of weighted-sum"),
        ({"weights": (0.3, 0.7)}, "Weighted sum gives the first model no weight of its own"),
        ({"weights": (None, 0.5, 0.5)}, "there are 3 weights for 2 models"),
        ({"weight": float("inf")}, "a weight must be a number, not inf"),
        ({"method": "sum", "weights": (0.3, None)}, "a sum needs the weight of each model"),
        ({"method": "dare", "density": 0.0}, "density must be above 0"),
        ({"density": 0.3}, "density has no effect on Weighted sum"),
        ({"method": "ties", "seed": 4}, "seed has no effect on TIES"),
        ({"text_encoder": "C"}, "text_encoder must be one of merge, A, B, not C"),
        ({"precision": "fp8"}, "precision must be one of fp16, bf16, fp32, not fp8"),
    ],
)
def test_choices_that_do_not_fit_are_said(models: list[Path], choices: dict[str, object], explanation: str) -> None:
    with pytest.raises(TetradError) as caught:
        merge(models[:2], **choices)
    assert caught.value.code == "E3301" and explanation in caught.value.message


def test_a_result_too_large_for_fp32_is_not_written(models: list[Path]) -> None:
    with pytest.raises(TetradError, match=r"E5303 .* is too large even for fp32"):
        merge(models[:2], weight=1e300, precision="fp32")
    assert not models[0].with_name("out.safetensors").exists()


def test_a_weighted_sum_takes_two_models_and_no_model_is_overwritten(models: list[Path]) -> None:
    with pytest.raises(TetradError, match="Weighted sum needs two models, and 3 models are given"):
        merge(models)
    with pytest.raises(TetradError, match="is one of the models that are merged; choose another name") as caught:
        merge_checkpoints(models[:2], models[1])
    assert caught.value.code == "E5210"
    (link := models[0].with_name("link.safetensors")).symlink_to("nowhere.safetensors")
    with pytest.raises(TetradError, match=r"E5210 .* already exists"):
        merge_checkpoints(models[:2], link)
    with pytest.raises(TetradError, match=r"E5210 .* is a folder; add the name of the new file"):
        merge_checkpoints(models[:2], models[0].parent)
    (empty := models[0].with_name("empty.safetensors")).touch()
    with pytest.raises(TetradError, match=r"E5002 .*empty.safetensors is empty \(0 bytes\)"):
        merge_checkpoints([models[0], empty], models[0].with_name("out.safetensors"))


def test_a_merged_model_loads_with_another_vae_inside(tmp_path: Path) -> None:
    models = [tiny.save_shallow_checkpoint(tmp_path / f"{seed}.safetensors", seed=seed) for seed in range(2)]
    library.extract_vae(models[1], tmp_path / "vae.safetensors")
    merged = tetrad.merge_checkpoints(models, tmp_path / "out.safetensors", vae=str(tmp_path / "vae.safetensors"))
    model = library.load_model(str(merged.path))
    first, second = (library.load_model(str(path)).weights().tensors for path in models)
    for name, tensor in model.weights().tensors.items():
        expected = second[name] if name.startswith("vae.") else (0.5 * first[name] + 0.5 * second[name]).half().float()
        assert torch.equal(tensor, expected), name
