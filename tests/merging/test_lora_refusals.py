"""What cannot be merged, extracted or resized is refused in one sentence; nothing is written, and no input changes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import lora_samples
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from tetrad import extract_lora, library, merge_loras, merge_loras_into, resize_lora
from tetrad.errors import TetradError
from tetrad.weights import Weights


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    files = {kind: lora_samples.save_kind(folder / kind, kind) for kind in ("LoRA", "LoHa")}
    files["base"] = lora_samples.save_base(folder / "base")
    xl = tiny.build_model(family="sdxl")
    files["XL base"] = tiny.save_checkpoint(folder / "xl", xl, xl.weights().metadata, "fp32")
    down, up = torch.ones(4, 32), torch.ones(32, 4)
    xl_layer = "text_encoder.encoder.layers.0.self_attn.q_proj"
    named = {"down": down, "up": up, "alpha": torch.tensor(4.0)}
    weights = Weights("lora", {f"{xl_layer}.{name}": each for name, each in named.items()})
    files["XL LoRA"] = library.save_weights(folder / "xl-lora", weights, xl, xl.metadata)
    tensors = load_file(files["LoRA"])
    name = next(name for name in tensors if name.endswith("up.weight"))
    for title, changed in (("NaN", tensors[name] * torch.nan), ("other shape", tensors[name][:-1].clone())):
        files[title] = folder / f"{title}.safetensors"
        save_file(tensors | {name: changed}, files[title], {"ss_base_model_version": "sd_v1"})
    files["unknown model"] = folder / "unknown.safetensors"
    save_file(
        {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(1, 3)}, files["unknown model"]
    )
    layer, sizes = (
        "lora_te_text_model_encoder_layers_0_mlp_fc1",
        {"lora_down.weight": (2, 768), "dora_scale": (3072, 1)},
    )
    sizes["lora_up.weight"] = (3072, 2)
    files["DoRA for SD 1"] = folder / "dora-sd1.safetensors"
    dora = {f"{layer}.{name}": torch.ones(shape) for name, shape in sizes.items()}
    save_file(dora, files["DoRA for SD 1"], {"ss_base_model_version": "sd_v1"})
    files["half of a layer"] = folder / "half.safetensors"
    halved = {key: each for key, each in tensors.items() if key != name}
    save_file(halved, files["half of a layer"], {"ss_base_model_version": "sd_v1"})
    return files


Files = dict[str, Path]
REFUSALS: dict[str, tuple[str, Callable[[Files, Path], object]]] = {
    "LoRAs of two families": ("E5301", lambda f, out: merge_loras([str(f["LoRA"]), str(f["XL LoRA"])], out)),
    "a LoRA of another family than the checkpoint": (
        "E5102",
        lambda f, out: merge_loras_into([str(f["XL LoRA"])], f["base"], out),
    ),
    "no LoRA": ("E5101", lambda f, out: merge_loras([str(f["base"])], out)),
    "no checkpoint": ("E5004", lambda f, out: merge_loras_into([str(f["LoRA"])], f["LoRA"], out)),
    "no file": ("E5001", lambda f, out: merge_loras(["gone.safetensors:0.5"], out)),
    "NaN": ("E5014", lambda f, out: merge_loras([str(f["NaN"])], out, model=f["base"])),
    "a layer of another shape": ("E5102", lambda f, out: merge_loras_into([str(f["other shape"])], f["base"], out)),
    "a layer without its up": ("E5104", lambda f, out: merge_loras_into([str(f["half of a layer"])], f["base"], out)),
    "an unknown model": ("E5321", lambda f, out: merge_loras([str(f["unknown model"])], out)),
    "a LoHa without a rank": ("E5326", lambda f, out: merge_loras([str(f["LoHa"])], out, model=f["base"])),
    "a DoRA without its model": ("E5327", lambda f, out: resize_lora(f["DoRA for SD 1"], out, rank=4)),
    "rank 0": ("E5322", lambda f, out: resize_lora(f["LoRA"], out, rank=0)),
    "an energy above 1": ("E5322", lambda f, out: resize_lora(f["LoRA"], out, energy=90)),
    "no size": ("E5322", lambda f, out: resize_lora(f["LoRA"], out)),
    "too small a size": ("E5324", lambda f, out: resize_lora(f["LoRA"], out, max_bytes=300, model=f["base"])),
    "a LoRA minus itself": (
        "E5323",
        lambda f, out: merge_loras([f"{f['LoRA']}:1", f"{f['LoRA']}:-1"], out, model=f["base"], rank=4),
    ),
    "an unknown precision": (
        "E3103",
        lambda f, out: merge_loras_into([str(f["LoRA"])], f["base"], out, precision="fp12"),
    ),
    "a number too large for fp16": (
        "E5303",
        lambda f, out: merge_loras([f"{f['LoRA']}:1e12"], out, model=f["base"], precision="fp16"),
    ),
    "an infinite strength": ("E2006", lambda f, out: merge_loras([f"{f['LoRA']}:1e400"], out, model=f["base"])),
    "a number too large for fp32": (
        "E5303",
        lambda f, out: merge_loras([f"{f['LoRA']}:1e300"], out, model=f["base"], precision="fp32"),
    ),
    "a number too large for the checkpoint": (
        "E5303",
        lambda f, out: merge_loras_into([f"{f['LoRA']}:1e300"], f["base"], out),
    ),
    "an output that is an input": ("E5210", lambda f, out: resize_lora(f["LoRA"], f["LoRA"], rank=4)),
    "checkpoints of two families": ("E5301", lambda f, out: extract_lora(f["base"], f["XL base"], out)),
    "a LoRA, from which none has to be extracted": ("E5004", lambda f, out: extract_lora(f["base"], f["LoRA"], out)),
    "a checkpoint and itself": ("E5323", lambda f, out: extract_lora(f["base"], f["base"], out)),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_it_is_refused_and_nothing_is_written(files: Files, tmp_path: Path, refusal: str) -> None:
    code, run = REFUSALS[refusal]
    before = {path: path.read_bytes() for path in files.values()}
    with pytest.raises(TetradError) as caught:
        run(files, tmp_path / "out.safetensors")
    assert caught.value.code == code, caught.value
    assert not list(tmp_path.iterdir())
    assert {path: path.read_bytes() for path in files.values()} == before


def test_a_full_disk_is_said_before_the_work_begins(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(TetradError, match="E4204"):
        merge_loras_into([str(files["LoRA"])], files["base"], tmp_path / "out.safetensors")
    assert not list(tmp_path.iterdir())
