"""Files in float8 are used like those in any other precision."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.formats import weight_files
from tetrad.formats.tensors import widen_float8
from tetrad.inspection.inspect import inspect_path
from tetrad.methods import METHODS, Lora

FLOAT8 = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu]


def cast(tensors: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "m.safetensors"
    tensors = load_file(tiny.save_checkpoint(path, tiny.build_exportable_model("sd1"), {}))
    save_file(cast(tensors, torch.float8_e4m3fn), path)
    return path


@pytest.mark.parametrize("dtype", FLOAT8)
def test_all_values_of_float8_are_kept(dtype: torch.dtype) -> None:
    values = torch.arange(256, dtype=torch.uint8).view(dtype)
    torch.testing.assert_close(widen_float8(values).float(), values.float(), atol=0, rtol=0, equal_nan=True)


def test_a_checkpoint_in_float8_is_inspected_loaded_and_used_as_a_vae(checkpoint: Path) -> None:
    inspection = inspect_path(str(checkpoint))
    assert not inspection.trouble and "float8_e4m3fn" in str(inspection.facts.values())
    model = library.load_model(str(checkpoint))
    stored = load_file(checkpoint)["model.diffusion_model.out.2.weight"]
    assert torch.equal(model.weights().tensors["unet.conv_out.weight"], stored.float())
    assert all(tensor.isfinite().all() for tensor in library.read_vae(checkpoint).tensors.values())


def test_a_checkpoint_with_a_vae_baked_in_stays_in_float8(checkpoint: Path, tmp_path: Path) -> None:
    library.bake_vae(checkpoint, checkpoint, tmp_path / "baked.safetensors")
    before, after = load_file(checkpoint), load_file(tmp_path / "baked.safetensors")
    assert all(torch.equal(after[name].float(), tensor.float()) for name, tensor in before.items())
    assert {tensor.dtype for tensor in after.values()} == {tensor.dtype for tensor in before.values()}


@pytest.mark.parametrize("dtype", FLOAT8[:2])
@pytest.mark.parametrize("kind", ["lora", "textual-inversion"])
def test_a_trained_file_in_float8_is_inspected_and_loaded(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny.build_model()
    settings = METHODS[kind](**{} if kind == "lora" else {"trigger_word": "zkr"})
    weights = tiny.attach(settings, model, generator(0, 0, "method")).weights()
    file = next(iter(library.formats_of(weights.kind).values())).encode(replace(weights), model, {"name": "zkr"})
    assert isinstance(file, weight_files.WeightFile)
    save_file(cast(file.tensors, dtype), tmp_path / "zkr.safetensors")
    assert inspect_path(str(tmp_path / "zkr.safetensors")).kind == weights.kind
    read = library.read_weights(tmp_path / "zkr.safetensors", model)
    assert all(
        torch.equal(tensor.float(), weights.tensors[name].to(dtype).float()) for name, tensor in read.tensors.items()
    )


def test_a_loha_in_float8_fits_its_layer(tmp_path: Path) -> None:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    factors = {f"{name}.hada_w{n}_a": torch.ones(32, 2) for n in (1, 2)}
    factors |= {f"{name}.hada_w{n}_b": torch.ones(2, 32) for n in (1, 2)}
    save_file(cast(factors, torch.float8_e4m3fn), tmp_path / "zkr.safetensors")
    model = tiny.build_model()
    adapter = library.attach_weights(tmp_path / "zkr.safetensors", model, expected_type=Lora.artifact.type)
    assert len(adapter.weights().tensors) == 4
