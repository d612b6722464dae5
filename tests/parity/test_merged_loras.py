"""LoRAs merged into a checkpoint give the weights that diffusers and LyCORIS fuse them to."""

from copy import deepcopy
from pathlib import Path

import lora_samples
import pytest
import sd1_pipeline
import tiny
import torch
from lycoris.utils import merge as lycoris_merge
from safetensors.torch import load_file
from torch import Tensor, nn

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.formats import ldm
from tetrad.merging.lora_into_checkpoint import merge_loras_into
from tetrad.methods.lora.weights import named_layers
from tetrad.models.base import Model
from tetrad.weights import Weights


def randn(name: str, *shape: int) -> Tensor:
    return 0.1 * torch.randn(shape, generator=generator(0, 0, name))


def save_lora(path: Path, model: Model, layers: list[str]) -> Path:
    """A LoRA with another alpha than its rank."""
    tensors: dict[str, Tensor] = {}
    found = dict(named_layers(model))
    for layer in layers:
        out, ins, *kernel = found[layer].weight.shape
        tensors[f"{layer}.down"] = randn(f"{layer}down", 4, ins, *kernel)
        tensors[f"{layer}.up"] = randn(f"{layer}up", out, 4, *[1] * len(kernel))
        tensors[f"{layer}.alpha"] = torch.tensor(1.5)
    return library.save_weights(path, Weights("lora", tensors), model, model.metadata)


def list_layers(model: Model) -> list[str]:
    patterns = (model.layers.attention, model.layers.text)
    return [path for path, _layer in named_layers(model) if any(pattern.fullmatch(path) for pattern in patterns)]


def read_canonical(path: Path) -> dict[str, Tensor]:
    return ldm.decode(load_file(path), {}).tensors


def test_diffusers_fuses_a_lora_to_the_same_weights(tmp_path: Path) -> None:
    model, pipeline = lora_samples.build_model(), sd1_pipeline.build(tiny.build_model(is_shallow=True))
    layers = list_layers(model)
    file, base, out = (
        save_lora(tmp_path / "a", model, layers),
        lora_samples.save_base(tmp_path / "base"),
        tmp_path / "m.safetensors",
    )
    pipeline.load_lora_weights(str(tmp_path), weight_name=file.name, local_files_only=True)
    pipeline.fuse_lora(lora_scale=0.7)
    pipeline.unload_lora_weights()
    merge_loras_into([f"{file}:0.7"], base, out)
    merged, before = read_canonical(out), read_canonical(base)
    for part, network in (("unet", pipeline.unet), ("text_encoder", pipeline.text_encoder)):
        fused = {f"{part}.{name.removeprefix('text_model.')}": each for name, each in network.state_dict().items()}
        for path in (path for path in layers if path.startswith(f"{part}.")):
            name = f"{path}.weight"
            torch.testing.assert_close(merged[name], fused[name], atol=1e-6, rtol=1e-6)
            assert (merged[name] - before[name]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["LoRA", "LoCon", "LoCon with Tucker", "LoHa", "LoKr", "full"])
def test_lycoris_merges_every_kind_to_the_same_weights(tmp_path: Path, kind: str) -> None:
    model, base, out = lora_samples.build_model(), lora_samples.save_base(tmp_path / "base"), tmp_path / "m.safetensors"
    weights = lora_samples.build_weights(kind)
    if kind in ("LoHa", "LoKr"):  # LyCORIS' merge applies their α / r twice, unlike its forward: here it is 1
        ranks = {name: torch.tensor(2.0) for name in weights.tensors if name.endswith(".alpha")}
        weights = Weights("lora", weights.tensors | ranks)
    file = lora_samples.save(tmp_path / "a", weights)
    merge_loras_into([f"{file}:0.6"], base, out)
    merged, before = read_canonical(out), read_canonical(base)
    networks = {part: deepcopy(network) for part, network in model.parts().items()}
    text_encoder = nn.Module()
    text_encoder.text_model = networks["text_encoder"]
    lycoris_merge((text_encoder,), networks["unet"], load_file(file), 0.6)
    changed = 0
    for part, network in networks.items():
        for name, theirs in network.state_dict().items():
            ours = merged[f"{part}.{name}"]
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
            changed += not ours.equal(before[f"{part}.{name}"])
    assert changed >= 1
